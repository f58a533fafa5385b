"""Software, cores, memory, disk and limits of this machine."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

from benchmark_cnn.doctor.finding import MISSING, OK, PROBLEM, Finding
from common import installation, process
from common.version import installed

_OLDEST, _NEWEST = (3, 10), (3, 13)
_SPEED_TEST_BYTES = 64 << 20
# Slower, and a checkpoint of EfficientNet-Lite0 (56 MB with slots and averages) takes seconds.
_SLOW_MB_PER_SECOND = 20
_FREE_GB = 2
# A training opens 16 shards at a time, and TensorFlow some files of its own.
_FEWEST_OPEN_FILES = 256
_SMALLEST_SHARED_GB = 1
_LEAST_MEMORY_GB = 2


def software() -> list[Finding]:
    """Examines Python and TensorFlow."""
    version = sys.version_info[:2]
    is_known = _OLDEST <= version <= _NEWEST
    findings = [
        Finding(
            "Python",
            f"{platform.python_version()} on {platform.system()} {platform.machine()}",
            OK if is_known else MISSING,
            "" if is_known else "use Python 3.10 to 3.13: `make setup PYTHON=python3.12`",
        )
    ]
    for package in ("tensorflow", "keras"):
        found = installed(package)
        advice = "" if found else f"run `{installation.SETUP}`; its Python starts the programs"
        findings.append(
            Finding(package, found or "not installed", OK if found else MISSING, advice)
        )
    return findings


def resources(directory: str) -> list[Finding]:
    """Examines cores, memory, limits, and the disk of `directory`."""
    return [_cores(), _memory(), _open_files(), _shared_memory(), _disk(Path(directory))]


def _cores() -> Finding:
    usable, present = process.num_cores(), os.cpu_count() or 1
    value = f"{usable} of {present} cores"
    quota = _quota()
    if quota is not None and quota < usable:
        advice = f"give --num_data_threads={max(1, int(quota))}, or raise the container's limit"
        return Finding(
            "Threads", f"{value}, limited to {quota:g} by the container", PROBLEM, advice
        )
    return Finding("Threads", value)


def _quota() -> float | None:
    """Returns the cores that a container's limit of CPU time stands for; None without a limit."""
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return int(quota) / int(period)  # "max" is no number
    return None


def _memory() -> Finding:
    available = process.available_memory_bytes()
    if available is None:
        return Finding("Memory", "unknown")
    is_little = available < _LEAST_MEMORY_GB << 30
    advice = "end other programs, or train with a small --batch_size and --image_size"
    value = f"{available / 2**30:.1f} GiB available"
    return Finding("Memory", value, PROBLEM if is_little else OK, advice if is_little else "")


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    value = f"at most {soft} (may be raised to {hard})"
    if soft == resource.RLIM_INFINITY or soft >= _FEWEST_OPEN_FILES:
        return Finding("Open files", value)
    return Finding("Open files", value, PROBLEM, "run `ulimit -n 4096` before the training")


def _shared_memory() -> Finding:
    try:
        size = shutil.disk_usage("/dev/shm")
    except OSError:
        return Finding("Shared memory", "no /dev/shm")
    value = f"{size.free / 2**30:.1f} of {size.total / 2**30:.1f} GiB of /dev/shm free"
    if size.free >= _SMALLEST_SHARED_GB << 30:
        return Finding("Shared memory", value)
    advice = "NCCL needs it between GPUs: start the container with --shm-size=1g or more"
    return Finding("Shared memory", value, PROBLEM, advice)


def _disk(directory: Path) -> Finding:
    """Writes a file where checkpoints will be, flushes it and reads it back."""
    place = directory
    while not place.exists() and place != place.parent:
        place = place.parent
    name = f"Disk {directory}"
    try:
        free = shutil.disk_usage(place).free
        size = min(_SPEED_TEST_BYTES, free // 2)
        with tempfile.NamedTemporaryFile(dir=place) as file:
            block = os.urandom(1 << 20)
            started = time.perf_counter()
            for _ in range(size >> 20):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
            written = time.perf_counter()
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            file.seek(0)
            while file.read(1 << 20):
                pass
            done = time.perf_counter()
    except OSError as error:
        advice = "give --train_dir=DIR on a disk that you may write to"
        return Finding(name, f"cannot be written: {error.strerror}", MISSING, advice)
    write, read = size / 1e6 / (written - started), size / 1e6 / (done - written)
    value = f"{free / 1e9:.1f} GB free; writes {write:,.0f} MB/s, reads {read:,.0f} MB/s"
    if free < _FREE_GB * 1e9:
        return Finding(name, value, PROBLEM, f"make room: checkpoints need {_FREE_GB} GB or more")
    if min(write, read) < _SLOW_MB_PER_SECOND:
        return Finding(name, value, PROBLEM, "put --train_dir and the data on a faster disk")
    return Finding(name, value)
