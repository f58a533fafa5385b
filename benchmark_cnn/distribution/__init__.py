"""Devices, placement of variables, reduction of gradients, and batches for the towers."""
