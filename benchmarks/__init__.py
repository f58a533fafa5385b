"""Programs that measure, each candidate and its baseline in one run."""
