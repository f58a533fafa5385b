"""tf.distribute's strategy for several machines, over towers that we choose.

MultiWorkerMirroredStrategy takes all GPUs of a machine, or one CPU device. This one takes the given
devices, so that a CPU split into logical devices stands for a machine with several GPUs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2 as config
from tensorflow.python.distribute import collective_all_reduce_strategy
from tensorflow.python.eager import context

from benchmark_cnn.distribution.roll_call import JOIN_SECS
from benchmark_cnn.params.values import AllReduceSpec

# A worker that sends no heartbeat for so long is lost; it sends them in a thread of its own.
_SILENCE_SECS = 30
_LEAVE_SECS = 30
_job = config.CoordinatedJob  # pyright: ignore[reportAttributeAccessIssue]
_IMPLEMENTATIONS = tf.distribute.experimental.CommunicationImplementation


class CollectiveStrategy(collective_all_reduce_strategy.CollectiveAllReduceStrategy):
    """A MultiWorkerMirroredStrategy with `devices` as this worker's towers."""

    def __init__(self, resolver, devices: Sequence[str], spec: AllReduceSpec):
        """Joins the cluster of `resolver` and reduces by `spec`, "ring" or "nccl"."""
        options = tf.distribute.experimental.CommunicationOptions(
            implementation=_IMPLEMENTATIONS.NCCL
            if spec.algorithm == "nccl"
            else _IMPLEMENTATIONS.RING
        )
        # The parent's constructor makes its own extension, and nothing else of this.
        tf.distribute.Strategy.__init__(self, _Extended(self, resolver, options, tuple(devices)))


class _Extended(collective_all_reduce_strategy.CollectiveAllReduceExtended):
    def __init__(self, strategy, resolver, options, towers: tuple[str, ...]):
        self._towers = towers
        num_workers = resolver.cluster_spec().num_tasks("worker")
        runtime: Any = context.context()
        # The parent's defaults wait an hour for a worker that does not start.
        runtime.configure_coordination_service(
            service_type="standalone",
            service_leader="/job:worker/replica:0/task:0",
            cluster_register_timeout_in_ms=JOIN_SECS * 1000,
            heartbeat_timeout_in_ms=_SILENCE_SECS * 1000,
            shutdown_barrier_timeout_in_ms=_LEAVE_SECS * 1000,
            coordinated_jobs=[_job(name="worker", num_tasks=num_workers)],
        )
        super().__init__(strategy, cluster_resolver=resolver, communication_options=options)

    def _initialize_local_devices(self, cluster_resolver, worker_device):
        del cluster_resolver, worker_device
        return self._towers, "GPU" if "GPU" in self._towers[0] else "CPU"
