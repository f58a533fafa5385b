"""The phases of a run, which differ in the image size and in what is frozen, and their loops."""
