"""Data sets and input pipelines: files in, batches out."""
