"""A process of an asynchronous run on a small network, for the tests.

    python -m tests.benchmark_cnn.distribution.asynchronous_process JSON

The JSON object holds the flags, and `network`: the arguments of ConvNetwork, or "linear".
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import tensorflow as tf

from benchmark_cnn import training
from benchmark_cnn.distribution import parameter_servers
from benchmark_cnn.params.validation import make_params
from common import commands
from common.process import free_ports
from tests.benchmark_cnn.distribution.cluster_worker import EVERYTHING, EXAMPLES
from tests.benchmark_cnn.networks import ArrayData, ConvNetwork, Output, Spec, random_examples
from tests.conftest import ROOT

# Of everything, what an asynchronous run can have.
MODULE = "tests.benchmark_cnn.distribution.asynchronous_process"
FLAGS = {**EVERYTHING, "gradient_accumulation_steps": 1, "batch_size": 6, "num_batches": 8}


class LinearNetwork:
    """The loss is a sum of weights, each times a constant: the gradient does not change."""

    name = "linear"
    background_class = False
    SIZES = (50_000, 3, 20_000)

    def __init__(self):
        self.variables = {
            f"part{i}/kernel": tf.Variable(tf.zeros([size])) for i, size in enumerate(self.SIZES)
        }
        self.trainable = tuple(self.variables)
        self.decayed = frozenset()

    def __call__(self, images, *, training, seed=None, frozen=frozenset()):
        total = sum(
            tf.reduce_sum(variable * (number + 1.0))
            for number, variable in enumerate(self.variables.values())
        )
        return Output(tf.fill([tf.shape(images)[0], 5], total), None, {})


def linear_loss(output, labels):
    return output.logits[0, 0], tf.zeros([])


def train(*, network, **flags):
    """Trains as the process that `job_name` says, or alone without `ps_hosts`."""
    params = make_params(device="cpu", **{**FLAGS, **flags})
    servers = parameter_servers.of(params)
    if servers is not None and not servers.is_chief:
        training.serve(params, servers)
        return
    is_linear = network == "linear"
    spec = Spec(LinearNetwork if is_linear else lambda: ConvNetwork(**network))
    data = ArrayData(*random_examples(EXAMPLES))
    training.train(params, spec, data, loss=linear_loss if is_linear else None)


def start(directory, *, workers=1, servers=1, **settings):
    """Starts the processes; returns (job, index) -> process. The chief trains in `directory`."""
    ports = [f"127.0.0.1:{port}" for port in free_ports(workers + servers)]
    cluster = {
        "variable_update": "parameter_server",
        "worker_hosts": ",".join(ports[:workers]),
        "ps_hosts": ",".join(ports[workers:]),
    }
    tasks = [("chief", 0), *(("worker", i) for i in range(workers))]
    tasks += [("ps", i) for i in range(servers)]
    return {
        (job, index): subprocess.Popen(
            [
                sys.executable, "-m", MODULE, json.dumps({
                    "train_dir": str(directory), **cluster, "job_name": job, "task_index": index,
                    **settings,
                }),
            ],
            cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        )
        for job, index in tasks
    }  # fmt: skip


def finish(processes, seconds=240):
    """Waits for the ends; returns the chief's lines. Every process has to end with 0."""
    try:
        outputs = {task: p.communicate(timeout=seconds) for task, p in processes.items()}
    finally:
        for process in processes.values():
            process.kill()
    codes = {task: process.returncode for task, process in processes.items()}
    assert not any(codes.values()), (codes, outputs)
    return outputs["chief", 0][0].splitlines()


def linear_weights(steps, learning_rate):
    """Returns what `steps` updates make of LinearNetwork's weights, by plain descent."""
    return {
        f"part{i}/kernel": np.full(size, -steps * learning_rate * (i + 1.0))
        for i, size in enumerate(LinearNetwork.SIZES)
    }


if __name__ == "__main__":
    settings = json.loads(sys.argv[1])
    sys.exit(commands.run(lambda: train(**settings), debug=True))
