"""Reads weight files of other programs into a mapping from name to array."""
