"""Keras layers of this project, serialisable, each usable in any keras.Model."""

SERIALIZATION_PACKAGE = "tensorflow_imagenet"
