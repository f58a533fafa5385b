"""Converts raw images to TFRecord shards with ImageNet's keys. Needs no TensorFlow."""
