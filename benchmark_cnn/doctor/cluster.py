"""Whether the workers of a cluster can be reached from here."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence

from benchmark_cnn.doctor.finding import MISSING, Finding

_ANSWER_SECS = 3.0


def reach(hosts: Sequence[str]) -> list[Finding]:
    """Connects to each "host:port". A host that refuses is there: its worker has not started."""
    return [_reach(address) for address in hosts]


def _reach(address: str) -> Finding:
    name = f"Worker {address}"
    host, _, port = address.rpartition(":")
    try:
        socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except OSError as error:
        advice = f"{host} has no address: name it as this machine's name service does, or by number"
        return Finding(name, f"unknown host ({error.strerror})", MISSING, advice)
    started = time.perf_counter()
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _ANSWER_SECS):
            value = "answers"
    except ConnectionRefusedError:
        value = "is reached; no worker listens there yet"
    except OSError as error:
        reason = error.strerror or f"no answer within {_ANSWER_SECS:g} s"
        advice = f"open port {port} between the machines (firewall, security group, routing)"
        return Finding(name, f"cannot be reached: {reason}", MISSING, advice)
    return Finding(name, f"{value} ({1000 * (time.perf_counter() - started):.1f} ms)")
