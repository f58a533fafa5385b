"""Programs that measure, each side by side with its baseline in one run."""
