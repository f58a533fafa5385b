"""When a training run saves, and how it goes on from what was saved."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmark_cnn.reporting import console
from benchmark_cnn.run import crosses
from benchmark_cnn.run_directory import RunDirectory
from benchmark_cnn.step import train_state
from benchmark_cnn.step.train_state import TrainState
from checkpoints import best, restore_plan, store


class Saver:
    """Saves `state` into `directory` by steps and by time; does nothing without a directory."""

    def __init__(self, state: TrainState, directory: RunDirectory | None, checkpoint):
        self._state = state
        self._directory = directory
        self._every_steps = checkpoint.save_model_steps
        self._every_secs = checkpoint.save_model_secs
        self._keep = checkpoint.keep_checkpoints
        self._saved_at = time.monotonic()
        self._saved_step: int | None = None
        self._prefix: str | None = None

    def due(self, previous: int, step: int) -> bool:
        """Whether the steps in (previous, step] end with a checkpoint."""
        if self._directory is None:
            return False
        by_time = self._every_secs and time.monotonic() - self._saved_at >= self._every_secs
        return bool(by_time) or crosses(previous, step, self._every_steps)

    def save(self, step: int) -> None:
        """Save the state after `step` steps, once."""
        if self._directory is None or step == self._saved_step:
            return
        self._prefix = store.save(
            self._directory.path, step, self._state.tensors(), keep=self._keep
        )
        self._saved_step, self._saved_at = step, time.monotonic()

    def keep_if_best(self, metrics: Mapping[str, float]) -> None:
        """Keep the checkpoint just saved in `best/` if its top-1 is the highest so far."""
        if self._prefix is not None and self._directory is not None:
            best.save_best(
                self._directory.path, self._prefix, metrics, [self._directory.parameters]
            )

    def resume(self) -> int:
        """Restore the newest whole checkpoint of the directory, if any.

        Returns:
          The number of finished steps; 0 for a run that starts.
        """
        prefix = self._directory.checkpoint_to_resume() if self._directory else None
        if prefix is None:
            return 0
        wanted, available = _shapes(self._state.named_variables()), store.shapes(prefix)
        absent = train_state.OPTIONAL - available.keys()
        plan = restore_plan.restore_plan(
            {name: shape for name, shape in wanted.items() if name not in absent},
            available,
            advice=restore_plan.RESUMPTION,
        )
        self._state.restore(_without_constant_scale(store.read_variables(prefix, plan)))
        step = int(self._state.global_step)
        self._prefix, self._saved_step = prefix, step
        console.log(console.resuming_line(prefix, step))
        return step


def initialize(state: TrainState, path: str) -> None:
    """Start from the weights of another run (`--init_checkpoint`): weights and statistics only.

    A classifier of another number of classes keeps its initial values, and the console says so.
    """
    prefix = store.resolve(path)
    wanted, available = _shapes(state.variables), store.shapes(prefix)
    head = restore_plan.resized_head(wanted, available)
    plan = restore_plan.restore_plan(
        {name: shape for name, shape in wanted.items() if name not in head},
        available,
        advice=restore_plan.INITIALIZATION,
    )
    state.restore(store.read_variables(prefix, plan))
    state.start_averages()
    console.log(f"Starting from the weights of {prefix}")
    if head:
        console.log(
            f"It has {available[head[0]][-1]} classes, the network {wanted[head[0]][-1]}: "
            f"{', '.join(head)} start anew"
        )


def _without_constant_scale(values: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """`values` without the 1 that earlier versions saved as the loss scale of runs without one."""
    names = (train_state.LOSS_SCALE, train_state.GOOD_STEPS)
    is_earlier = train_state.SKIPPED_IN_A_ROW not in values
    if not is_earlier or [values.get(name) for name in names] != [1, 0]:
        return values
    return {name: value for name, value in values.items() if name not in names}


def _shapes(variables: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(variable.shape) for name, variable in variables.items()}
