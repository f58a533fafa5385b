"""Learning rates as their sources publish them: formulas of their own, without the engine.

Each gives the rate for the batch of its recipe at an epoch, which need not be whole. Programs that
change the rate between epochs only (timm, torchvision) are compared where an epoch begins.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

Formula = Callable[[float], float]  # epoch -> learning rate


@dataclass(frozen=True)
class Published:
    """The published learning rate of a recipe.

    Attributes:
        within: the largest difference that its schedule may have, in shares of the largest rate.
    """

    rate: Formula
    within: float = 0.005


def staircase(peak: float, *, factor: float, every: float, warmup: float = 0) -> Formula:
    """Multiplies the rate by `factor` after `every` epochs, counted from the first."""

    def rate(epoch: float) -> float:
        # The tolerance is a thousandth of an epoch: steps are whole, epochs between them are not.
        return peak * factor ** math.floor((epoch + 1e-3) / every)

    return _warmed_up(rate, peak, warmup)


def drops(peak: float, *at: float, factor: float = 0.1, warmup: float = 0) -> Formula:
    """Multiplies the rate by `factor` at each of the epochs `at`."""

    def rate(epoch: float) -> float:
        return peak * factor ** sum(epoch + 1e-3 >= end for end in at)

    return _warmed_up(rate, peak, warmup)


def held(first: float, until: float, then: Formula) -> Formula:
    """Holds the rate `first` until an epoch, and follows another formula from there."""
    return lambda epoch: first if epoch + 1e-3 < until else then(epoch)


def cosine(
    peak: float,
    epochs: float,
    *,
    warmup: float = 0,
    begins: float = 0,
    start: float = 0,
    end: float = 0,
) -> Formula:
    """Follows half a cosine from epoch `begins` to the last one, after a linear warm-up.

    Args:
        start: the rate at which the warm-up begins.
        end: the rate at the last epoch.
    """

    def rate(epoch: float) -> float:
        progress = (epoch - begins) / (epochs - begins)
        return end + (peak - end) * (1 + math.cos(math.pi * progress)) / 2

    return _warmed_up(rate, peak, warmup, start)


def triangle(peak: float, top: float, epochs: float) -> Formula:
    """Rises linearly to epoch `top`, and falls linearly to the last one."""

    def rate(epoch: float) -> float:
        return peak * (epochs - epoch) / (epochs - top)

    return _warmed_up(rate, peak, top)


def _warmed_up(rate: Formula, peak: float, warmup: float, start: float = 0) -> Formula:
    def warmed(epoch: float) -> float:
        if epoch < warmup - 1e-3:
            return start + (peak - start) * epoch / warmup
        return rate(epoch)

    return warmed


# tensorflow/tpu, efficientnet/main.py and utils.py: 0.016 for 256 images.
_EFFICIENTNET = staircase(0.016 * 2048 / 256, factor=0.97, every=2.4, warmup=5)
# A warm-up from a hundredth, then half a cosine that begins after it (torchvision's reference).
_TORCHVISION_600 = cosine(0.5, 600, warmup=5, begins=5, start=0.005)
# 32,000 and 48,000 of 64,000 updates of 128 images.
_CIFAR10 = drops(0.1, 32000 * 128 / 50000, 48000 * 128 / 50000)


def _resnet_strikes_back(peak: float, epochs: int) -> Published:
    """Returns the cosine of timm, whose warm-up begins at 0.0001 and replaces the beginning."""
    return Published(cosine(peak, epochs, warmup=5, start=1e-4, end=1e-6), within=0.03)


PUBLISHED = {
    **{f"efficientnet_lite/lite{variant}": Published(_EFFICIENTNET) for variant in range(5)},
    "efficientnet_lite/lite0_timm": Published(staircase(0.022, factor=0.97, every=2.4, warmup=3)),
    "keras_applications/efficientnetb0": Published(
        staircase(0.048, factor=0.97, every=2.4, warmup=3)
    ),
    "keras_applications/convnexttiny": Published(
        cosine(4e-3, 300, warmup=20, begins=20), within=0.07
    ),
    "resnet/90_epochs": Published(drops(0.128 * 2048 / 256, 30, 60, 80, warmup=5)),
    "resnet/90_epochs_cosine": Published(cosine(0.256 * 2048 / 256, 90, warmup=8)),
    "resnet/90_epochs_torchvision": Published(drops(0.1, 30, 60)),
    "resnet/16_epochs": Published(triangle(1.7, 2, 16)),
    "resnet/40_epochs": Published(triangle(1.7, 2, 40)),
    "resnet/600_epochs": Published(_TORCHVISION_600, within=0.011),
    "resnet/a1": _resnet_strikes_back(5e-3, 600),
    "resnet/a2": _resnet_strikes_back(5e-3, 300),
    "resnet/a3": _resnet_strikes_back(8e-3, 100),
    "resnet/resnet_v2_50": Published(staircase(0.1, factor=0.94, every=2)),
    "mobilenet/v1": Published(staircase(0.045, factor=0.94, every=2.5)),
    "mobilenet/v2": Published(staircase(0.045 * 8, factor=0.98, every=2.5)),
    "mobilenet/v2_torchvision": Published(staircase(0.045, factor=0.98, every=1)),
    "inception_and_vgg/inception_v2": Published(staircase(0.05 * 4, factor=0.94, every=2)),
    "inception_and_vgg/inception_v3": Published(staircase(0.045, factor=0.94, every=2)),
    "inception_and_vgg/inception_v4": Published(staircase(0.045, factor=0.94, every=2)),
    "inception_and_vgg/vgg_16": Published(drops(0.01, 30, 60)),
    **{f"cifar10/resnet{depth}": Published(_CIFAR10) for depth in (20, 32, 44, 56)},
    "cifar10/resnet110": Published(held(0.01, 400 * 128 / 50000, _CIFAR10)),
    "cifar10/densenet40_k12": Published(drops(0.1, 150, 225)),
}
