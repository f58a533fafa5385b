"""Predicts the time of a training step on 1 to 1,024 GPUs, and checks it on published speeds.

    python -m benchmarks.scaling.step_time [--network=resnet50] [--machine=a100] [--batch_size=256]

The time of a step is the longest of what its parts take:

    step = max(slowest tower, input) + the part of the all-reduce that the backward pass leaves over

The slowest of N towers takes the mean time and the expected maximum of N normal deviations. The
all-reduce runs inside each machine first, over its own links, then between the machines, as a ring
or as a tree, whichever is faster, over the network. The input is what the CPU cores of a machine
decode. docs/scaling.md derives each term and says where its constants come from.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common import commands

# Of the time of a step; gradients exist only during the backward pass, about two thirds of it, and
# the first bucket is ready only after a part of it.
_OVERLAPPED = 0.5
# Decoding and cropping for training, images/s per core (docs/scaling.md).
_IMAGES_PER_CORE = 600.0
_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


@dataclass(frozen=True)
class Machine:
    """A server with GPUs.

    Attributes:
        gpus: Of a machine.
        link: Bytes/s that each GPU sends and receives in an all-reduce inside the machine.
        link_latency: Seconds of one hop inside the machine.
        network: Bytes/s that a machine sends and receives to the others.
        network_latency: Seconds of one hop between machines.
        cores: Physical cores that decode images.
        jitter: Standard deviation of a tower's time, as a share of it; fitted to the ResNet rows
            of PUBLISHED.
    """

    gpus: int
    link: float
    link_latency: float
    network: float
    network_latency: float
    cores: int
    jitter: float = 0.035


@dataclass(frozen=True)
class Work:
    """What one GPU does in a step.

    Attributes:
        images_per_sec: Of one GPU alone, with the input ready.
        gradient_bytes: Of all trainable variables, in the type that is reduced.
        batch_size: Images of one GPU in a step.
        images_per_core: That the input prepares in a second; None for synthetic images.
    """

    images_per_sec: float
    gradient_bytes: float
    batch_size: int
    images_per_core: float | None = _IMAGES_PER_CORE


@dataclass(frozen=True)
class StepTime:
    """Seconds of the parts of a step on `gpus` GPUs; `reduce` is what the backward pass leaves."""

    gpus: int
    compute: float
    straggle: float
    input: float
    reduce: float

    @property
    def total(self) -> float:
        return max(self.compute + self.straggle, self.input) + self.reduce

    @property
    def limit(self) -> str:
        """The part beyond the compute time that costs most."""
        waits = {
            "input": self.input - self.compute,
            "all-reduce": self.reduce,
            "stragglers": self.straggle,
        }
        worst = max(waits, key=lambda name: waits[name])
        return worst if waits[worst] > 0.01 * self.compute else "compute"


# Bus bandwidths as NVIDIA's nccl-tests report them for large messages, about; networks as sold:
# p3.16xlarge 25 Gbit/s, p4d 400, p5 3,200.
MACHINES = {
    "v100": Machine(8, 120e9, 8e-6, 25e9 / 8, 30e-6, 32),
    "a100": Machine(8, 230e9, 6e-6, 400e9 / 8, 20e-6, 48),
    "h100": Machine(8, 450e9, 5e-6, 3200e9 / 8, 15e-6, 96),
}
# Parameters of the networks of models/; the gradients are float32.
PARAMETERS = {
    "resnet50": 25_557_032,
    "efficientnet_lite0": 4_652_008,
    "keras_efficientnetb0": 5_330_571,
}


def step_time(work: Work, machine: Machine, gpus: int) -> StepTime:
    """Predicts the parts of a step on `gpus` GPUs of full machines, or of a part of one."""
    compute = work.batch_size / work.images_per_sec
    straggle = compute * machine.jitter * largest_of_normals(gpus)
    local = min(gpus, machine.gpus)
    prepared = machine.cores * (work.images_per_core or math.inf)
    exposed = max(0.0, all_reduce_secs(work.gradient_bytes, machine, gpus) - _OVERLAPPED * compute)
    return StepTime(gpus, compute, straggle, work.batch_size * local / prepared, exposed)


def all_reduce_secs(num_bytes: float, machine: Machine, gpus: int) -> float:
    """Returns the seconds of an all-reduce over `gpus` GPUs, without any overlap."""
    local, machines = min(gpus, machine.gpus), math.ceil(gpus / machine.gpus)
    inside = ring_secs(num_bytes, local, machine.link, machine.link_latency)
    between = min(
        ring_secs(num_bytes, machines, machine.network, machine.network_latency),
        tree_secs(num_bytes, machines, machine.network, machine.network_latency),
    )
    return inside + between


def ring_secs(num_bytes: float, members: int, bandwidth: float, latency: float) -> float:
    """Returns 2 (n-1) hops that each carry 1/n of the bytes (Patarasuk and Yuan, 2009)."""
    hops = 2 * (members - 1)
    return hops * (latency + num_bytes / members / bandwidth)


def tree_secs(num_bytes: float, members: int, bandwidth: float, latency: float) -> float:
    """Returns the time of a pipelined double binary tree (Sanders, Speck and Träff, 2009).

    All bytes pass twice, up and down, and the pipeline fills in 2 log2(n) hops.
    """
    if members == 1:
        return 0.0
    return 2 * math.log2(members) * latency + 2 * num_bytes / bandwidth


def largest_of_normals(count: int) -> float:
    """Returns the expected maximum of `count` standard normal deviations, by its integral."""
    if count == 1:
        return 0.0
    points = np.linspace(-10.0, 10.0, 4001)
    density = np.exp(-(points**2) / 2) / math.sqrt(2 * math.pi)
    below = np.array([0.5 * math.erfc(-point / math.sqrt(2)) for point in points])
    return float(np.trapezoid(points * count * below ** (count - 1) * density, points))


# Published images/s of one GPU and of eight: NVIDIA's DeepLearningExamples, by the README of each.
# They decode by DALI, on GPUs too, except for the last, whose README calls it bound by its input.
PUBLISHED = (
    ("resnet50, A100-40G, TF32+XLA", "resnet50", "a100", 256, 909, 7_000),
    ("resnet50, A100-40G, AMP+XLA", "resnet50", "a100", 256, 2_375, 17_400),
    ("resnet50, V100-16G, AMP+XLA", "resnet50", "v100", 256, 1_270, 9_510),
    ("efficientnet-b0, A100-80G, TF32", "keras_efficientnetb0", "a100", 256, 1_209, 9_119),
    ("efficientnet-b0, A100-80G, AMP+XLA", "keras_efficientnetb0", "a100", 1024, 3_454, 20_647),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the prediction that the command line asks for, then the check; returns exit code."""
    parser = commands.parser("python -m benchmarks.scaling.step_time", __doc__)
    parser.add_argument("--network", choices=PARAMETERS, default="resnet50")
    parser.add_argument("--machine", choices=MACHINES, default="a100")
    parser.add_argument("--batch_size", type=commands.at_least(1), default=256, help="of a GPU")
    parser.add_argument(
        "--images_per_sec", type=commands.above_zero, default=2375.0, help="of one GPU alone"
    )
    parser.add_argument(
        "--images_per_core",
        type=commands.above_zero,
        default=_IMAGES_PER_CORE,
        help="that a CPU core prepares in a second; default: %(default)g",
    )
    options = parser.parse_args(arguments)
    return commands.run(lambda: _print(options))


def _print(options: argparse.Namespace) -> None:
    work = Work(
        options.images_per_sec,
        4 * PARAMETERS[options.network],
        options.batch_size,
        options.images_per_core,
    )
    print(" GPUs  step ms  compute  straggle    input   reduce    images/s  efficiency  limit")
    for gpus in _COUNTS:
        print(_row(step_time(work, MACHINES[options.machine], gpus), work))
    print("\npublished, 8 GPUs                    one GPU     eight  predicted   error")
    for name, network, machine, batch_size, one, eight in PUBLISHED:
        speed = _eight(network, machine, batch_size, one)
        error = speed / eight - 1
        print(f"{name:<36} {one:>7,} {eight:>9,} {speed:>10,.0f} {error:>+7.1%}")


def _eight(network: str, machine: str, batch_size: int, one: float) -> float:
    """Returns the predicted images/s of eight GPUs whose input is always ready."""
    work = Work(one, 4 * PARAMETERS[network], batch_size, images_per_core=None)
    return 8 * batch_size / step_time(work, MACHINES[machine], 8).total


def _row(time: StepTime, work: Work) -> str:
    speed = time.gpus * work.batch_size / time.total
    parts = dataclasses.asdict(time)
    columns = " ".join(f"{1e3 * parts[n]:8.2f}" for n in ("compute", "straggle", "input", "reduce"))
    efficiency = speed / time.gpus / work.images_per_sec
    return (
        f"{time.gpus:5,} {1e3 * time.total:8.2f} {columns} {speed:11,.0f} {efficiency:10.1%}  "
        f"{time.limit}"
    )


if __name__ == "__main__":
    sys.exit(main())
