"""Programs that measure, each side by side with its peer in one run."""
