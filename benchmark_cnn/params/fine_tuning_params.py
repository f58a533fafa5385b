"""Flags of fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark_cnn.params.flag import flag
from benchmark_cnn.params.values import parse_pattern

BACKBONE = "backbone"


@dataclass(frozen=True)
class FineTuningParams:
    """What is trained of a network that has learned already, and at which rate."""

    freeze: str | None = flag(
        None,
        "Regular expression: variables with a matching checkpoint name are not trained; "
        f"{BACKBONE} stands for all but the classifier. A frozen batch norm normalizes with its "
        "moving statistics and keeps them.",
        when_none=f"everything is trained, or {BACKBONE} with freeze_epochs",
        syntax=parse_pattern,
    )
    freeze_epochs: float | None = flag(
        None,
        "Epochs for which freeze holds; then everything is trained.",
        above=0,
        when_none="the whole run",
    )
    backbone_learning_rate_multiplier: float = flag(
        1.0,
        "Multiplier of the learning rate of all variables but the classifier's.",
        above=0,
    )
    layer_decay: float = flag(
        1.0,
        "Layer-wise decay D of the learning rate: the n-th group of layers before the classifier "
        "has D^n times the rate. A group is a block of the network, or a layer outside of blocks.",
        above=0,
        upper=1,
    )
