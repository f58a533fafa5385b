"""The arithmetic of one training step, in the order of the batch."""
