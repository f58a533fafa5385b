"""Variable managers: where variables live, and how the towers' gradients are reduced.

A tower is one copy of the network's forward and backward pass on one device. tf.distribute places
the variables and runs the towers; a manager adds what `--variable_update` means:

| kind               | variables                     | gradients                            |
|--------------------|-------------------------------|--------------------------------------|
| `replicated`       | a copy on every tower         | averaged, every copy updated         |
| `parameter_server` | one copy, towers read it      | averaged, the one copy updated       |
| with `--ps_hosts`  | on the parameter servers      | each worker's applied by itself:     |
|                    |                               | asynchronous_manager.py              |
| `independent`      | a copy on every tower         | not exchanged: the scaling ceiling   |
| `collective_...`   | a copy on every tower of      | averaged over all machines           |
|                    | every machine                 |                                      |

In every kind a gradient is the mean over the global batch (tf_cnn_benchmarks sums in some modes,
so that the learning rate depends on the mode).

`--all_reduce_spec` is `ALGORITHM` or `ALGORITHM:BYTES`. The algorithms are those of tf.distribute,
under tf_cnn_benchmarks' names; BYTES (suffix K, M or G, powers of 1024) packs consecutive gradients
into buffers of at most that size, so that small tensors are reduced together.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence

import tensorflow as tf

from benchmark_cnn.distribution.cluster import Cluster, check_tf_config
from benchmark_cnn.params.values import AllReduceSpec
from common.errors import RunError

_SELF_CHECK_SIZE = 1027  # odd, and larger than one cache line: reveals a wrong split


class VariableManager:
    """A tf.distribute strategy, and how the towers exchange what they compute.

    Args:
        exchanges: whether gradients are averaged over the towers.
        shares_memory: whether all towers are on one CPU.
        pack_bytes: size of the buffers that gradients are packed into; 0 packs none.
        cluster: the workers of `collective_all_reduce`; None on one machine.
    """

    is_asynchronous = False

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        *,
        exchanges: bool,
        shares_memory: bool = False,
        pack_bytes: int = 0,
        cluster: Cluster | None = None,
    ):
        self.strategy = strategy
        self.cluster = cluster
        self.exchanges = exchanges
        self.shares_memory = shares_memory
        self.pack_bytes = pack_bytes

    @property
    def num_towers(self) -> int:
        """The number of towers of all workers."""
        return self.strategy.num_replicas_in_sync

    @property
    def worker(self) -> tuple[int, int]:
        """(index, count): this worker among all workers."""
        return (0, 1) if self.cluster is None else (self.cluster.index, self.cluster.size)

    @property
    def num_local_towers(self) -> int:
        """The number of towers of this worker."""
        return self.num_towers // self.worker[1]

    def scope(self) -> contextlib.AbstractContextManager:
        """Returns a context in which variables are created where this manager places them."""
        return self.strategy.scope()

    def counters(self) -> contextlib.AbstractContextManager:
        """Returns a context in which the counters of a run are created, once."""
        return tf.device("/device:CPU:0")

    def create_colocated(self, variable, initial_value, name: str):
        """Creates a non-trainable variable (slot or average) on the devices of `variable`."""
        with self.scope(), self.strategy.extended.colocate_vars_with(variable):
            return tf.Variable(initial_value, trainable=False, name=name)

    def run_towers(self, tower: Callable, args: tuple):
        """Runs `tower` once per device; `args` are per-tower values or shared tensors."""
        return self.strategy.run(tower, args=args)

    def aggregate(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Averages each tensor over the towers. Called inside a tower."""
        if not self.exchanges or self.num_towers == 1:
            return list(tensors)
        context = tf.distribute.get_replica_context()
        mean = tf.distribute.ReduceOp.MEAN
        if not self.pack_bytes:
            return context.all_reduce(mean, list(tensors))
        # The gradients of the last layers are ready first.
        backwards = list(reversed(tensors))
        buffers = context.all_reduce(mean, pack(backwards, self.pack_bytes))
        return unpack(buffers, backwards, self.pack_bytes)[::-1]

    @property
    def computes_once(self) -> bool:
        """Whether tower 0 computes what is equal on all towers; see `computed_once`."""
        return self.exchanges and self.shares_memory

    def computed_once(self, values: Sequence) -> list:
        """Takes `values` that are equal on all towers from tower 0. Called between the towers.

        On one CPU a tensor passes between devices without a copy, and the other towers' identical
        computations drop out of the graph. Between GPUs it is cheaper that each computes them.
        """
        if not self.computes_once:
            return list(values)
        return [self.local_results(value)[0] for value in values]

    def update(self, variable, function: Callable, args: tuple):
        """Calls `function(copy, *args)` for each copy of `variable`. Called between the towers.

        Per-tower values in `args` become the tensor of that copy's tower.
        """
        return self.strategy.extended.update(variable, function, args=args, group=True)

    def local_results(self, value) -> tuple:
        """Returns the values of a per-tower result, first tower first."""
        return self.strategy.experimental_local_results(value)

    def read(self, variable) -> tf.Tensor:
        """Returns the first copy, which is saved. Copies differ only in `independent`."""
        return self.local_results(variable)[0].read_value()

    def sum_over_workers(self, values: Sequence) -> list:
        """Adds up values over the workers, on the hosts; every worker must call it."""
        return list(values) if self.cluster is None else self.cluster.sum(values)

    def any_worker(self, flag: bool) -> bool:
        """Returns whether `flag` is set on any worker; every worker must call it."""
        return flag if self.cluster is None else self.cluster.any(flag)

    def errors_in_one_line(self) -> contextlib.AbstractContextManager:
        """Returns a context that turns the loss of a worker into a ClusterError."""
        return (
            contextlib.nullcontext() if self.cluster is None else self.cluster.errors_in_one_line()
        )

    def check_sum(self) -> None:
        """Averages known tensors over the towers, and raises RunError if a mean is wrong.

        A broken peer-to-peer link or collective library would otherwise cause silent NaN or drift.
        """
        if not self.exchanges or self.num_towers == 1:
            return

        @tf.function(autograph=False)
        def averages():
            def tower():
                context = tf.distribute.get_replica_context()
                number = tf.cast(context.replica_id_in_sync_group + 1, tf.float32)
                ramp = tf.range(_SELF_CHECK_SIZE, dtype=tf.float32)
                return tuple(self.aggregate([number * ramp, number * tf.ones([3, 5])]))

            return [self.local_results(part) for part in self.run_towers(tower, ())]

        mean = (self.num_towers + 1) / 2
        ramps, ones = averages()
        ramp = tf.range(_SELF_CHECK_SIZE, dtype=tf.float32)
        for tower, (got_ramp, got_ones) in enumerate(zip(ramps, ones, strict=True)):
            # Small integers and their halves: exact in float32, so any difference is a fault.
            if not (tf.reduce_all(got_ramp == mean * ramp) and tf.reduce_all(got_ones == mean)):
                raise RunError(
                    f"the all-reduce is wrong on tower {tower}: the mean of known tensors differs. "
                    "Try --all_reduce_spec=psgpu or pscpu, or NCCL_P2P_DISABLE=1 in the environment"
                )


def make(
    kind: str,
    devices: Sequence[str],
    *,
    parameter_device: str,
    spec: AllReduceSpec,
    cluster: Cluster | None = None,
) -> VariableManager:
    """Makes the manager of `--variable_update=kind` over `devices` (one tower each).

    Args:
        cluster: the workers of `collective_all_reduce`, which this call joins.
    """
    on_cpu = all("CPU" in device for device in devices)
    if cluster is not None:
        strategy = cluster.strategy(devices, spec)
        return VariableManager(
            strategy,
            exchanges=True,
            shares_memory=on_cpu,
            pack_bytes=spec.pack_bytes,
            cluster=cluster,
        )
    check_tf_config(os.environ)
    if kind == "parameter_server":
        strategy = tf.distribute.experimental.CentralStorageStrategy(
            compute_devices=list(devices), parameter_device=parameter_device
        )
        return VariableManager(strategy, exchanges=True, shares_memory=on_cpu)
    strategy = tf.distribute.MirroredStrategy(
        list(devices), cross_device_ops=cross_device_ops(spec, devices)
    )
    return VariableManager(
        strategy,
        exchanges=kind == "replicated",
        shares_memory=on_cpu,
        pack_bytes=spec.pack_bytes,
    )


def cross_device_ops(spec: AllReduceSpec, devices: Sequence[str]):
    """Makes the tf.distribute object that carries out `spec` between `devices`."""
    # Our packing by size replaces tf.distribute's packing by number.
    num_packs = 0 if spec.pack_bytes else 1
    if spec.algorithm == "nccl":
        return tf.distribute.NcclAllReduce(num_packs=num_packs)
    if spec.algorithm == "hierarchical_copy":
        return tf.distribute.HierarchicalCopyAllReduce(num_packs=num_packs)
    reduce_to = devices[0] if spec.algorithm == "psgpu" else "/device:CPU:0"
    return tf.distribute.ReductionToOneDevice(reduce_to_device=reduce_to)


def pack_groups(byte_sizes: Sequence[int], pack_bytes: int) -> list[list[int]]:
    """Groups consecutive indices into at most `pack_bytes` each; a larger tensor stays alone."""
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
    """Concatenates `tensors` (static shapes, one dtype) into flat buffers; see `unpack`."""
    return [
        tf.concat([tf.reshape(tensors[i], [-1]) for i in group], 0)
        for group in pack_groups([_num_bytes(t) for t in tensors], pack_bytes)
    ]


def unpack(buffers: Sequence, like: Sequence, pack_bytes: int) -> list:
    """Splits the buffers of `pack` into tensors with the shapes of `like`."""
    tensors = []
    for buffer, group in zip(
        buffers, pack_groups([_num_bytes(t) for t in like], pack_bytes), strict=True
    ):
        parts = tf.split(buffer, [like[i].shape.num_elements() for i in group])
        tensors += [tf.reshape(part, like[i].shape) for part, i in zip(parts, group, strict=True)]
    return tensors


def _num_bytes(tensor) -> int:
    return tensor.shape.num_elements() * tensor.dtype.size
