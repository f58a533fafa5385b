"""Asynchronous training: parameter servers hold the variables, and each worker updates them alone.

The chief schedules steps by tf.distribute's ClusterCoordinator, and does everything besides:
checkpoints, evaluations and the console. A worker reads the weights, computes the gradients of its
own batch and applies them, without waiting for the others. Every process runs the same command;
`--ps_hosts`, `--worker_hosts`, `--job_name` and `--task_index`, or TF_CONFIG, say which one it is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from benchmark_cnn.distribution import cluster
from benchmark_cnn.distribution.devices import Devices
from benchmark_cnn.distribution.remote_tasks import RemoteTasks, Task
from benchmark_cnn.distribution.roll_call import errors_of_a_lost_process
from benchmark_cnn.params.params import Params
from benchmark_cnn.params.rules import asynchronous_rules
from benchmark_cnn.params.values import parse_hosts
from common import process
from common.errors import ClusterError, UsageError

if TYPE_CHECKING:
    import tensorflow as tf

    from benchmark_cnn.distribution.variable_mgr import VariableManager

_FAILED_SERVER = re.compile(r"/job:ps/replica:0/task:(\d+)")
# How long an error waits for the lost connection that explains it.
_EXPLANATION_SECS = 5.0


@dataclasses.dataclass
class ParameterServers:
    """The processes of an asynchronous run, and which of them this one is.

    Attributes:
        servers, workers: "host:port" of each.
        job: "chief", "worker" or "ps".
        index: of this process among those of its job.
        tasks: the servers and workers as the chief sees them, once `connected`.
    """

    servers: tuple[str, ...]
    workers: tuple[str, ...]
    job: str
    index: int
    tasks: RemoteTasks | None = None

    @property
    def is_chief(self) -> bool:
        return self.job == "chief"

    @property
    def task(self) -> Task:
        """This process, if it is no chief."""
        return Task(self.job, self.index, self._hosts[self.job][self.index])

    @property
    def _hosts(self) -> dict[str, tuple[str, ...]]:
        return {"ps": self.servers, "worker": self.workers}

    @contextlib.contextmanager
    def connected(self, facts: Mapping[str, Any], say: Callable[[str], None]) -> Iterator[None]:
        """Waits for all servers and workers, and watches them until the block ends.

        Args:
            facts: what has to be the same in every process.
            say: prints a line about a worker.

        Raises:
            ClusterError: one of them did not come, or a server was lost in the block.
            UsageError: one of them was started in another way.
        """
        tasks = [
            Task(job, index, host)
            for job, hosts in self._hosts.items()
            for index, host in enumerate(hosts)
        ]
        facts = self.with_cluster(facts)
        with RemoteTasks(tasks, facts, say) as self.tasks, self._errors_in_one_line():
            yield

    def with_cluster(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Returns `facts` and the addresses, which all processes have to agree on, too."""
        addresses = {f"--{job}_hosts": ",".join(hosts) for job, hosts in self._hosts.items()}
        return {**facts, **addresses}

    def cluster_spec(self) -> tf.train.ClusterSpec:
        """Returns the addresses for TensorFlow."""
        import tensorflow as tf

        return tf.train.ClusterSpec({job: list(hosts) for job, hosts in self._hosts.items()})

    def connect(self, device: str) -> tuple[Devices, VariableManager]:
        """Connects TensorFlow to the tasks; returns the workers' devices and the manager.

        Args:
            device: "cpu" hides the GPUs of the chief, which evaluates.
        """
        import tensorflow as tf

        from benchmark_cnn.distribution.asynchronous_manager import AsynchronousManager

        with process.quiet_startup():
            if tf.config.list_physical_devices("GPU") and device == "cpu":
                tf.config.set_visible_devices([], "GPU")
        # The loss of a worker is one line of ours, in place of TensorFlow's many.
        tf.get_logger().setLevel("CRITICAL")
        strategy = tf.distribute.ParameterServerStrategy(
            tf.distribute.cluster_resolver.SimpleClusterResolver(
                self.cluster_spec(), rpc_layer="grpc"
            )
        )
        process.StopSignal.restore_handlers()
        names = [device.name for device in tf.config.list_logical_devices("GPU")]
        kind = "gpu" if any("/job:worker/" in name for name in names) else "cpu"
        towers = tuple(
            f"/job:worker/task:{index}/device:{kind.upper()}:0"
            for index in range(len(self.workers))
        )
        devices = Devices(kind, towers, parameter_device="/job:ps")
        return devices, AsynchronousManager(strategy, num_workers=len(self.workers))

    @contextlib.contextmanager
    def _errors_in_one_line(self) -> Iterator[None]:
        """Names the server that is gone, in place of TensorFlow's errors."""
        try:
            yield
        except errors_of_a_lost_process() as error:
            if self.tasks is not None:
                self.tasks.check(_EXPLANATION_SECS)
            failed = _FAILED_SERVER.search(error.message)
            what = (
                f"parameter server {failed[1]} ({self.servers[int(failed[1])]}) does not answer"
                if failed
                else f"lost the workers: {(error.message.strip().splitlines() or ['?'])[0]}"
            )
            raise ClusterError(f"{what}. Start all again: the run resumes") from error


def of(params: Params) -> ParameterServers | None:
    """Returns the processes of an asynchronous run; None for any other run.

    Raises:
        UsageError: the flags or TF_CONFIG describe none.
    """
    hardware = params.hardware
    if hardware.variable_update != "parameter_server":
        return None
    if hardware.ps_hosts:  # asynchronous_rules.py has seen that the others are there
        found = ParameterServers(
            parse_hosts(hardware.ps_hosts),
            parse_hosts(hardware.worker_hosts),
            hardware.job_name or "chief",
            hardware.task_index or 0,
        )
        return _checked("--ps_hosts and --worker_hosts", found)
    config, jobs = cluster.tf_config(os.environ.get("TF_CONFIG", "{}"))
    if not jobs["ps"]:
        return None
    lines = asynchronous_rules.refused(params)
    if lines:
        raise UsageError("\n".join(lines))
    found = ParameterServers(jobs["ps"], jobs["worker"], *cluster.task_of(config))
    return _checked("TF_CONFIG", found)


def _checked(where: str, found: ParameterServers) -> ParameterServers:
    if not found.workers:
        raise UsageError(f"{where} must name workers, too")
    both = sorted({*found.servers} & {*found.workers})
    if both:
        raise UsageError(f"{where} name {both[0]} twice; give each process its own port")
    if found.job == "chief":
        return found
    count = len(found.servers if found.job == "ps" else found.workers)
    if found.job not in ("ps", "worker"):
        raise UsageError(f"{where} gives this process the task {found.job!r}, which does not train")
    if not 0 <= found.index < count:
        raise UsageError(f"{where} name {count} of {found.job}; there is no {found.index} (from 0)")
    return found
