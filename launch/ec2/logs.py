"""The logs of a run, which its instances write to S3 every 15 seconds: follows all of them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from common.commands import write_line
from common.errors import RunError, UsageError
from launch.ec2.api import Ec2, errors_in_one_line

WORKERS = "workers"  # an object that holds their number
_POLL_SECS = 10.0


def follow(
    ec2: Ec2, name: str, folder: str, count: int, *, is_stopped: Callable[[], bool]
) -> int | None:
    """Prints the workers' lines as they appear, each with its number, until all have ended.

    Args:
        folder: `s3://bucket/prefix/name`.
        count: Of workers.
        is_stopped: Ends the reading; the run goes on.

    Returns:
        The exit code of the first worker that failed, else 0; None if `is_stopped` ended it.

    Raises:
        RunError: The instances are gone, and some have not left an exit code.
    """
    bucket, _, prefix = folder.removeprefix("s3://").partition("/")
    read = [0] * count
    while True:
        alive = len(ec2.instances(name))  # before the logs, so that the last lines are read
        for worker in range(count):
            read[worker] += _print_new(ec2.s3, bucket, prefix, worker, read[worker], count)
        codes = {worker: _exit_code(ec2.s3, bucket, prefix, worker) for worker in range(count)}
        ended = {worker: code for worker, code in codes.items() if code is not None}
        if len(ended) == count:
            return next((code for code in ended.values() if code), 0)
        if not alive:
            lost = ", ".join(str(worker) for worker in codes if worker not in ended)
            raise RunError(
                f"the instances of {name} are gone, and worker {lost} left no exit code: the same "
                f"launch with --name={name} resumes from the last checkpoint"
            )
        deadline = time.monotonic() + _POLL_SECS
        while time.monotonic() < deadline:
            if is_stopped():
                return None
            time.sleep(0.2)


def num_workers(s3: Any, folder: str) -> int:
    """Returns the number of workers of a run.

    Raises:
        UsageError: There is no such run in the bucket.
    """
    bucket, _, prefix = folder.removeprefix("s3://").partition("/")
    text = _get(s3, bucket, f"{prefix}/{WORKERS}", 0)
    if not text.isdigit():
        raise UsageError(f"{folder} holds no run that this program launched")
    return int(text)


def _print_new(s3: Any, bucket: str, prefix: str, worker: int, start: int, count: int) -> int:
    """Prints the whole lines after byte `start` of a log; returns their length in bytes."""
    text = _get(s3, bucket, f"{prefix}/logs/worker-{worker}.log", start)
    end = text.rfind(b"\n") + 1
    for line in text[:end].decode(errors="backslashreplace").splitlines():
        write_line(f"[{worker}] {line}" if count > 1 else line)
    return end


def _exit_code(s3: Any, bucket: str, prefix: str, worker: int) -> int | None:
    text = _get(s3, bucket, f"{prefix}/done/worker-{worker}", 0)
    return int(text) if re.fullmatch(rb"\d+\s*", text) else None


def _get(s3: Any, bucket: str, key: str, start: int) -> bytes:
    """Returns an object from byte `start` on; nothing where it does not exist or is no longer."""
    with errors_in_one_line():
        try:
            return s3.get_object(Bucket=bucket, Key=key, Range=f"bytes={start}-")["Body"].read()
        except s3.exceptions.ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "InvalidRange"):
                return b""
            raise
