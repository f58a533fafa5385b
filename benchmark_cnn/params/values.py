"""Parsers of the flags whose values have a syntax of their own.

Each raises a ValueError with the end of a sentence that begins with the flag and its value.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
import typing

# As many epochs of ImageNet are less than 2^63 steps. A number of things, steps or epochs beyond it
# is a mistake, and would overflow somewhere.
LARGEST_COUNT = 1e12


def parse_piecewise_schedule(text: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Parses `"0.1;30;0.01"`: rates (0.1, 0.01), and epochs (30.0,) at which the next begins."""
    parts = text.split(";")
    if len(parts) % 2 == 0:
        raise ValueError(
            f"has {len(parts)} parts; an odd number is needed: LR;epoch;LR;...;LR, for example "
            "0.1;30;0.01;60;0.001"
        )
    numbers = [_number(part) for part in parts]
    rates, epochs = tuple(numbers[0::2]), tuple(numbers[1::2])
    if any(first >= second for first, second in itertools.pairwise(epochs)):
        raise ValueError(f"has epochs that do not rise: {', '.join(f'{e:g}' for e in epochs)}")
    return rates, epochs


def parse_image_sizes(text: str) -> tuple[tuple[int, float], ...]:
    """Parses `"128:0,160:6.5"`: ((128, 0.0), (160, 6.5)), sizes and the epochs of their begins."""
    parts = [part.split(":") for part in text.split(",")]
    if any(len(part) != 2 or not re.fullmatch(r"\s*[1-9]\d{0,4}\s*", part[0]) for part in parts):
        raise ValueError("is not SIZE:EPOCH,SIZE:EPOCH,..., for example 128:0,160:6,192:12")
    sizes = tuple((int(size), _number(epoch)) for size, epoch in parts)
    if sizes[0][1] != 0:
        raise ValueError(f"has no size for epoch 0: begin with {sizes[0][0]}:0")
    for (size, epoch), (next_size, next_epoch) in itertools.pairwise(sizes):
        if next_epoch <= epoch:
            raise ValueError(f"has epochs that do not rise: {epoch:g}, {next_epoch:g}")
        if next_size == size:
            raise ValueError(f"changes nothing at epoch {next_epoch:g}: both sizes are {size}")
    return sizes


def parse_layer_pairs(text: str) -> tuple[tuple[str, str], ...]:
    """Parses `"a:b,c:d"`, pairs of names of layers: (("a", "b"), ("c", "d"))."""
    pairs = tuple(tuple(part.strip().split(":")) for part in text.split(","))
    if any(len(pair) != 2 or not all(pair) for pair in pairs):
        raise ValueError("is not STUDENT_LAYER:TEACHER_LAYER,..., with one colon in each pair")
    if len({*pairs}) != len(pairs):
        raise ValueError("names a pair twice")
    return typing.cast("tuple[tuple[str, str], ...]", pairs)


def parse_profile_steps(text: str) -> tuple[int, int]:
    """Parses `"10,15"`: first step 10 and last step 15."""
    match = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*", text)
    if not match:
        raise ValueError('is not "first,last", for example 10,15')
    first, last = int(match[1]), int(match[2])
    if first >= last:
        raise ValueError("has a first step that is not before the last")
    return first, last


def parse_mean_std(text: str) -> tuple[float, float]:
    """Parses `"127.5,128"`: mean 127.5 and standard deviation 128."""
    try:
        mean, std = map(float, text.split(","))
    except ValueError:
        raise ValueError('is not "mean,std", for example 0,255') from None
    if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
        raise ValueError("needs a finite mean and a standard deviation above 0")
    return mean, std


def parse_range(text: str) -> tuple[float, float]:
    """Parses `"0.75,1.33"`: (0.75, 1.33)."""
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        raise ValueError('is not "smallest,largest", for example 0.75,1.33') from None
    if not 0 < low <= high < math.inf:
        raise ValueError("needs finite numbers above 0, the smaller one first")
    return low, high


def parse_area(text: str) -> tuple[float, float]:
    """Parses `"0.08,1"`, parts of an area: (0.08, 1.0)."""
    low, high = parse_range(text)
    if high > 1:
        raise ValueError("needs parts of the image's area, of which 1 is the whole")
    if low == high < 1:
        raise ValueError("needs room to draw from, or 1,1 for the whole image")
    return low, high


def parse_gpu_indices(text: str) -> tuple[int, ...]:
    """Parses `"0,2,1,3"`: (0, 2, 1, 3); `""`: ()."""
    if not text:
        return ()
    if not re.fullmatch(r"\s*\d+\s*(,\s*\d+\s*)*", text):
        raise ValueError("is not a list of GPU numbers, for example 0,2,1,3")
    indices = tuple(int(part) for part in text.split(","))
    if len(set(indices)) < len(indices):
        raise ValueError("names a GPU twice")
    return indices


def parse_hosts(text: str) -> tuple[str, ...]:
    """Parses `"a:2222,b:2222"`: ("a:2222", "b:2222"); `""`: ()."""
    hosts = tuple(part.strip() for part in text.split(",")) if text else ()
    for host in hosts:
        if not re.fullmatch(r"[^\s:,/]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}", host):
            raise ValueError(
                f"has {host!r} where HOST:PORT belongs, for example 10.0.0.1:2222,10.0.0.2:2222"
            )
    if len(set(hosts)) < len(hosts):
        raise ValueError("names a worker twice; give each process its own port")
    return hosts


# Logger of --log_to -> the module that it imports, and the package that has it.
LOGGERS = {"json": None, "mlflow": ("mlflow", "mlflow-skinny"), "wandb": ("wandb", "wandb")}


def parse_log_to(text: str) -> tuple[str, ...]:
    """Parses `"wandb,json"`: ("wandb", "json")."""
    names = tuple(part.strip() for part in text.split(","))
    for name in names:
        if name not in LOGGERS:
            raise ValueError(
                f"has {name!r} where one of {', '.join(LOGGERS)} belongs, for example wandb,json"
            )
    if len(set(names)) < len(names):
        raise ValueError("names a logger twice")
    return names


def parse_pattern(text: str) -> re.Pattern[str]:
    """Parses a regular expression over checkpoint names."""
    try:
        return re.compile(text)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from None


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"has {text.strip()!r} where a number belongs") from None
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"has {text.strip()} where a number from 0 up belongs")
    if number > LARGEST_COUNT:
        raise ValueError(
            f"has {text.strip()}, which is too large: at most {LARGEST_COUNT:g} is possible"
        )
    return number


ALGORITHMS = {
    "nccl": "ring or tree over NVLink and PCIe by NCCL",
    "hierarchical_copy": "copies inside and between two groups of GPUs (DGX-1 topology)",
    "psgpu": "copies to the first GPU, sums there, copies back",
    "pscpu": "copies to the CPU, sums there, copies back",
    "ring": "a ring over the network between machines, of CPU towers or GPUs without NCCL",
}
# Between machines; the others reduce within one.
COLLECTIVE_ALGORITHMS = ("nccl", "ring")
# A reduction costs its latency, whatever its size; one of a part begins before the backward pass
# has ended.
PACK_BYTES = 32 << 20
_BETWEEN = " or ".join(COLLECTIVE_ALGORITHMS)
GPU_ALGORITHMS = frozenset({"nccl", "hierarchical_copy", "psgpu"})
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}


@dataclasses.dataclass(frozen=True)
class AllReduceSpec:
    """A parsed spec; with `pack_bytes` 0, gradients are not packed."""

    algorithm: str
    pack_bytes: int = 0


def parse_all_reduce_spec(
    spec: str | None, device: str, *, between_machines: bool = False
) -> AllReduceSpec:
    """Parses `spec` for towers on `device`, "gpu" or "cpu"; None is the device's default.

    Raises:
        ValueError: an unknown algorithm, a malformed size, a GPU algorithm on the CPU, or one that
            cannot reduce where it should.
    """
    if spec is None:
        if between_machines:
            return AllReduceSpec("nccl" if device == "gpu" else "ring", PACK_BYTES)
        return AllReduceSpec("nccl", PACK_BYTES) if device == "gpu" else AllReduceSpec("pscpu")
    algorithm, colon, size = spec.partition(":")
    if algorithm not in ALGORITHMS:
        raise ValueError(
            f"names {algorithm!r}, which is not one of {', '.join(ALGORITHMS)} (with :BYTES after "
            "it or without, as in nccl:32M)"
        )
    if between_machines and algorithm not in COLLECTIVE_ALGORITHMS:
        raise ValueError(f"reduces within one machine; between machines use {_BETWEEN}")
    if not between_machines and algorithm == "ring":
        raise ValueError("reduces between machines: use --variable_update=collective_all_reduce")
    if device == "cpu" and algorithm in GPU_ALGORITHMS:
        raise ValueError(
            f"needs GPUs; towers on the CPU use {'ring' if between_machines else 'pscpu'}"
        )
    match = re.fullmatch(r"(\d+)([KMG]?)", size, re.IGNORECASE)
    if colon and not (match and int(match[1]) > 0):
        raise ValueError(f"has {size!r} where a number of bytes belongs (32768, 32K, 4M)")
    pack_bytes = int(match[1]) * _UNITS[match[2].upper()] if match else 0
    return AllReduceSpec(algorithm, pack_bytes)


def parse_any_all_reduce_spec(spec: str) -> AllReduceSpec:
    """Parses `spec` for GPU towers of one machine, or of several if its algorithm is theirs."""
    return parse_all_reduce_spec(spec, "gpu", between_machines=spec.partition(":")[0] == "ring")
