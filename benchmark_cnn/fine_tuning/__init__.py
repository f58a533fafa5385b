"""Which variables a run trains, from which step on, and at which share of the learning rate."""
