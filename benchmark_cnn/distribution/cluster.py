"""Several machines that train together: who they are, and what they exchange besides gradients.

Every worker process runs the same command. `--worker_hosts` and `--task_index` name the workers and
this one; so do TF_CONFIG (Kubeflow, SageMaker, Vertex AI) and Slurm's environment. Worker 0 is the
chief: it alone writes checkpoints, summaries and the console.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmark_cnn.distribution.roll_call import RollCall, errors_of_a_lost_process
from benchmark_cnn.params.values import AllReduceSpec, parse_hosts
from common import process
from common.errors import ClusterError, UsageError

if TYPE_CHECKING:
    import tensorflow as tf

# Of the small exchanges on the hosts; tf.distribute counts its own group keys from 1.
_HOST_GROUP_KEY = 1_000_003
_TASK = re.compile(r"/job:(?:worker|chief)/(?:replica:0/)?task:(\d+)")
_DEFAULT_PORT = 12345
# tf.distribute names the chief's job so; it comes before the workers.
_JOBS = ("chief", "worker")
_ALL_JOBS = (*_JOBS, "ps")


@dataclasses.dataclass
class Cluster:
    """The workers of a run, and which of them this process is.

    Attributes:
        workers: "host:port" of each; the first is the chief.
        index: Of this process in `workers`.
    """

    workers: tuple[str, ...]
    index: int
    _num_exchanges: int = 0
    _roll_call: RollCall | None = None

    @property
    def is_chief(self) -> bool:
        return self.index == 0

    @property
    def size(self) -> int:
        """The number of workers."""
        return len(self.workers)

    @property
    def device(self) -> str:
        """The prefix of the names of this worker's devices."""
        return f"/job:worker/replica:0/task:{self.index}"

    @contextlib.contextmanager
    def roll_call(self, facts: Mapping[str, Any]) -> Iterator[None]:
        """Listens for the other workers, which `strategy` waits for; see roll_call.RollCall.

        Args:
            facts: what has to be the same on every worker.
        """
        with RollCall(self.workers, self.index, facts) as self._roll_call:
            yield

    def strategy(self, devices: Sequence[str], spec: AllReduceSpec) -> tf.distribute.Strategy:
        """Joins the cluster; waits for the other workers. Before TensorFlow's first operation.

        Args:
            devices: The local towers: "/device:GPU:0"...

        Raises:
            ClusterError: A worker did not appear, or its address cannot be used.
            UsageError: A worker was started in another way.
        """
        if self._roll_call is not None:
            self._roll_call.complete()
        import tensorflow as tf

        from benchmark_cnn.distribution.collective_strategy import CollectiveStrategy

        with self.errors_in_one_line():
            strategy = CollectiveStrategy(
                tf.distribute.cluster_resolver.SimpleClusterResolver(
                    tf.train.ClusterSpec({"worker": list(self.workers)}),
                    task_type="worker",
                    task_id=self.index,
                    rpc_layer="grpc",
                ),
                [f"{self.device}{device}" for device in devices],
                spec,
            )
        # TensorFlow takes SIGTERM for its own notice of preemption when it joins.
        process.StopSignal.restore_handlers()
        return strategy

    def sum(self, values: Sequence[Any]) -> list[Any]:
        """Adds up each of `values` (NumPy arrays or tensors) over the workers, on the hosts.

        Every worker must call it in the same order with the same shapes and types.
        """
        import tensorflow as tf

        sums = []
        with tf.device(f"{self.device}/device:CPU:0"):
            for value in values:
                self._num_exchanges += 1
                sums.append(
                    tf.raw_ops.CollectiveReduceV2(
                        input=tf.convert_to_tensor(value),
                        group_size=self.size,
                        group_key=_HOST_GROUP_KEY,
                        instance_key=self._num_exchanges,
                        ordering_token=[],
                        merge_op="Add",
                        final_op="Id",
                        communication_hint="ring",
                    )
                )
        return sums

    def any(self, flag: bool) -> bool:
        """Returns whether `flag` is set on any worker."""
        return bool(self.sum([[int(flag)]])[0][0])

    @contextlib.contextmanager
    def errors_in_one_line(self) -> Iterator[None]:
        """Names the worker that is gone, in place of TensorFlow's errors of a collective."""
        try:
            yield
        except errors_of_a_lost_process() as error:
            raise ClusterError(self._explain(error)) from error

    def _explain(self, error: tf.errors.OpError) -> str:
        others = [int(task) for task in _TASK.findall(error.message) if int(task) != self.index]
        missing = sorted({task for task in others if task < self.size})
        if not missing:
            first = (error.message.strip().splitlines() or ["no reason given"])[0]
            return f"worker {self.index} lost the others: {first}"
        names = ", ".join(f"{task} ({self.workers[task]})" for task in missing)
        return (
            f"worker {names} is gone or cannot be reached; worker {self.index} stops. Start all "
            "workers again: they resume from the last checkpoint"
        )


def of(hardware: Any) -> Cluster | None:
    """Returns the cluster of a run (HardwareParams); None if it trains on one machine.

    Raises:
        UsageError: See `find`.
    """
    if hardware.variable_update != "collective_all_reduce":
        _refuse_to_train_alone(hardware.variable_update, os.environ)
        return None
    return find(hardware.worker_hosts, hardware.task_index, os.environ)


def find(worker_hosts: str, task_index: int | None, environment: Mapping[str, str]) -> Cluster:
    """Returns the cluster that the flags, TF_CONFIG or Slurm describe, in this order.

    Args:
        worker_hosts: `--worker_hosts`; empty to look into the environment.
        task_index: `--task_index`.

    Raises:
        UsageError: None of them describes one, or the description is damaged.
    """
    if worker_hosts:
        hosts = parse_hosts(worker_hosts)
        if task_index is None:
            raise UsageError("--worker_hosts needs --task_index=N, this worker's place, from 0")
        return _checked("--worker_hosts", hosts, task_index)
    if "TF_CONFIG" in environment:
        return _of_tf_config(environment["TF_CONFIG"])
    if "SLURM_STEP_NODELIST" in environment or "SLURM_PROCID" in environment:
        return _of_slurm(environment)
    raise UsageError(
        "--variable_update=collective_all_reduce needs the workers: --worker_hosts=HOST:PORT,... "
        "and --task_index=N, or TF_CONFIG, or a Slurm job; python -m launch.local starts several "
        "on this machine"
    )


def check_tf_config(environment: Mapping[str, str]) -> None:
    """Raises UsageError for a TF_CONFIG that TensorFlow, which reads it anyway, cannot read."""
    if "TF_CONFIG" in environment:
        tf_config(environment["TF_CONFIG"])


def _refuse_to_train_alone(variable_update: str, environment: Mapping[str, str]) -> None:
    """Every worker of a cluster would train a network of its own, and none would say so."""
    jobs = tf_config(environment.get("TF_CONFIG", "{}"))[1]
    where, count = "TF_CONFIG", sum(len(jobs[job]) for job in _JOBS)
    tasks = environment.get("SLURM_STEP_NUM_TASKS", "1")
    if count < 2 and "SLURM_PROCID" in environment and tasks.isdigit():
        where, count = "Slurm's job step", int(tasks)
    if count > 1:
        raise UsageError(
            f"{where} has {count} workers, and with --variable_update={variable_update} each of "
            "them would train alone: give --variable_update=collective_all_reduce, or unset "
            f"{'TF_CONFIG' if where == 'TF_CONFIG' else 'SLURM_PROCID'}"
        )


def tf_config(text: str) -> tuple[dict[str, Any], dict[str, tuple[str, ...]]]:
    """Returns the object that TF_CONFIG holds, and the addresses of its jobs."""
    try:
        config = json.loads(text)
        jobs = {job: config.get("cluster", {}).get(job, ()) for job in _ALL_JOBS}
        return config, {
            job: parse_hosts(",".join(hosts.values() if isinstance(hosts, dict) else hosts))
            for job, hosts in jobs.items()
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise UsageError(
            f"TF_CONFIG in the environment is not a cluster: {error}; correct it, or unset it"
        ) from error


def task_of(config: Mapping[str, Any]) -> tuple[str, int]:
    """Returns type and index of this process in the object of TF_CONFIG."""
    try:
        return config["task"]["type"], int(config["task"]["index"])
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            "TF_CONFIG in the environment does not say which task this process is: it needs "
            '"task": {"type": "worker", "index": 0}'
        ) from error


def _of_tf_config(text: str) -> Cluster:
    config, jobs = tf_config(text)
    kind, index = task_of(config)
    if kind not in _JOBS:
        raise UsageError(f"TF_CONFIG gives this process the task {kind!r}, which does not train")
    hosts = tuple(host for job in _JOBS for host in jobs[job])
    if not 0 <= index < len(jobs[kind]):
        raise UsageError(f"TF_CONFIG has no {kind} {index}: it names {len(jobs[kind])}, from 0")
    before = len(jobs["chief"]) if kind == "worker" else 0
    return _checked("TF_CONFIG", hosts, before + index)


def _of_slurm(environment: Mapping[str, str]) -> Cluster:
    """Returns one worker per task of the job step, on consecutive ports of each node.

    TensorFlow's resolver sorts the nodes by name, so that n10 comes before n9 and its ranks are not
    Slurm's. Of it, this takes what reads the lists.
    """
    from tensorflow.python.distribute.cluster_resolver import slurm_cluster_resolver

    try:
        nodes = slurm_cluster_resolver.expand_hostlist(environment["SLURM_STEP_NODELIST"])
        counts = slurm_cluster_resolver.expand_tasks_per_node(
            environment["SLURM_STEP_TASKS_PER_NODE"]
        )
        index = int(environment["SLURM_PROCID"])
        port = int(environment.get("PORT_BASE", _DEFAULT_PORT))
        node = int(environment.get("SLURM_NODEID", -1))
    except (KeyError, ValueError) as error:
        problem = f"{error.args[0]} is missing" if isinstance(error, KeyError) else error
        raise UsageError(
            f"Slurm's environment describes no job step: {problem}; use srun"
        ) from error
    places = [
        (place, f"{name}:{port + task}")
        for place, (name, count) in enumerate(zip(nodes, counts, strict=False))
        for task in range(count)
    ]
    found = _checked("the Slurm job", tuple(host for _, host in places), index)
    if node not in (-1, places[index][0]):
        raise UsageError(
            f"task {index} of the Slurm job runs on node {node} of the step, where the tasks in "
            f"blocks would have it on node {places[index][0]}: use srun --distribution=block"
        )
    return found


def _checked(where: str, hosts: tuple[str, ...], index: int) -> Cluster:
    if len(set(hosts)) < len(hosts):
        raise UsageError(f"{where} names a worker twice: {', '.join(hosts)}")
    if not 0 <= index < len(hosts):
        raise UsageError(f"{where} names {len(hosts)} workers; there is no worker {index} (from 0)")
    return Cluster(hosts, index)
