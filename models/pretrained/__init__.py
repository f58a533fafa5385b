"""Published weights of registered networks: finds, verifies and converts them."""
