"""Runs of the real engine on small networks, for the tests."""

from __future__ import annotations

import numpy as np

from benchmark_cnn import training_setup
from benchmark_cnn.distribution.batches import training_batches
from benchmark_cnn.params.validation import make_params
from benchmark_cnn.step.step_loop import make_step_loop
from benchmark_cnn.step.training_step import REPORT
from tests.benchmark_cnn.networks import Spec

# What an update can be made of: towers and workers are compared with all of it on.
EVERYTHING = {
    "optimizer": "momentum",
    "learning_rate": 0.2,
    "weight_decay": 0.01,
    "gradient_clip": 0.5,
    "moving_average_decay": 0.9,
    "label_smoothing": 0.1,
    "gradient_accumulation_steps": 2,
}


def run_steps(
    build_network, dataset, *, steps, global_batch, loss_function=None, prepare=None, **flags
):
    """Train `steps` steps; the global batch is divided over towers and micro-batches.

    Returns:
      (one dict of reported values per step, final checkpoint tensors as arrays).
    """
    towers = flags.get("num_gpus", 1)
    micro_batches = flags.get("gradient_accumulation_steps", 1)
    params = make_params(device="cpu", batch_size=global_batch // towers // micro_batches, **flags)
    run = training_setup.set_up(params, Spec(build_network), dataset, loss=loss_function)
    if prepare:
        prepare(run)
    batches = training_batches(
        run.manager,
        dataset,
        batch_size=run.plan.batch_per_tower,
        image_size=run.settings.image_size,
        seed=params.hardware.tf_random_seed,
        start_example=int(run.state.examples_seen),
    )
    loop = make_step_loop(run.step, batches, micro_batches)
    per_call = params.run.steps_per_loop
    reports = []
    for _ in range(steps // per_call):
        values, _ = loop(per_call, True)
        reports.append(dict(zip(REPORT, values.numpy(), strict=True)))
    return reports, {name: np.asarray(t) for name, t in run.state.tensors().items()}
