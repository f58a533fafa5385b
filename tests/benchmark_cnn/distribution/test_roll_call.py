"""The roll call before a cluster joins: real sockets on loopback, each worker in a thread."""

from __future__ import annotations

import json
import re
import select
import socket
import threading
import time

import pytest

from benchmark_cnn.distribution import roll_call
from benchmark_cnn.distribution.roll_call import RollCall
from common.errors import ClusterError, DataError, UsageError
from common.process import free_ports

FACTS = {"--batch_size": 4, "the code": "abc"}


class Clock:
    """Shows the time that the test sets: no worker is late because this machine is slow."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now

    sleep = staticmethod(time.sleep)


class Worker(threading.Thread):
    """A worker that takes part; `error` is what it ended with.

    With `fails`, it fails with that before the join, once the test has set `may_fail`.
    """

    def __init__(self, hosts, index, *, facts=FACTS, fails=None):
        super().__init__(daemon=True)
        self.hosts, self.index, self.fails, self.error = hosts, index, fails, None
        self.call = RollCall(hosts, index, facts)
        self.may_fail = threading.Event()
        self.start()

    def run(self):
        try:
            with self.call as call:
                if self.fails is not None:
                    self.may_fail.wait()
                    raise self.fails
                call.complete()
                # TensorFlow can take the port.
                socket.create_server(("", int(self.hosts[self.index].rpartition(":")[2]))).close()
        except Exception as error:
            self.error = error

    def listens(self):
        return hasattr(self.call, "_listener")

    def has_admitted(self, *indices):
        return set(indices) <= set(self.call._connections)

    def is_called(self):
        """Whether a call waits for an answer."""
        return self.listens() and bool(select.select([self.call._listener], [], [], 0)[0])


def hosts_of(count):
    return [f"127.0.0.1:{port}" for port in free_ports(count)]


def wait_until(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def errors_of(*workers):
    wait_until(lambda: not any(worker.is_alive() for worker in workers))
    return [worker.error for worker in workers]


def errors_in_time(clock, *workers):
    """Their errors, of whom one waits for somebody who does not come."""

    def have_ended():
        clock.now += 100.0
        return not any(worker.is_alive() for worker in workers)

    wait_until(have_ended)
    return [worker.error for worker in workers]


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(roll_call, "time", clock)
    monkeypatch.setattr(roll_call, "ANSWER_SECS", 60)
    monkeypatch.setattr(roll_call, "_RETRY_SECS", 0.01)
    return clock


def test_all_go_once_the_last_is_there_and_are_kept_informed(clock, monkeypatch):
    said = []
    monkeypatch.setattr(roll_call, "say", said.append)
    monkeypatch.setattr(roll_call, "JOIN_SECS", 10**9)

    def wait_for(line):
        """Until it was said, while the time passes."""

        def is_said():
            clock.now += 1.0
            return any(line in each for each in said)

        wait_until(is_said)

    hosts = hosts_of(3)
    first = Worker(hosts, 1)
    wait_for(f"Waiting for worker 0 ({hosts[0]}), the chief, for")
    assert "Connection refused" in said[-1]
    chief = Worker(hosts, 0)
    wait_for(f"Waiting for worker 2 ({hosts[2]}), for")
    wait_for(f"Worker 1 is ready; the chief waits for worker 2 ({hosts[2]})")
    assert errors_of(first, chief, Worker(hosts, 2)) == [None, None, None]


def test_a_worker_that_never_comes_is_named_to_all(clock):
    hosts = hosts_of(3)
    chief, other = Worker(hosts, 0), Worker(hosts, 1)
    wait_until(lambda: chief.has_admitted(1))
    for error in errors_in_time(clock, chief, other):
        assert isinstance(error, ClusterError)
        assert str(error) == f"worker 2 ({hosts[2]}) did not start within 300 s"


def test_a_chief_that_never_comes_is_named(clock):
    hosts = hosts_of(2)
    (error,) = errors_in_time(clock, Worker(hosts, 1))
    assert isinstance(error, ClusterError)
    assert str(error).startswith(f"worker 0 ({hosts[0]}), the chief, did not start within 300 s: ")


@pytest.mark.parametrize(
    ("theirs", "named"),
    [
        ({**FACTS, "--batch_size": 8}, "worker 1 has --batch_size=8, the chief --batch_size=4"),
        ({**FACTS, "the code": "d"}, "worker 1 has the code=d, the chief the code=abc"),
        ({**FACTS, "--new": 1}, "worker 1 has --new=1, the chief --new=None"),
    ],
)
def test_a_worker_that_was_started_in_another_way_stops_all(theirs, named):
    hosts = hosts_of(3)
    chief, other = Worker(hosts, 0), Worker(hosts, 2)
    wait_until(lambda: chief.has_admitted(2))
    for error in errors_of(chief, other, Worker(hosts, 1, facts=theirs)):
        assert isinstance(error, UsageError)
        assert str(error) == f"{named}: start every worker in the same way"


def test_other_hosts_stop_both():
    hosts = hosts_of(2)
    workers = [Worker(hosts, 0), Worker([hosts[0], hosts[1], "127.0.0.1:1"], 1)]
    for error in errors_of(*workers):
        assert isinstance(error, UsageError)
        assert "give every worker the same --worker_hosts" in str(error)


def test_a_second_process_of_one_index_is_refused_and_the_first_goes():
    """On another machine, so the port is free there: here the address differs in spelling only."""
    hosts = hosts_of(3)
    chief, first = Worker(hosts, 0), Worker(hosts, 1)
    wait_until(lambda: chief.has_admitted(1))
    (error,) = errors_of(Second(hosts, 1))
    assert errors_of(chief, first, Worker(hosts, 2)) == [None, None, None]
    assert isinstance(error, UsageError)
    assert str(error).startswith("another process is worker 1 already: give every worker its")


class Second(Worker):
    """A worker on a machine of its own, where its port is free."""

    def run(self):
        self.call._listener = socket.create_server(("127.0.0.2", 0))
        try:
            self.call.complete()
        except Exception as error:
            self.error = error


def test_a_restarted_worker_takes_its_place_again():
    hosts = hosts_of(3)
    chief = Worker(hosts, 0)
    wait_until(chief.listens)
    lost = socket.create_connection(("127.0.0.1", int(hosts[0].rpartition(":")[2])))
    lost.sendall(json.dumps({"index": 1, "workers": hosts, "facts": FACTS}).encode() + b"\n")
    wait_until(lambda: chief.has_admitted(1))
    lost.close()
    errors = errors_of(chief, Worker(hosts, 1), Worker(hosts, 2))
    assert errors == [None, None, None], errors


def test_a_port_in_use_is_named(clock):
    hosts = hosts_of(2)
    with socket.create_server(("", int(hosts[1].rpartition(":")[2]))):
        (error,) = errors_in_time(clock, Worker(hosts, 1))
    assert isinstance(error, UsageError)
    port = hosts[1].rpartition(":")[2]
    assert str(error).startswith(f"port {port} of worker 1 ({hosts[1]}) is in use on this machine")


def test_an_address_at_which_nothing_answers_is_named():
    """Worker 1 listens on this machine, but its address is another machine's."""
    hosts = hosts_of(2)
    hosts[1] = f"127.0.0.1:{free_ports(1)[0]}"
    wrong = Second(hosts, 1)
    for error in errors_of(Worker(hosts, 0), wrong):
        assert isinstance(error, ClusterError)
        assert re.fullmatch(
            rf"worker 1 called from \S+, but nothing answers at its address {hosts[1]} "
            r"\(Connection refused\): correct the address, or open the port in the firewall",
            str(error),
        )


def test_a_chief_that_fails_before_the_join_passes_its_reason_on():
    hosts = hosts_of(2)
    chief, other = Worker(hosts, 0, fails=DataError("data/x is missing")), Worker(hosts, 1)
    wait_until(chief.is_called)
    chief.may_fail.set()
    error, passed_on = errors_of(chief, other)
    assert str(error) == "data/x is missing"
    assert isinstance(passed_on, ClusterError)
    assert str(passed_on) == "the chief failed at its start: data/x is missing"


def test_a_worker_that_fails_before_the_join_passes_its_reason_on():
    hosts = hosts_of(3)
    workers = [Worker(hosts, 0), Worker(hosts, 2)]
    wait_until(lambda: workers[0].has_admitted(2))
    workers.append(Worker(hosts, 1, fails=DataError("data/x is missing")))
    workers[-1].may_fail.set()
    chief, other, error = errors_of(*workers)
    assert isinstance(error, DataError)
    for passed_on in (chief, other):
        assert isinstance(passed_on, ClusterError)
        assert str(passed_on) == "worker 1 failed at its start: data/x is missing"


def test_what_is_no_worker_is_ignored():
    hosts = hosts_of(2)
    chief = Worker(hosts, 0)
    wait_until(chief.listens)
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", b'{"index": 7}\n', b"[1]\n", b'{"index": "1"}\n'):
        with socket.create_connection(("127.0.0.1", int(hosts[0].rpartition(":")[2]))) as other:
            other.sendall(garbage)
    assert errors_of(chief, Worker(hosts, 1)) == [None, None]
