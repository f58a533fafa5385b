"""Data sets to predict: where their images are, and which classes of a network theirs are."""
