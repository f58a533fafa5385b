"""Parts of the benchmarks of exported files: what runs in a process of its own, and pictures."""
