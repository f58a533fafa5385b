"""Files of named tensors.

Write, verify, find, restore by name. Knows names and shapes, no network and no run.
"""
