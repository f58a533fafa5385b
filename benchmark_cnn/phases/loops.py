"""The step loops of a run's phases, and the batches that they take."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable, Iterator, Mapping

from benchmark_cnn.distribution.batches import training_batches
from benchmark_cnn.reporting import console
from benchmark_cnn.run import TrainingRun
from benchmark_cnn.step.step_loop import StepLoop, make_step_loop


class PhaseLoops:
    """Makes the loop of a phase when the run reaches it.

    Phases of one image size share their batches. With another size the stream of examples continues
    where the state of the run says that it is, as it does when a run resumes.

    Args:
        hooks: of TrainingStep.
    """

    def __init__(self, run: TrainingRun, hooks: Mapping[str, Callable | None]):
        self._run = run
        self._hooks = hooks
        self._image_size: int | None = None
        self._batches: Iterator | None = None
        self._loops: dict[int, StepLoop] = {}

    def after(self, step: int) -> StepLoop:
        """Returns the loop that makes the step after `step` steps."""
        first = self._run.phase_after(step)
        phase = self._run.phases[first]
        if phase.image_size != self._image_size:
            self._change_size(phase.image_size, step)
        if first not in self._loops:
            assert self._batches is not None
            self._loops[first] = make_step_loop(
                dataclasses.replace(phase, **self._hooks),
                self._batches,
                self._run.plan.micro_batches,
            )
        return self._loops[first]

    def _change_size(self, image_size: int, step: int) -> None:
        run, is_first = self._run, self._batches is None
        seen = int(run.state.examples_seen)
        if step and run.params.network.image_size_schedule is not None:
            console.log(
                f"Training images of {image_size} x {image_size} pixels from step {step} on, epoch "
                f"{run.plan.epoch_at(seen):.2f}"
            )
        # Two pipelines at a time would hold two shuffle buffers. A graph is a cycle of references.
        self._loops.clear()
        self._batches = None
        if not is_first:
            gc.collect()
        self._image_size = image_size
        self._batches = training_batches(
            run.manager,
            run.dataset,
            batch_size=run.plan.batch_per_tower,
            image_size=image_size,
            seed=run.params.hardware.tf_random_seed,
            start_example=seen,
            subset=run.settings.subset,
        )
