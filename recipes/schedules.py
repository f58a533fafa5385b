"""The learning rate of a recipe at every epoch, as the program computes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from benchmark_cnn.run import RunPlan, make_plan
from benchmark_cnn.step import learning_rate
from common.errors import UsageError
from recipes.catalog import Recipe, shown
from recipes.published import PUBLISHED


class Rate(NamedTuple):
    """The learning rate of one update.

    Attributes:
        epoch: the passes over the images before it; not whole where the batch does not divide them.
        step: the number of updates before it.
    """

    epoch: float
    step: int
    rate: float


def rates(recipe: Recipe) -> list[Rate]:
    """Returns the rate of the first update of each epoch, and that of the last update.

    Raises:
        UsageError: the schedule cannot be made.
    """
    import tensorflow as tf

    plan = plan_of(recipe)
    try:
        schedule = learning_rate.make_schedule(
            recipe.params.learning_rate,
            default_learning_rate=0.0,  # a recipe says its own
            global_batch=plan.global_batch,
            examples_per_epoch=plan.examples_per_epoch,
            total_steps=plan.total_steps,
        )
    except UsageError as error:
        raise UsageError(f"{shown(recipe.path)}: {error}") from error
    last = plan.total_steps - 1
    steps = [-int(-plan.steps_per(epoch) // 1) for epoch in range(int(plan.num_epochs) + 1)]
    steps = [*(step for step in steps if step < last), last]
    every = tf.function(lambda at: tf.map_fn(schedule, at, fn_output_signature=tf.float32))
    values = every(tf.constant(steps, tf.int64)).numpy()
    return [
        Rate(plan.epoch_at(step * plan.global_batch), step, float(value))
        for step, value in zip(steps, values, strict=True)
    ]


def deviation(name: str, values: Sequence[Rate]) -> float | None:
    """Returns the largest difference from the published rate, in shares of the largest of those.

    None if no formula is known for the recipe.
    """
    if name not in PUBLISHED:
        return None
    published = [PUBLISHED[name].rate(value.epoch) for value in values]
    differences = [abs(value.rate - rate) for value, rate in zip(values, published, strict=True)]
    return max(differences) / max(published)


def errors(recipe: Recipe, values: Sequence[Rate]) -> list[str]:
    """Returns a line if the schedule is not the published one."""
    difference = deviation(recipe.name, values)
    if difference is None or difference <= PUBLISHED[recipe.name].within:
        return []
    return [
        f"{shown(recipe.path)}: its learning rate differs from the published one by up to "
        f"{difference:.1%} of the largest; python -m recipes.check {recipe.name} prints both"
    ]


def rows(name: str, values: Sequence[Rate]) -> list[tuple[str, ...]]:
    """Returns a table of the rates: a row for each epoch, below a row of titles."""
    cells: list[tuple[str, ...]] = [("epoch", "update", "learning rate", "published")]
    for epoch, step, rate in values:
        published = f"{PUBLISHED[name].rate(epoch):.6g}" if name in PUBLISHED else ""
        cells.append((f"{epoch:.2f}", f"{step:,}", f"{rate:.6g}", published))
    return cells


def plan_of(recipe: Recipe) -> RunPlan:
    """Returns the batches and the number of updates of a recipe."""
    params = recipe.params
    batch_size = params.data.batch_size
    assert isinstance(batch_size, int)  # catalog.py refuses a recipe without it
    return make_plan(
        params.run,
        batch_per_tower=batch_size,
        num_towers=params.hardware.num_gpus,
        examples_per_epoch=recipe.images_per_epoch,
        synthetic=False,
        is_kept=True,
    )
