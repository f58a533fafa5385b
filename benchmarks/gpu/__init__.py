"""One command for a GPU machine: what train.py reaches there, and with which settings."""
