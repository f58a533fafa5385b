"""What a trained network is used for.

Predictions, and the view of an image that it was trained on.
"""
