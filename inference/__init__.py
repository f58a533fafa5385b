"""Uses trained networks: classifiers, the view of a photo that they need, and class names."""
