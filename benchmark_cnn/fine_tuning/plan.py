"""What a run trains: which variables are frozen, until when, and the rates of the others."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from benchmark_cnn.params.fine_tuning_params import BACKBONE, FineTuningParams
from checkpoints.tensor_roles import RANGE
from common.errors import UsageError

if TYPE_CHECKING:  # it imports TensorFlow
    from benchmark_cnn.interfaces import Network

_MOST_NAMES = 3


@dataclasses.dataclass(frozen=True)
class FineTuning:
    """What is trained. The default is everything, at the learning rate.

    Attributes:
        frozen: checkpoint names of the variables that do not change, until the step `until`.
        until: the number of steps after which everything is trained; None for never.
        rates: checkpoint name -> multiplier of the learning rate, where it is not 1.
    """

    frozen: frozenset[str] = frozenset()
    until: int | None = None
    rates: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def never_trained(self) -> frozenset[str]:
        """Names of the variables that have neither slots nor averages."""
        return self.frozen if self.until is None else frozenset()

    @property
    def phases(self) -> dict[int, frozenset[str]]:
        """First step of each phase of the run -> names of the variables that are frozen in it."""
        if self.until is None:
            return {0: self.frozen}
        return {0: self.frozen, self.until: frozenset()}

    def first_step(self, name: str) -> int:
        """Returns the step at which the training of a variable begins."""
        return (self.until or 0) if name in self.frozen else 0

    def rate(self, name: str) -> float:
        """Returns the multiplier of a variable's learning rate."""
        return self.rates.get(name, 1.0)


EVERYTHING = FineTuning()


def make(
    flags: FineTuningParams, network: Network, *, steps_per_epoch: Fraction, total_steps: int
) -> FineTuning:
    """Resolves the flags for a network and the length of its run.

    Raises:
        UsageError: the flags say nothing about this network, or leave nothing to train.
    """
    frozen = _frozen(flags, network)
    until = None
    if flags.freeze_epochs is not None:
        until = math.ceil(Fraction(str(flags.freeze_epochs)) * steps_per_epoch)
        if until >= total_steps:
            raise UsageError(
                f"--freeze_epochs={flags.freeze_epochs:g} is the whole run, which ends after "
                f"{float(total_steps / steps_per_epoch):g} epochs: give --freeze="
                f"{flags.freeze or BACKBONE} without it, or train longer with --num_epochs"
            )
    return FineTuning(frozen, until, _rates(flags, network, frozen if until is None else ()))


def _frozen(flags: FineTuningParams, network: Network) -> frozenset[str]:
    """Returns the names that --freeze matches, and the statistics that go with them."""
    pattern = flags.freeze
    if pattern is None and flags.freeze_epochs is None:
        return frozenset()
    # The range of an activation is measured first by this run, whatever is trained.
    can_freeze = [name for name in network.variables if not name.endswith(RANGE)]
    if pattern in (None, BACKBONE):
        return frozenset(can_freeze) - set(network.groups[-1])
    matches = re.compile(pattern).search
    matched = {name for name in can_freeze if matches(name)}
    if not matched:
        raise UsageError(
            f"--freeze={pattern} matches no variable of the network; the nearest names are "
            f"{', '.join(_nearest(pattern, can_freeze))}"
        )
    if matched.issuperset(network.trainable):
        raise UsageError(
            f"--freeze={pattern} matches all variables, so that nothing is trained: leave out at "
            f"least the classifier's, {', '.join(network.groups[-1])}, as --freeze={BACKBONE} does"
        )
    trainable = set(network.trainable)
    layers: dict[str, list[str]] = {}
    for name in can_freeze:
        layers.setdefault(name.rpartition("/")[0], []).append(name)
    for names in layers.values():
        statistics, weights = set(names) - trainable, trainable.intersection(names)
        # As in Keras, a frozen batch norm keeps its statistics, and normalizes with them.
        if statistics & matched or (weights and weights <= matched):
            matched |= statistics
    return frozenset(matched)


def _rates(
    flags: FineTuningParams, network: Network, never_trained: Collection[str]
) -> dict[str, float]:
    """Returns the multipliers that are not 1: D^(L - d) in the group of depth d = 0..L."""
    multiplier, decay = flags.backbone_learning_rate_multiplier, flags.layer_decay
    if multiplier == decay == 1.0:
        return {}
    last = len(network.groups) - 1
    rates = {
        name: multiplier * decay ** (last - depth)
        for depth, names in enumerate(network.groups[:-1])
        for name in names
        if name not in never_trained
    }
    if not rates:
        flag = "layer_decay" if multiplier == 1.0 else "backbone_learning_rate_multiplier"
        raise UsageError(
            f"--{flag} has no effect with --freeze={flags.freeze}, which trains the classifier "
            "alone, at the learning rate"
        )
    return rates


def _nearest(pattern: str, names: Sequence[str]) -> list[str]:
    """Returns the names that have the longest part in common with a pattern."""

    def common(name: str) -> int:
        matcher = difflib.SequenceMatcher(None, pattern, name, autojunk=False)
        return -matcher.find_longest_match().size

    return sorted(names, key=common)[:_MOST_NAMES]
