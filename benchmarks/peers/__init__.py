"""One command that compares training and inference with timm, Keras and a bare loop."""
