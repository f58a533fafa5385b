"""Roles by name, as TF1 programs name things, and raw weights or their moving averages."""

from __future__ import annotations

import pytest

from checkpoints import tensor_roles
from common.errors import DataError

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
    "skipped_steps/in_a_row": "run state",
}


@pytest.mark.parametrize(("name", "role"), NAMES.items())
def test_role(name, role):
    assert tensor_roles.role(name, NAMES) == role


def test_raw_statistics_are_read_where_they_have_no_average():
    names = ["w", "w/ExponentialMovingAverage", "bn/moving_mean", "global_step"]
    chosen = {"w": "w/ExponentialMovingAverage", "bn/moving_mean": "bn/moving_mean"}
    assert tensor_roles.choose(names, "ema", "m.ckpt") == chosen
    assert tensor_roles.choose(names, None, "m.ckpt") == chosen
    assert tensor_roles.choose(names, "raw", "m.ckpt") == {
        "w": "w",
        "bn/moving_mean": "bn/moving_mean",
    }


def test_a_frozen_weight_of_a_run_is_its_average():
    names = ["w", "w/ExponentialMovingAverage", "frozen", "global_step", "examples_seen"]
    chosen = {"w": "w/ExponentialMovingAverage", "frozen": "frozen"}
    assert tensor_roles.choose(names, None, "m.ckpt") == chosen


@pytest.mark.parametrize(
    ("names", "weights", "message"),
    [
        (["w", "w/Momentum"], "ema", "no moving averages .*--weights=raw"),
        (["w/ExponentialMovingAverage"], "raw", "moving averages only.*--weights=ema"),
        (["w", "w/ExponentialMovingAverage", "v"], None, "1 weights in m.ckpt .* e.g. v"),
    ],
)
def test_absent_weights_are_named(names, weights, message):
    with pytest.raises(DataError, match=message):
        tensor_roles.choose(names, weights, "m.ckpt")
