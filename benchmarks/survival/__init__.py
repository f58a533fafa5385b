"""What survival costs and whether it lasts: steps during a save, and a soak of signals."""
