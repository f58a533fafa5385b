"""Many networks evaluated into one table: `python -m benchmarks.bulk`."""
