"""The step that XLA compiles, run by JAX where there is no TensorFlow: a proxy for `--xla=step`."""
