"""`--learning_rate_finder`: Smith's range test (arXiv:1506.01186, section 3.3).

The learning rate grows exponentially from step to step, on the run's own network, data and flags.
The loss falls, the steepest where a rate teaches the most, and rises where it is too high.
"""

from __future__ import annotations

import dataclasses
import gc
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging

from benchmark_cnn import before_training, saving, training_setup
from benchmark_cnn.distribution.batches import training_batches
from benchmark_cnn.interfaces import Dataset, NetworkSpec
from benchmark_cnn.objective.teacher import Teacher
from benchmark_cnn.params.data_params import NetworkParams
from benchmark_cnn.params.params import Params
from benchmark_cnn.params.values import parse_image_sizes
from benchmark_cnn.reporting import console
from benchmark_cnn.run import TrainingRun
from benchmark_cnn.search import batch_size
from benchmark_cnn.step.step_loop import make_step_loop
from benchmark_cnn.step.training_step import REPORT
from common import files, paths
from common.errors import DataError

PICTURE = "learning_rate_finder.png"
FIRST_RATE, LAST_RATE, STEPS = 1e-7, 10.0, 100
_NOISE = 20  # steps of the test, up to a rate of about 4e-6
# The loss that is judged is averaged over about this many steps to both sides. An average over the
# past alone would lag behind: by a factor of 2 in the rate for 4 steps.
SPAN = 4
DIVERGED = 4.0  # the test ends where the loss is so many times the first one


class Proposal(NamedTuple):
    """Learning rates for a gradient that is the mean over the global batch.

    Attributes:
        steepest: where the smoothed loss falls the fastest with the logarithm of the rate.
        tenth: a tenth of the rate at the minimum of the smoothed loss.
    """

    steepest: float
    tenth: float


def find(
    params: Params,
    spec: NetworkSpec,
    dataset: Dataset,
    *,
    check_device: Callable[[str], None] | None = None,
    image_bytes: before_training.ImageBytes | None = None,
    teacher: Teacher | None = None,
) -> Proposal:
    """Trains `STEPS` steps with growing rates, prints a proposal and draws a picture.

    Nothing else is written, and a run in `train_dir` is not touched.

    Raises:
        DataError: the loss does not fall at any rate.
    """
    directory = Path(params.checkpoint.train_dir or ".")
    params = batch_size.chosen(params, spec, dataset, None, image_bytes, check_device, teacher)
    short = dataclasses.replace(
        params,
        run=dataclasses.replace(params.run, num_batches=STEPS, num_epochs=None),
        network=_of_first_size(params.network),
        checkpoint=dataclasses.replace(params.checkpoint, train_dir=None),
    )
    run = training_setup.set_up(short, spec, dataset, check_device=check_device, loss=teacher)
    if params.checkpoint.init_checkpoint is not None:
        saving.initialize(
            run.state,
            params.checkpoint.init_checkpoint,
            background_class=run.step.tower.network.background_class,
        )
    console.log(
        f"Finding a learning rate: {STEPS} steps from {FIRST_RATE:g} to {LAST_RATE:g}, after which "
        "the weights are dropped"
    )
    rates, losses = range_test(run)
    proposal = propose(rates, losses)
    path = directory / PICTURE
    _draw(rates, losses, proposal, path)
    base, batch = params.learning_rate.learning_rate_base_batch, run.plan.global_batch
    flag = proposal.steepest * (base / batch if base else 1)
    console.log(
        f"The smoothed loss falls fastest at {proposal.steepest:.2g}; a tenth of the rate of its "
        f"minimum is {proposal.tenth:.2g} (global batch of {batch} images)",
        f"Picture:    {paths.quoted(path)}",
        f"Proposal:   --learning_rate={flag:.2g}"
        + (f", as --learning_rate_base_batch={base} scales it" if base else ""),
    )
    return proposal


def range_test(run: TrainingRun, steps: int = STEPS) -> tuple[list[float], list[float]]:
    """Returns the rates and the losses (raw) of the steps up to the end of the test."""
    batches = training_batches(
        run.manager,
        run.dataset,
        batch_size=run.plan.batch_per_tower,
        image_size=run.step.image_size,
        seed=run.params.hardware.tf_random_seed,
        subset=run.settings.subset,
    )
    loop = make_step_loop(
        dataclasses.replace(run.step, schedule=lambda step: _rate(step, steps)),
        batches,
        run.plan.micro_batches,
    )
    rates: list[float] = []
    losses: list[float] = []
    for _ in range(steps):
        values = dict(zip(REPORT, loop(1, True)[0].numpy().tolist(), strict=True))
        if not math.isfinite(values["total_loss"]):
            break
        rates.append(values["learning_rate"])
        losses.append(values["total_loss"])
        if losses[-1] > DIVERGED * losses[0]:
            break
    return rates, losses


def smoothed(losses: Sequence[float]) -> list[float]:
    """Averages exponentially over the past and, of the result, over the future: nothing lags.

    The divergence at the end counts as no more than DIVERGED times the first loss.
    """
    capped = [min(loss, DIVERGED * losses[0]) for loss in losses]
    return _average(_average(capped)[::-1])[::-1]


def _average(losses: Sequence[float]) -> list[float]:
    """Returns the bias-corrected exponential moving average."""
    decay, mean, found = SPAN / (SPAN + 1), 0.0, []
    for count, loss in enumerate(losses, start=1):
        mean = decay * mean + (1 - decay) * loss
        found.append(mean / (1 - decay**count))
    return found


def propose(rates: Sequence[float], losses: Sequence[float]) -> Proposal:
    """Returns the proposal of a range test.

    Raises:
        DataError: the smoothed loss never falls.
    """
    smooth = np.array(smoothed(losses))
    lowest = int(np.argmin(smooth)) if len(smooth) else 0
    if lowest < 2:
        raise DataError(
            "the loss does not fall at any learning rate: look at the images with "
            "python -m preprocessing.contact_sheet, and at the other flags"
        )
    slopes = np.gradient(smooth[: lowest + 1], np.log(rates[: lowest + 1]))
    # The first rates teach nothing: what falls there is the noise of the batches.
    first = min(_NOISE, lowest - 1)
    steepest = first + int(np.argmin(slopes[first:]))
    return Proposal(float(rates[steepest]), float(rates[lowest]) / 10)


def _of_first_size(network: NetworkParams) -> NetworkParams:
    """Returns the flags without a change of size, which the steps of the test would not reach."""
    if network.image_size_schedule is None:
        return network
    size, _ = parse_image_sizes(network.image_size_schedule)[0]
    return dataclasses.replace(network, image_size_schedule=f"{size}:0")


def _rate(step: tf.Tensor, steps: int) -> tf.Tensor:
    share = tf.cast(step, tf.float32) / (steps - 1)
    return FIRST_RATE * tf.exp(share * math.log(LAST_RATE / FIRST_RATE))


def _draw(rates: Sequence[float], losses: Sequence[float], proposal: Proposal, path: Path) -> None:
    """Draws losses over rates; a failure is logged, since the proposal is printed, too."""
    try:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
        panel = figure.add_subplot()
        panel.plot(rates, losses, color="#0072B2", alpha=0.3, lw=0.8, label="loss of a step")
        panel.plot(rates, smoothed(losses), color="#0072B2", lw=1.8, label="smoothed")
        for rate, name in zip(proposal, ("falls fastest", "minimum / 10"), strict=True):
            style = "-" if name == "falls fastest" else ":"
            panel.axvline(rate, color="#D55E00", ls=style, lw=1, label=f"{name}: {rate:.2g}")
        panel.set_xscale("log")
        smooth = smoothed(losses)
        fall = smooth[0] - min(smooth)
        panel.set_ylim(min(losses) - 0.1 * fall, smooth[0] + 0.5 * fall)
        panel.set_xlabel("learning rate")
        panel.set_ylabel("total loss")
        panel.legend(frameon=False)
        files.make_directory(path.parent)
        with files.atomic_file(path) as file:
            figure.savefig(file, format="png")
    except Exception as error:
        logging.warning("%s was not drawn: %s", path, error)
    finally:
        gc.collect()  # see reporting/curves.py
