"""tf.distribute's strategy for several machines, over towers that we choose.

MultiWorkerMirroredStrategy takes all GPUs of a machine, or one CPU device. This one takes the given
devices, so that a CPU split into logical devices stands for a machine with several GPUs.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
from tensorflow.python.distribute import collective_all_reduce_strategy

from benchmark_cnn.params.values import AllReduceSpec

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
        super().__init__(strategy, cluster_resolver=resolver, communication_options=options)

    def _initialize_local_devices(self, cluster_resolver, worker_device):
        del cluster_resolver, worker_device
        return self._towers, "GPU" if "GPU" in self._towers[0] else "CPU"
