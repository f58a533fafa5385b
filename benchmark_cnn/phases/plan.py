"""When the phases of a run and its moving averages begin, and the step of each phase."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmark_cnn.interfaces import Network
from benchmark_cnn.run import RunPlan
from benchmark_cnn.step.training_step import TrainingStep
from common.errors import UsageError


def make(
    step: TrainingStep, sizes: Mapping[int, int], network_at: Callable[[int], Network]
) -> dict[int, TrainingStep]:
    """Returns the first step of each phase -> the step that is made in it.

    Args:
        step: what all phases have in common.
        sizes: see `image_sizes`.
        network_at: from an image size to the network for it; all have the same variables.
    """
    frozen = step.fine_tuning.phases
    networks = {size: network_at(size) for size in dict.fromkeys(sizes.values())}
    phases = {}
    for first in sorted({*frozen, *sizes}):
        size = _at(sizes, first)
        tower = dataclasses.replace(step.tower, network=networks[size], frozen=_at(frozen, first))
        phases[first] = dataclasses.replace(step, tower=tower, image_size=size)
    return phases


def image_sizes(schedule: Sequence[tuple[int, float]], plan: RunPlan) -> dict[int, int]:
    """Returns the first step with each size -> the size, in pixels.

    A size begins with the first step whose examples all follow the end of the epoch before it.

    Args:
        schedule: pairs of a size and the epoch at which it begins.

    Raises:
        UsageError: the run ends before the last size begins, or makes no step with one of them.
    """
    sizes: dict[int, int] = {}
    for size, epoch in schedule:
        first = math.ceil(plan.steps_per(epoch))
        if first >= plan.total_steps:
            end = float(plan.total_steps / plan.steps_per(1))
            raise UsageError(
                f"--image_size_schedule: {size} begins after step {first} (epoch {epoch:g}), and "
                f"the run ends at step {plan.total_steps} (epoch {end:.4g}): train longer with "
                f"--num_epochs, or leave {size} out"
            )
        if first in sizes:
            raise UsageError(
                f"--image_size_schedule: {sizes[first]} and {size} begin after the same step, "
                f"{first}: an epoch has {float(plan.steps_per(1)):.4g} steps"
            )
        sizes[first] = size
    return sizes


def averages_from(epoch: float, plan: RunPlan) -> int:
    """Returns the steps before the moving averages begin at `epoch`.

    Raises:
        UsageError: the run ends before.
    """
    first = int(plan.steps_per(epoch))
    if first and first >= plan.total_steps:
        raise UsageError(
            f"--moving_average_start_epoch={epoch:g}: the averages begin after step {first}, and "
            f"the run ends at step {plan.total_steps}: train longer with --num_epochs, or let the "
            "averages begin earlier"
        )
    return first


def about_lines(sizes: Mapping[int, int], image_size: int) -> list[str]:
    """Returns what a run says of its sizes at the start; [] if all images have one."""
    if [*sizes.values()] == [image_size]:
        return []
    changes = ", ".join(f"{size} from step {first:,}" for first, size in sizes.items())
    return [f"Image size:  {changes}; evaluated at {image_size} pixels"]


def _at(values: Mapping[int, Any], step: int) -> Any:
    """Returns the value of the last step in `values` up to `step`."""
    return values[max(first for first in values if first <= step)]
