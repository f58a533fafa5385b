"""Changes training images at random: policies in the pipeline, mixing on the device."""
