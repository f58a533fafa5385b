"""Errors about data and checkpoints: what they say to do is done, and then the command works."""
