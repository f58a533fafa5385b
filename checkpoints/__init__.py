"""Files of named tensors: writes, verifies, finds and restores them, without any network or run."""
