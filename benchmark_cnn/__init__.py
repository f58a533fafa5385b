"""The engine: towers, variables and the mathematics of a step. It knows no model and no data set by name."""
