"""Published trainings as flag files, and the program that checks them."""
