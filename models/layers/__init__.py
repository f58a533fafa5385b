"""Keras layers of this project, serializable, each usable in any keras.Model."""

SERIALIZATION_PACKAGE = "tensorflow_imagenet"
