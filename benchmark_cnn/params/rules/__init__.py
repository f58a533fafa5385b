"""What flags exclude and need: each rule returns a line for every contradiction."""
