"""Mean and standard deviation of ImageNet's training pixels, RGB, for pixels in 0..255."""

from __future__ import annotations

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
# The means that VGG and the first ResNets subtracted (Caffe's); they divided by nothing.
CENTERING_MEAN = (123.68, 116.779, 103.939)
