"""Damaged data: found, explained, skipped, checked."""
