"""Parts of `benchmarks.pipeline`: its stages one by one, and the loader of Pillow as baseline."""
