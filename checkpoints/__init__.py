"""Pretrained weights: importers, and a manifest with origin, hash and expected accuracy."""
