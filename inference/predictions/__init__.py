"""Predicts whole data sets: their images, the views of them, the table of answers on disk."""
