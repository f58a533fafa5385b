"""The engine: towers, variables and the arithmetic of a step; it names no model and no data set."""
