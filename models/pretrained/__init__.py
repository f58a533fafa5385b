"""Published weights of registered networks.

Where they are, how to fetch, convert and check them.
"""
