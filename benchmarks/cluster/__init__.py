"""What the exchange between workers costs: `python -m benchmarks.cluster`."""
