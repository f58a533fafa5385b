"""The raw weights of a checkpoint, or their moving averages."""

from __future__ import annotations

import pytest

from checkpoints import tensor_roles
from common.errors import DataError


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
    with pytest.raises(DataError, match=message):
        tensor_roles.choose(names, weights)
