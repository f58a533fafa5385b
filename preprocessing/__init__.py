"""Data sets by name: files in, batches out."""
