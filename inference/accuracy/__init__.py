"""Computes accuracies of predictions: scores, comparisons, and the page of the worst images."""
