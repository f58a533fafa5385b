"""Roles by name, as TF1 programs name things."""

from __future__ import annotations

import pytest

from checkpoints import tensor_roles

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
