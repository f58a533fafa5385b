"""Training on parameter servers: the chief schedules steps, and counts what was applied."""
