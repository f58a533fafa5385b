"""Roles by name, as TF1 programs name things."""

from __future__ import annotations

import pytest

from checkpoints import tensor_roles
from checkpoints.errors import WeightsError

NAMES = {
    "net/conv/kernel": "weight",
    "net/conv/kernel/ExponentialMovingAverage": "moving average",
    "net/conv/kernel/RMSProp": "slot",
    "net/conv/kernel/RMSProp_1": "slot",
    "net/conv/kernel/Accumulator": "slot",
    "net/bn/moving_mean": "weight",
    "gone/kernel/Momentum": "slot",
    "gone/kernel/ExponentialMovingAverage": "moving average",
    "Momentum": "weight",
    "vgg_16/mean_rgb": "constant",
    "mean_rgb": "weight",
    "global_step": "run state",
    "beta1_power": "run state",
    "loss_scale": "run state",
    "loss_scale/good_steps": "run state",
}


@pytest.mark.parametrize(("name", "role"), NAMES.items())
def test_role(name, role):
    assert tensor_roles.role(name, NAMES) == role


def test_statistics_without_an_average_are_read_as_they_are():
    names = ["w", "w/ExponentialMovingAverage", "bn/moving_mean", "global_step"]
    chosen = {"w": "w/ExponentialMovingAverage", "bn/moving_mean": "bn/moving_mean"}
    assert tensor_roles.choose(names, "ema") == chosen
    assert tensor_roles.choose(names, None) == chosen
    assert tensor_roles.choose(names, "raw") == {"w": "w", "bn/moving_mean": "bn/moving_mean"}


@pytest.mark.parametrize(
    ("names", "weights", "message"),
    [
        (["w", "w/Momentum"], "ema", "no moving averages .*--weights=raw"),
        (["w/ExponentialMovingAverage"], "raw", "moving averages only.*--weights=ema"),
        (["w", "w/ExponentialMovingAverage", "v"], None, "1 of its weights .* e.g. v"),
    ],
)
def test_what_is_not_there_is_said(names, weights, message):
    with pytest.raises(WeightsError, match=message):
        tensor_roles.choose(names, weights)
