"""Encoded bytes to pixels, and pixels to the view that a network sees."""
