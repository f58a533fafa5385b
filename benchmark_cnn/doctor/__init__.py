"""`python -m benchmark_cnn.doctor`: what this machine has for training, and what it lacks."""
