"""Devices, where variables live, how gradients are reduced, how batches reach the towers."""
