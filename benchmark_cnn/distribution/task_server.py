"""What a worker and a parameter server of an asynchronous run do: they let TensorFlow serve."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from benchmark_cnn.distribution import devices, roll_call
from benchmark_cnn.distribution.parameter_servers import ParameterServers
from benchmark_cnn.distribution.remote_tasks import NAMES, POLL_SECS, Task, keep_alive
from benchmark_cnn.distribution.roll_call import Connection
from common import process
from common.errors import ClusterError, Stopped, UsageError

_ALIVE_EVERY_SECS = 5
# A worker that is asked to stop works on for so long: the chief may have been asked, too.
_LEAVE_SECS = 10


def serve(
    servers: ParameterServers, facts: Mapping[str, Any], hardware: Any, say: Callable[[str], None]
) -> None:
    """Serves as a worker or a parameter server until the chief ends; returns if it has finished.

    Args:
        facts: what has to be the same in every process.
        hardware: the HardwareParams.
        say: prints a line.

    Raises:
        UsageError: the chief was started in another way, or the port is in use.
        ClusterError: no chief came, or it failed.
        Stopped: the run was stopped, or this task.
    """
    task = servers.task
    say(f"{task.title} waits for the chief")
    config = _configuration(task.job, hardware)
    facts = servers.with_cluster(facts)
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(process.StopSignal())
        with roll_call.listen(task.address, task.index, NAMES[task.job]) as listener:
            connection = _called(listener, task, facts, stop)
        stack.callback(connection.close)
        server = _start(servers, config)
        connection.send({"ready": True})
        _serve_until_the_end(task, connection, stop)
        del server


def _called(
    listener: socket.socket, task: Task, facts: Mapping[str, Any], stop: process.StopSignal
) -> Connection:
    """Waits for the chief's call, which must have the same facts."""
    deadline = time.monotonic() + roll_call.JOIN_SECS
    listener.settimeout(POLL_SECS)
    while time.monotonic() < deadline:
        if stop.requested:
            raise Stopped(f"stopped by {stop.requested} while waiting for the chief")
        try:
            accepted = listener.accept()[0]
        except TimeoutError:
            continue
        keep_alive(accepted)
        connection = Connection(accepted)
        call = (connection.receive(roll_call.ANSWER_SECS) or {}).get("call")
        if not isinstance(call, dict):
            connection.close()  # whoever it is, it is no chief
            continue
        text = roll_call.difference(str(task), facts, call.get("facts", {}))
        if (call.get("job"), call.get("index")) != (task.job, task.index):
            text = f"{task} was called as {call.get('job')} {call.get('index')}"
        if text is None:
            return connection
        connection.send(roll_call.refusal(UsageError(text)))
        connection.close()
        raise UsageError(text)
    raise ClusterError(f"no chief called {task} within {roll_call.JOIN_SECS} s")


def _serve_until_the_end(task: Task, connection: Connection, stop: process.StopSignal) -> None:
    end: dict[str, Any] | None = None
    said_at, stopped_at = 0.0, None
    while True:
        message = connection.receive(POLL_SECS)
        end = message if message is not None and "end" in message else end
        if message is None and connection.is_closed():
            break
        now = time.monotonic()
        if stop.requested and stopped_at is None:
            stopped_at = now
            connection.send({"stop": stop.requested})
        if stopped_at is not None and task.job == "worker" and now - stopped_at > _LEAVE_SECS:
            _leave(f"stopped by {stop.requested}; the others train on")
        if now - said_at > _ALIVE_EVERY_SECS:
            said_at = now
            connection.send({"alive": True})
    if end is None:
        raise ClusterError("the chief is gone or cannot be reached")
    if end["end"] == Stopped.exit_code:
        raise Stopped(f"stopped with the run: {end.get('why')}")
    if end["end"]:
        raise ClusterError(f"the chief ended: {end.get('why')}")


def _leave(line: str) -> NoReturn:
    """Ends this process at once, as a kill does.

    A server that is taken down in order cancels the steps that it has begun; the coordinator may
    take that for an error of the run. A connection that breaks is a lost worker, always.
    """
    sys.stdout.flush()
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
    os._exit(Stopped.exit_code)


def _configuration(job: str, hardware: Any) -> Any:
    """Returns TensorFlow's configuration of the server: the threads, and the GPU of a worker."""
    import tensorflow as tf

    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=hardware.num_intra_threads or 0,
        inter_op_parallelism_threads=hardware.num_inter_threads or 0,
    )
    if job == "worker" and devices.prepare(hardware).kind == "gpu":
        config.gpu_options.visible_device_list = hardware.gpu_indices or "0"
        config.gpu_options.allow_growth = hardware.allow_memory_growth
    else:
        config.device_count["GPU"] = 0
    return config


def _start(servers: ParameterServers, config: Any) -> Any:
    import tensorflow as tf

    try:
        return tf.distribute.Server(
            servers.cluster_spec(),
            job_name=servers.job,
            task_index=servers.index,
            protocol="grpc",
            config=config,
        )
    except tf.errors.OpError as error:
        raise ClusterError(f"{servers.task} cannot listen: {error.message}") from error
