"""Networks behind one registry."""
