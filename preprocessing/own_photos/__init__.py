"""A folder of one's own photos: recognized, divided by content, and converted once into a cache."""
