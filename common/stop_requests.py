"""Stops a run for other reasons than a signal: its time is over, or EC2 takes its machine back.

EC2 announces two minutes before it interrupts a spot instance, at an address that only the instance
sees (the metadata service). `--max_run_minutes` is for schedulers that give no notice.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from common import process
from common.process import StopSignal

_METADATA_VARIABLE = "AWS_EC2_METADATA_SERVICE_ENDPOINT"  # as Amazon's own tools name it
_METADATA_SERVICE = "http://169.254.169.254"
_TOKEN_SECS = 21600
_ANSWER_SECS = 2.0
_POLL_SECS = 5.0  # as Amazon recommends
_VENDOR_FILE = Path("/sys/class/dmi/id/sys_vendor")
_EC2 = "Amazon EC2"


@contextlib.contextmanager
def watching(
    stop: StopSignal,
    *,
    max_run_minutes: float | None = None,
    spot_notice: str = "auto",
    warn: Callable[[str], object],
) -> Iterator[None]:
    """Requests a stop, while the block runs, once the time is over or a spot notice has come.

    Args:
        max_run_minutes: counted from the start of the process; None for no limit.
        spot_notice: "on", "off", or "auto": on virtual machines of EC2.
        warn: called with a line, in another thread, if notices would not be seen.
    """
    watches: list[tuple[float, Callable[[], str | None]]] = []
    if max_run_minutes is not None:
        watches.append((0.5, lambda: _time_is_over(max_run_minutes)))
    if spot_notice == "on" or (spot_notice == "auto" and _is_on_ec2()):
        watches.append((_POLL_SECS, _SpotNotice(warn).poll))
    ended = threading.Event()
    threads = [
        threading.Thread(target=_watch, args=(ended, stop, secs, poll), daemon=True)
        for secs, poll in watches
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()


def _watch(
    ended: threading.Event, stop: StopSignal, secs: float, poll: Callable[[], str | None]
) -> None:
    while True:
        reason = poll()
        if reason is not None and not ended.is_set():
            stop.request(reason)
        if reason is not None or ended.wait(secs):
            return


def _time_is_over(minutes: float) -> str | None:
    is_over = time.monotonic() - process.STARTED >= 60 * minutes
    return f"--max_run_minutes={minutes:g}" if is_over else None


def _is_on_ec2() -> bool:
    """Returns whether this is a virtual machine of EC2 whose metadata may be asked for."""
    if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return False
    with contextlib.suppress(OSError):
        return _VENDOR_FILE.read_text().strip() == _EC2
    return False


class _SpotNotice:
    """Asks EC2's metadata service (version 2, with a token) for an interruption notice."""

    def __init__(self, warn: Callable[[str], object]):
        self._warn = warn
        self._service = os.environ.get(_METADATA_VARIABLE, _METADATA_SERVICE).rstrip("/")
        # A proxy of the environment would ask for the notice of its own machine.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._token: str | None = None
        self._is_silent = False

    def poll(self) -> str | None:
        """Returns what the notice says, None without one."""
        try:
            if self._token is None:
                lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_SECS)}
                self._token = self._ask("PUT", "/latest/api/token", lifetime)
            token = {"X-aws-ec2-metadata-token": self._token}
            notice = json.loads(self._ask("GET", "/latest/meta-data/spot/instance-action", token))
            self._is_silent = False
        except urllib.error.HTTPError as error:
            if error.code != 404:  # which says that there is no notice
                self._token = None  # 401: it has expired
            return None
        except (OSError, ValueError) as error:
            if not self._is_silent:
                reason = getattr(error, "reason", error)
                self._warn(
                    f"{self._service} does not answer ({reason}): a spot interruption notice would "
                    "not be seen"
                )
            self._is_silent = True
            return None
        action = notice if isinstance(notice, dict) else {}
        what, when = action.get("action", "interrupt"), action.get("time", "an unknown time")
        return f"EC2's spot notice ({what} at {when})"

    def _ask(self, method: str, path: str, headers: dict[str, str]) -> str:
        request = urllib.request.Request(self._service + path, headers=headers, method=method)
        with self._opener.open(request, timeout=_ANSWER_SECS) as answer:
            return answer.read().decode()
