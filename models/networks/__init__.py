"""Networks written with Keras layers, one file a family."""
