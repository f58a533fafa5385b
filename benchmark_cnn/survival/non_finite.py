"""Finds values that are not finite, reports the images behind them, and counts rollbacks.

TF Model Garden's RecoveryCondition and RecoveryAction restore the last checkpoint up to three times
in a run and let the data go on. Ours does the same, except that a checkpoint that was made since
gives three more: a long run may meet a bad batch now and then, but it must get past it.
"""

from __future__ import annotations

import collections
import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmark_cnn.run import TrainingRun
from benchmark_cnn.run_directory import RunDirectory
from common import files
from common.errors import NonFiniteError

# Dynamic loss scaling falls from its highest scale to its lowest in 24 skipped steps.
_MOST_SKIPPED_IN_A_ROW = 100
_MOST_ROLLBACKS_TO_A_CHECKPOINT = 3
_MOST_IMAGES_LISTED = 100_000


class Found(NonFiniteError):
    """A value that is not finite.

    Attributes:
        what: the message without its advice.
    """

    def __init__(self, what: str, advice: str):
        super().__init__(f"{what}; {advice}")
        self.what = what


class Guard:
    """Checks the values of steps and of checkpoints.

    Args:
        directory: where the images of a step are listed; None lists them nowhere.
        start_step: the step at which the run starts or resumes.
    """

    def __init__(self, run: TrainingRun, directory: RunDirectory | None, start_step: int):
        self._run, self._directory = run, directory
        self._finite_step = start_step
        self._rollbacks: collections.Counter[int] = collections.Counter()

    def check(self, step: int, values: Mapping[Any, float]) -> None:
        """Checks the report of a step.

        Raises:
            Found: its loss or gradient is not finite, or too many updates were skipped in a row.
        """
        if self._run.params.run.forward_only:
            return
        if self._run.step.skip_nonfinite:
            self._check_skipped(step, values)
            return
        broken = [n for n in ("total_loss", "gradient_norm") if not math.isfinite(values[n])]
        if broken:
            raise Found(
                f"{' and '.join(broken)} not finite at step {step} (learning rate "
                f"{values['learning_rate']:g}, loss {values['total_loss']:g}, gradient norm "
                f"{values['gradient_norm']:g}){self._images(step)}",
                "lower --learning_rate, set --gradient_clip, or --on_nonfinite=skip or rollback. "
                "This step was not saved",
            )
        self._finite_step = step

    def check_weights(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Checks the values of a checkpoint, since finite gradients can overflow the weights.

        Raises:
            Found: a weight or a moving statistic is not finite.
        """
        broken = [name for name in self._run.state.variables if not np.isfinite(values[name]).all()]
        if broken:
            more = f" and {len(broken) - 3} more" if len(broken) > 3 else ""
            raise Found(
                f"{', '.join(broken[:3])}{more} not finite after step {step}",
                "lower --learning_rate or set --gradient_clip. This step was not saved",
            )

    def count_rollback(self, step: int, error: Found) -> str:
        """Counts a rollback to the checkpoint of `step`; returns the line that announces it.

        Raises:
            NonFiniteError: there were too many to this checkpoint.
        """
        self._finite_step = step
        self._rollbacks[step] += 1
        if self._rollbacks[step] > _MOST_ROLLBACKS_TO_A_CHECKPOINT:
            raise NonFiniteError(
                f"{error.what}; {_MOST_ROLLBACKS_TO_A_CHECKPOINT} rollbacks to step {step} have "
                "not helped: lower --learning_rate or set --gradient_clip, and run the same "
                "command again"
            ) from error
        return (
            f"Rollback {self._rollbacks.total()} to step {step}, with the data that follow: "
            f"{error.what}"
        )

    def _check_skipped(self, step: int, values: Mapping[Any, float]) -> None:
        skipped = int(self._run.state.skipped_in_a_row)
        if skipped >= _MOST_SKIPPED_IN_A_ROW:
            raise Found(
                f"the last {skipped} steps, up to step {step}, were skipped: none had finite "
                f"gradients (learning rate {values['learning_rate']:g}, loss scale "
                f"{values['loss_scale']:g}). The weights are those of step {step - skipped}",
                "start again with a lower --learning_rate or with --gradient_clip",
            )

    def _images(self, step: int) -> str:
        """Lists the images since the last finite report; returns words that say where."""
        run = self._run
        if run.manager.worker[1] > 1 or run.manager.is_asynchronous:
            return ""  # each worker knows its own alone
        batch, num_steps = run.plan.global_batch, step - self._finite_step
        end = int(run.state.examples_seen)
        count = min(num_steps * batch, _MOST_IMAGES_LISTED)
        records = run.dataset.records_of(
            start_example=end - count,
            count=count,
            seed=run.params.hardware.tf_random_seed,
            subset=run.settings.subset,
        )
        if not records:
            return ""
        if self._directory is None:
            file, number = records[-batch]
            return f", whose first image is record {number} of {Path(file).name}"
        path = self._directory.path / f"nonfinite-step-{step}.csv"
        steps = [step - (len(records) - 1 - i) // batch for i in range(len(records))]
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(("step", "file", "record"))
        writer.writerows((s, *record) for s, record in zip(steps, records, strict=True))
        with files.write_errors(path):
            files.write_text(path, table.getvalue())
        return f", images listed in {path}"
