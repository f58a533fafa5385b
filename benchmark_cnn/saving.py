"""When a training run saves, and how it resumes or starts from saved weights."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from benchmark_cnn.params.params import Params
from benchmark_cnn.reporting import console
from benchmark_cnn.run import crosses
from benchmark_cnn.run_directory import RunDirectory
from benchmark_cnn.step import train_state
from benchmark_cnn.step.train_state import TrainState
from checkpoints import best, restore_plan, store
from checkpoints.background import BackgroundSaver
from checkpoints.tensor_roles import AVERAGE, MOVING_AVERAGE, RANGE, SLOT, WEIGHT, role
from common.errors import DataError


class Saver(contextlib.AbstractContextManager):
    """Saves `state` to `directory` by steps and by time; does nothing without a directory.

    Training continues meanwhile: the files are written and verified in a thread. The context ends
    when the last of them are on the disk.
    """

    def __init__(self, state: TrainState, directory: RunDirectory | None, params: Params):
        checkpoint = params.checkpoint
        self._state = state
        self._directory = directory
        self._params = params
        self._every_steps = checkpoint.save_model_steps
        self._every_secs = checkpoint.save_model_secs
        self._saved_at = time.monotonic()
        self._saved_step: int | None = None
        self._prefix: str | None = None
        self._saves: BackgroundSaver | None = None
        if directory is not None:
            self._saves = BackgroundSaver(directory.path, keep=checkpoint.keep_checkpoints)

    def __exit__(self, *error) -> None:
        if self._saves is not None:
            self._saves.__exit__(*error)

    def due(self, previous: int, step: int) -> bool:
        """Returns whether the steps in (previous, step] end with a checkpoint.

        Raises:
            DataError: a save that has begun earlier has failed.
        """
        if self._saves is None:
            return False
        self._saves.check()
        by_time = self._every_secs and time.monotonic() - self._saved_at >= self._every_secs
        return bool(by_time) or crosses(previous, step, self._every_steps)

    def save(
        self,
        step: int,
        values: Mapping[str, np.ndarray],
        before: Callable[[], None] = lambda: None,
        *,
        waits: bool = False,
    ) -> None:
        """Saves the state after `step` steps, once; see `BackgroundSaver.save`."""
        if self._saves is None or step == self._saved_step:
            return
        self._prefix = self._saves.save(step, values, before, waits=waits)
        self._saved_step, self._saved_at = step, time.monotonic()

    def wait(self) -> None:
        """Waits until all that was saved is on the disk."""
        if self._saves is not None:
            self._saves.wait()

    def keep_if_best(self, metrics: Mapping[str, Any]) -> None:
        """Copies the checkpoint just saved to `best/` if it is the best so far."""
        if self._prefix is not None and self._directory is not None:
            self.wait()
            companions = [self._directory.parameters, self._directory.run_info]
            best.save_best(self._directory.path, self._prefix, metrics, companions)

    def resume(self, earlier: Params | None = None) -> int:
        """Restores the newest complete checkpoint; returns its step, or 0 without any.

        Args:
            earlier: parameters of the last start, where they are known.

        Raises:
            DataError: the checkpoint is another network's, or holds what this run would not keep.
        """
        prefix = self._directory.checkpoint_to_resume() if self._directory else None
        if prefix is None:
            return 0
        wanted, available = shapes_of(self._state.named_variables()), store.shapes(prefix)
        absent = train_state.OPTIONAL - available.keys()
        plan = restore_plan.restore_plan(
            {name: shape for name, shape in wanted.items() if name not in absent},
            available,
            hints=restore_plan.RESUMPTION,
        )
        self._check_that_all_is_kept(prefix, wanted, available, earlier or self._params)
        self._state.restore(_without_constant_scale(store.read_variables(prefix, plan)))
        step = int(self._state.global_step)
        self._prefix, self._saved_step = prefix, step
        console.log(console.resuming_line(prefix, step))
        return step

    def restore_last(self) -> None:
        """Restores the newest complete checkpoint of this run, whatever was done since."""
        self.wait()
        if self._directory is None:
            return  # another worker than the chief
        prefix = self._directory.checkpoint_to_resume()
        if prefix is None:
            raise DataError(f"{self._directory.path} has no checkpoint to roll back to")
        names = self._state.named_variables()
        self._state.restore(store.read_variables(prefix, {name: name for name in names}))
        self._prefix, self._saved_step = prefix, store.global_step(prefix)

    def _check_that_all_is_kept(
        self, prefix: str, wanted: Collection[str], available: Collection[str], earlier: Params
    ) -> None:
        """Checks that the next checkpoint will hold all that the restored one holds."""
        lost = {name: role(name, available) for name in sorted(set(available) - set(wanted))}
        ranges = [n for n in lost if n.removesuffix(f"/{MOVING_AVERAGE}").endswith(RANGE)]
        lost = {name: kind for name, kind in lost.items() if name not in ranges}
        averages = [name for name, kind in lost.items() if kind == AVERAGE]
        slots = [name for name, kind in lost.items() if kind == SLOT]
        weights = [name for name, kind in lost.items() if kind == WEIGHT]
        if averages and self._params.optimization.moving_average_decay == 0:
            console.log(f"Warning: the moving averages of {prefix} are dropped, as asked")
            averages = []
        decay = earlier.optimization.moving_average_decay
        before, now = earlier.fine_tuning, self._params.fine_tuning
        unfrozen = []
        if (before.freeze, before.freeze_epochs) != (now.freeze, now.freeze_epochs):
            # What has none at all any more, or those of another optimizer, is not for this reason.
            if self._params.optimization.moving_average_decay:
                unfrozen, averages = averages, []
            if self._params.optimization.optimizer == earlier.optimization.optimizer:
                unfrozen, slots = [*unfrozen, *slots], []
        answers = {
            "ranges of activations": (ranges, "give --quantization_aware as before"),
            f"{len(weights)} weights": (weights, "give the --model it was trained with"),
            f"{len(unfrozen)} slots and averages": (
                unfrozen,
                f"give --freeze={before.freeze} --freeze_epochs={before.freeze_epochs} as before",
            ),
            f"the moving averages of {len(averages)} variables": (
                averages,
                f"give --moving_average_decay={f'{decay:g}' if decay else 'DECAY'} as before, or "
                "--moving_average_decay=0 to drop them",
            ),
            f"{len(slots)} slots of the optimizer": (
                slots,
                f"give --optimizer={earlier.optimization.optimizer} as before",
            ),
        }
        lines = [
            f"{prefix} holds {what} ({restore_plan.listed(names[:1])}) that would be lost: "
            f"{advice}; or start another --train_dir from its weights with "
            f"--init_checkpoint={prefix}"
            for what, (names, advice) in answers.items()
            if names
        ]
        if lines:
            raise DataError("\n".join(lines))


def initialize(state: TrainState, path: str, *, background_class: bool = False) -> None:
    """Restores weights and statistics, nothing else, from another run (`--init_checkpoint`).

    A classifier of another number of classes keeps its initial values, with a message. The ranges
    of activations are measured by the first step, if the other run had none.

    Args:
        background_class: whether the network has an output that no label uses.
    """
    prefix = store.resolve(path)
    wanted, available = shapes_of(state.variables), store.shapes(prefix)
    head = restore_plan.resized_head(wanted, available)
    unknown = {name for name in wanted if name.endswith(RANGE) and name not in available}
    plan = restore_plan.restore_plan(
        {name: shape for name, shape in wanted.items() if name not in unknown.union(head)},
        available,
        hints=restore_plan.INITIALIZATION,
    )
    state.restore(store.read_variables(prefix, plan))
    state.start_averages()
    console.log(f"Starting from the weights of {prefix}")
    if head:
        theirs, ours = (s[head[0]][-1] - int(background_class) for s in (available, wanted))
        console.log(
            f"It has {theirs} classes, the network {ours}: "
            f"{', '.join(head)} keep their initial values"
        )


def _without_constant_scale(values: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Drops the loss scale of 1 that earlier versions saved in runs without loss scaling."""
    names = (train_state.LOSS_SCALE, train_state.GOOD_STEPS)
    is_earlier = train_state.SKIPPED_IN_A_ROW not in values
    if not is_earlier or [values.get(name) for name in names] != [1, 0]:
        return values
    return {name: value for name, value in values.items() if name not in names}


def shapes_of(variables: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Returns name -> shape."""
    return {name: tuple(variable.shape) for name, variable in variables.items()}
