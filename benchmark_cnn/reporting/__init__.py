"""What a run reports: console, progress bar, CSV, TensorBoard, curves, run.json, profiles."""
