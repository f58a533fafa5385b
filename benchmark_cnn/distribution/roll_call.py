"""The roll call of a cluster: before TensorFlow connects the workers, all are there and agree.

Every worker listens at its own address from its start. The chief answers the others once all have
called: go, or one line that says what is wrong. TensorFlow itself would wait in silence for a
worker that does not come, and train on whatever each of them was started with.
"""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from common.errors import ClusterError, RunError, UsageError

# Workers that are started by hand may follow each other after minutes.
JOIN_SECS = 300
SAY_EVERY_SECS = 10
_RETRY_SECS = 0.5
ANSWER_SECS = 5
# A process of an earlier run may take some seconds to leave.
_PORT_SECS = 10
_LONGEST_MESSAGE = 1 << 20


def errors_of_a_lost_process() -> Any:
    """Returns the classes of TensorFlow's errors where another process of the cluster is gone."""
    import tensorflow as tf

    return (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
        tf.errors.InternalError,
        tf.errors.FailedPreconditionError,
    )


class RollCall:
    """A context from the start of a worker to the join; see `complete`.

    An error that leaves the context early is passed on to the others, who would wait in vain.

    Args:
        workers: "host:port" of each; the first is the chief.
        index: of this process in `workers`.
        facts: what has to be the same on every worker, in words -> JSON value.
    """

    def __init__(self, workers: Sequence[str], index: int, facts: Mapping[str, Any]):
        self._workers, self._index = list(workers), index
        self._facts = dict(facts)
        self._connections: dict[int, Connection] = {}
        self._others_know = False

    def __enter__(self) -> RollCall:
        self._listener = listen(self._workers[self._index], self._index)
        return self

    def __exit__(self, _kind, error: BaseException | None, _traceback) -> None:
        if error is not None and not self._others_know:
            with contextlib.suppress(OSError):
                self._pass_on(error)
        self._close()

    def complete(self) -> None:
        """Returns once all workers are there and agree; this worker's port is free again then.

        Raises:
            UsageError: a worker has other flags, other data or other code than the chief.
            ClusterError: a worker did not come within JOIN_SECS, failed, or cannot be reached.
        """
        if self._index == 0:
            self._call_the_others()
        else:
            self._answer_the_chief()
        self._others_know = True
        self._close()

    # The chief.

    def _call_the_others(self) -> None:
        started = said = time.monotonic()
        while missing := self._missing():
            now = time.monotonic()
            if now - started > JOIN_SECS:
                raise self._tell(ClusterError(f"{missing} did not start within {JOIN_SECS} s"))
            if now - said >= SAY_EVERY_SECS:
                said = now
                self._send_all({"waits_for": missing})
                say(f"Waiting for {missing}, for {now - started:.0f} s so far")
            if (connection := self._accept(_RETRY_SECS)) is not None:
                self._admit(connection)
        for index in sorted(self._connections):
            self._check_address(index)
        self._send_all({"go": True})

    def _accept(self, seconds: float) -> Connection | None:
        self._listener.settimeout(seconds)
        try:
            return Connection(self._listener.accept()[0])
        except (TimeoutError, BlockingIOError):
            return None

    def _missing(self) -> str:
        """Returns the workers that have not called yet, or have gone, in words; "" for none."""
        self._forget_the_lost()
        others = range(1, len(self._workers))
        return self._named([i for i in others if i not in self._connections])

    def _forget_the_lost(self) -> None:
        """A worker may be started again before the others are there."""
        for index in [i for i, c in self._connections.items() if c.is_closed()]:
            self._connections.pop(index).close()

    def _named(self, indices: Sequence[int]) -> str:
        return ", ".join(f"worker {i} ({self._workers[i]})" for i in indices)

    def _admit(self, connection: Connection) -> None:
        call = connection.receive(ANSWER_SECS)
        index = call.get("index") if call else None
        if call is None or not isinstance(index, int) or index not in range(len(self._workers)):
            connection.close()  # whoever it is, it is no worker
            return
        if "failed" in call:
            raise self._tell(ClusterError(f"worker {index} failed at its start: {call['failed']}"))
        if call.get("workers") != self._workers:
            connection.send(refusal(UsageError(_other_hosts(call, self._workers))))
            connection.close()
            raise self._tell(UsageError(_other_hosts(call, self._workers)))
        self._forget_the_lost()
        if index in self._connections or index == 0:
            text = f"another process is worker {index} already: give every worker its --task_index"
            connection.send(refusal(UsageError(text)))
            connection.close()
            return
        self._connections[index] = connection
        text = difference(f"worker {index}", call.get("facts", {}), self._facts)
        if text:
            raise self._tell(UsageError(text))

    def _check_address(self, index: int) -> None:
        """Connects to a worker as the other workers will do."""
        try:
            socket.create_connection(address(self._workers[index]), ANSWER_SECS).close()
        except OSError as error:
            peer = self._connections[index].peer
            raise self._tell(
                ClusterError(
                    f"worker {index} called from {peer}, but nothing answers at its address "
                    f"{self._workers[index]} ({reason(error)}): correct the address, or open the "
                    "port in the firewall"
                )
            ) from error

    def _tell(self, error: RunError) -> RunError:
        """Sends an error to the workers that are there, and returns it."""
        self._send_all(refusal(error))
        self._others_know = True
        return error

    def _send_all(self, message: Mapping[str, Any]) -> None:
        for connection in self._connections.values():
            connection.send(message)

    # The other workers.

    def _answer_the_chief(self) -> None:
        started = said = time.monotonic()
        while True:
            problem = self._try_to_join()
            if problem is None:
                return
            now = time.monotonic()
            if now - started > JOIN_SECS:
                raise ClusterError(
                    f"{self._named([0])}, the chief, did not start within {JOIN_SECS} s: {problem}"
                )
            if now - said >= SAY_EVERY_SECS:
                said = now
                say(
                    f"Waiting for {self._named([0])}, the chief, for {now - started:.0f} s so far: "
                    f"{problem}"
                )
            time.sleep(_RETRY_SECS)

    def _try_to_join(self) -> str | None:
        """Calls the chief and waits for its answer; returns why it is not there, or None."""
        try:
            connection = Connection(
                socket.create_connection(address(self._workers[0]), ANSWER_SECS)
            )
        except OSError as error:
            return reason(error)
        with contextlib.closing(connection):
            call = {"index": self._index, "workers": self._workers, "facts": self._facts}
            connection.send(call)
            while True:
                # The chief says every few seconds for whom it waits.
                answer = connection.receive(6 * SAY_EVERY_SECS)
                if answer is None:
                    return "what answers there is no chief that starts; perhaps an earlier run's"
                if "go" in answer:
                    return None
                if "refused" in answer:
                    self._others_know = True
                    raise (UsageError if answer.get("is_usage") else ClusterError)(
                        answer["refused"]
                    )
                say(f"Worker {self._index} is ready; the chief waits for {answer['waits_for']}")

    def _pass_on(self, error: BaseException) -> None:
        text = (str(error) or type(error).__name__).splitlines()[0]
        if self._index:
            chief = socket.create_connection(address(self._workers[0]), ANSWER_SECS)
            with contextlib.closing(Connection(chief)) as connection:
                connection.send({"index": self._index, "failed": text})
            return
        while (connection := self._accept(0)) is not None:
            self._connections[-1 - len(self._connections)] = connection
            connection.receive(ANSWER_SECS)
        self._tell(ClusterError(f"the chief failed at its start: {text}"))

    def _close(self) -> None:
        self._listener.close()
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()


class Connection:
    """A connection that carries one JSON object a line."""

    def __init__(self, connection: socket.socket):
        self._socket = connection
        self._received = b""
        with contextlib.suppress(OSError):
            self.peer = connection.getpeername()[0]

    def send(self, message: Mapping[str, Any]) -> None:
        """Sends `message`; one that has gone is noticed by whoever receives."""
        with contextlib.suppress(OSError):
            self._socket.settimeout(ANSWER_SECS)
            self._socket.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, seconds: float) -> dict[str, Any] | None:
        """Returns the next object; None if it is none, or nothing comes."""
        self._socket.settimeout(seconds)
        try:
            while b"\n" not in self._received and len(self._received) < _LONGEST_MESSAGE:
                part = self._socket.recv(1 << 16)
                if not part:
                    return None
                self._received += part
            line, _, self._received = self._received.partition(b"\n")
            message = json.loads(line)
        except (OSError, ValueError):
            return None
        return message if isinstance(message, dict) else None

    def is_closed(self) -> bool:
        """Returns whether the other end has gone."""
        self._socket.setblocking(False)
        try:
            return not self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        self._socket.close()


def listen(worker: str, index: int, role: str = "worker") -> socket.socket:
    """Listens on all interfaces at the worker's port, as TensorFlow will do."""
    port = address(worker)[1]
    for family in (socket.AF_INET6, socket.AF_INET):
        deadline = time.monotonic() + _PORT_SECS
        while True:
            try:
                return socket.create_server(
                    ("", port), family=family, backlog=128, dualstack_ipv6=family.name == "AF_INET6"
                )
            except (OSError, ValueError) as error:
                if not isinstance(error, OSError) or error.errno != errno.EADDRINUSE:
                    problem = error
                    break  # without IPv6, the next family
                if time.monotonic() > deadline:
                    raise UsageError(
                        f"port {port} of {role} {index} ({worker}) is in use on this machine: by "
                        f"an earlier run, another {role} {index}, or another program; stop it, or "
                        "give another port"
                    ) from error
            time.sleep(_RETRY_SECS)
    raise UsageError(f"{role} {index} cannot listen at port {port}: {reason(problem)}")


def address(worker: str) -> tuple[str, int]:
    """Returns host and port of "host:port"."""
    host, _, port = worker.rpartition(":")
    return host.strip("[]"), int(port)


def refusal(error: RunError) -> dict[str, Any]:
    """Returns the message that carries an error."""
    return {"refused": str(error), "is_usage": isinstance(error, UsageError)}


def reason(error: Exception) -> str:
    """Returns the words of an error of the operating system."""
    return getattr(error, "strerror", None) or str(error)


def say(line: str) -> None:
    """Prints a line of waiting to stderr."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _other_hosts(call: Mapping[str, Any], workers: Sequence[str]) -> str:
    theirs = ",".join(map(str, call.get("workers") or ()))
    return (
        f"worker {call['index']} has the workers {theirs}, the chief {','.join(workers)}: "
        "give every worker the same --worker_hosts"
    )


def difference(who: str, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str | None:
    """Returns a line about the first fact that differs from the chief's (`ours`)."""
    for name in {**ours, **theirs}:
        if theirs.get(name) != ours.get(name):
            return (
                f"{who} has {name}={theirs.get(name)}, the chief {name}={ours.get(name)}: "
                "start every worker in the same way"
            )
    return None
