"""Predicts the speed of many GPUs from that of one, and measures what the prediction needs."""
