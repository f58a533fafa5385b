"""Finds what a training is given: a learning rate by trying, a batch size by the memory."""
