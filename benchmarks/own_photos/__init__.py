"""Shows what becomes of photos of one's own: a data set made here, trained and measured."""
