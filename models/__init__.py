"""Networks, each built by its name in one registry."""
