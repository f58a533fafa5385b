"""TF-Slim networks as networks of this project (see models/slim/adapter.py)."""
