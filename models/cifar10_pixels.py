"""Mean and standard deviation of CIFAR-10's training pixels, per channel, for pixels in 0..255.

The networks for CIFAR-10 normalise by them, as Huang et al., 2017, section 4.2, did. (He et al.,
2015, section 4.2, subtracted a mean of each pixel, which takes the data set to compute.)
"""

from __future__ import annotations

PIXEL_MEAN = (125.3, 123.0, 113.9)
PIXEL_STD = (63.0, 62.1, 66.7)
