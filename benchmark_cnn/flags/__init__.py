"""The command line: words to Params, help, migration from other trainers. No TensorFlow here."""
