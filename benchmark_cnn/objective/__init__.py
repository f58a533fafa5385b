"""What a training minimizes: the losses by name, and how much the examples of a class weigh."""
