"""The two ways to train on two cores: a process with two towers, and two workers with one each."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from benchmarks import training
from benchmarks.rounds import Run

if TYPE_CHECKING:
    from benchmark_cnn.run import TrainingRun

NUM_WORKERS = 2


def one_process(model: str, steps: int, image_size: int, batch_size: int) -> Run:
    """Two towers in one process; a run returns the cost of a step (`cost_of`)."""
    run = training.engine(model, steps, NUM_WORKERS, image_size=image_size, batch_size=batch_size)
    return lambda: cost_of(run, steps)


def worker(
    model: str, steps: int, image_size: int, batch_size: int, hosts: tuple[str, ...], index: int
) -> Run:
    """A worker of one tower; a run returns the cost of a step, and its compute and reduce."""
    from benchmark_cnn.distribution.cluster import Cluster

    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[index % len(cores)]})
    setup = training.set_up_engine(
        model,
        image_size=image_size,
        batch_size=batch_size // NUM_WORKERS,
        cluster=Cluster(hosts, index),
    )
    whole = training.steps_of(setup, steps)
    whole()  # its graph is traced here, while the towers exchange gradients
    setup.manager.exchanges = False
    compute = training.steps_of(setup, steps)
    compute()
    setup.manager.exchanges = True
    reduce = _reductions(setup, steps)
    reduce()
    return lambda: (*cost_of(whole, steps), cost_of(compute, steps)[0], cost_of(reduce, steps)[0])


def _reductions(setup: TrainingRun, steps: int) -> Run:
    """Returns a call that averages tensors of the gradients' shapes `steps` times."""
    import tensorflow as tf

    manager, network = setup.manager, setup.step.tower.network
    gradients = [tf.zeros_like(manager.read(network.variables[n])) for n in network.trainable]

    @tf.function(autograph=False)
    def average():
        means = manager.run_towers(lambda: tuple(manager.aggregate(gradients)), ())
        return [manager.local_results(mean)[0] for mean in means]

    def run() -> None:
        for _ in range(steps):
            average()

    return run


def cost_of(run: Run, steps: int) -> tuple[float, float]:
    """Runs `steps` steps; returns the seconds of one, and its seconds of processor time."""
    started, used = time.perf_counter(), time.process_time()
    run()
    return (time.perf_counter() - started) / steps, (time.process_time() - used) / steps
