"""Keras layers that can be serialized and used in any keras.Model."""

SERIALIZATION_PACKAGE = "tensorflow_imagenet"
