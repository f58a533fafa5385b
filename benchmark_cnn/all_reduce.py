"""`--all_reduce_spec`: how the gradients of replicated towers meet.

A spec is `ALGORITHM` or `ALGORITHM:BYTES`. The algorithms are those tf.distribute offers, under
the names tf_cnn_benchmarks gave them; BYTES (suffix K, M or G, powers of 1024) packs consecutive
gradients into buffers of at most that size, so that small tensors travel together.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from benchmark_cnn.errors import UsageError

ALGORITHMS = {
    "nccl": "ring or tree over NVLink and PCIe by NCCL",
    "hierarchical_copy": "copies inside and between two groups of GPUs (DGX-1 topology)",
    "psgpu": "copies to the first GPU, sums there, copies back",
    "pscpu": "copies to the CPU, sums there, copies back",
}
GPU_ALGORITHMS = frozenset({"nccl", "hierarchical_copy", "psgpu"})
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}


@dataclasses.dataclass(frozen=True)
class AllReduceSpec:
    """A parsed spec; `pack_bytes` 0 leaves every gradient a tensor of its own."""

    algorithm: str
    pack_bytes: int = 0


def parse(spec: str | None, device: str) -> AllReduceSpec:
    """Parse `spec` for towers on `device` ("gpu" or "cpu"); None takes the device's default.

    Raises:
      UsageError: an unknown algorithm, a malformed size, or a GPU algorithm on the CPU.
    """
    if spec is None:
        return AllReduceSpec("nccl" if device == "gpu" else "pscpu")
    algorithm, colon, size = spec.partition(":")
    if algorithm not in ALGORITHMS:
        raise UsageError(
            f"--all_reduce_spec={spec}: {algorithm!r} is not one of {', '.join(ALGORITHMS)} "
            "(optionally followed by :BYTES, as in nccl:32M)"
        )
    if device == "cpu" and algorithm in GPU_ALGORITHMS:
        raise UsageError(f"--all_reduce_spec={spec} needs GPUs; towers on the CPU use pscpu")
    match = re.fullmatch(r"(\d+)([KMG]?)", size, re.IGNORECASE)
    if colon and not (match and int(match[1]) > 0):
        raise UsageError(
            f"--all_reduce_spec={spec}: {size!r} is not a number of bytes (32768, 32K, 4M)"
        )
    pack_bytes = int(match[1]) * _UNITS[match[2].upper()] if match else 0
    return AllReduceSpec(algorithm, pack_bytes)


def cross_device_ops(spec: AllReduceSpec, devices: Sequence[str]):
    """The tf.distribute object that carries out `spec` between `devices`."""
    import tensorflow as tf

    # Our own packing replaces NCCL's, which knows a number of packs but no size.
    num_packs = 0 if spec.pack_bytes else 1
    if spec.algorithm == "nccl":
        return tf.distribute.NcclAllReduce(num_packs=num_packs)
    if spec.algorithm == "hierarchical_copy":
        return tf.distribute.HierarchicalCopyAllReduce(num_packs=num_packs)
    reduce_to = devices[0] if spec.algorithm == "psgpu" else "/device:CPU:0"
    return tf.distribute.ReductionToOneDevice(reduce_to_device=reduce_to)


def pack_groups(byte_sizes: Sequence[int], pack_bytes: int) -> list[list[int]]:
    """Split indices 0..n-1 into runs of at most `pack_bytes` each; a larger tensor goes alone."""
    groups: list[list[int]] = []
    filled = 0
    for index, size in enumerate(byte_sizes):
        if groups and filled + size <= pack_bytes:
            groups[-1].append(index)
            filled += size
        else:
            groups.append([index])
            filled = size
    return groups


def pack(tensors: Sequence, pack_bytes: int) -> list:
    """Concatenate `tensors` (static shapes, one dtype) into flat buffers; see `unpack`."""
    import tensorflow as tf

    return [
        tf.concat([tf.reshape(tensors[i], [-1]) for i in group], 0)
        for group in pack_groups([_num_bytes(t) for t in tensors], pack_bytes)
    ]


def unpack(buffers: Sequence, like: Sequence, pack_bytes: int) -> list:
    """Cut the buffers of `pack` back into tensors with the shapes of `like`."""
    import tensorflow as tf

    tensors = []
    for buffer, group in zip(
        buffers, pack_groups([_num_bytes(t) for t in like], pack_bytes), strict=True
    ):
        parts = tf.split(buffer, [like[i].shape.num_elements() for i in group])
        tensors += [tf.reshape(part, like[i].shape) for part, i in zip(parts, group, strict=True)]
    return tensors


def _num_bytes(tensor) -> int:
    return tensor.shape.num_elements() * tensor.dtype.size
