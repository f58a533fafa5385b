"""Forms that a Keras network is trained in: activations computed again, or values in 8 bits."""
