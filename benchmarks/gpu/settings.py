"""One setting of train.py, measured: speed, share of the peak, and what a step launches."""

from __future__ import annotations

import argparse
import functools
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from common import installation

_SPEED = re.compile(r"total images/sec: ([\d.]+)")
# A training step multiplies three times: forward, and for the gradients of inputs and of kernels.
_PASSES = 3
_COPY = re.compile(r"memcpy|_Host(Send|Recv)|\b(HtoD|DtoH)\b", re.IGNORECASE)
_PEAK_SIZE = {"gpu": 8192, "cpu": 1024}
_TIMEOUT_SECS = 3600
HEADING = (
    f"{'network':20}{'dtype':10}{'batch':>6}{'xla':>8}{'GPUs':>5}{'images/s':>10}{'of peak':>9}"
    f"{'launches':>10}{'copies':>8}"
)


class Setting(NamedTuple):
    """What train.py is given; `xla` is "timm" for a peer's row."""

    model: str
    dtype: str
    batch_size: int
    xla: str
    num_gpus: int = 1


class Result(NamedTuple):
    """What came of a setting.

    Attributes:
        images_per_sec: of all GPUs; 0 if it failed.
        share_of_peak: of the matrix-product peak of the GPUs in the same precision.
        launches, copies: operations that one traced step starts on the devices, and copies between
            host and device; None if they were not counted.
        failure: the last line of a run that failed.
    """

    setting: Setting
    images_per_sec: float
    share_of_peak: float = 0.0
    launches: int | None = None
    copies: int | None = None
    failure: str = ""

    def row(self) -> str:
        """Returns the line of the table."""
        of, counts = self.setting, (self.launches, self.copies)
        first = f"{of.model:20}{of.dtype:10}{of.batch_size:6}{of.xla:>8}{of.num_gpus:5}"
        if self.failure:
            return f"{first}  {self.failure}"
        launches, copies = ("" if count is None else f"{count:,}" for count in counts)
        speed = f"{self.images_per_sec:10.1f}{self.share_of_peak:9.1%}"
        return f"{first}{speed}{launches:>10}{copies:>8}"

    def as_dict(self) -> dict[str, Any]:
        """Returns the row for JSON."""
        values = self._asdict()
        return {**values.pop("setting")._asdict(), **values}


def measure(setting: Setting, options: argparse.Namespace, peak_tflops: float) -> Result:
    """Runs train.py twice: without a trace for the speed, and some steps with one."""
    flags = [
        *(f"--model={setting.model}", f"--dtype={setting.dtype}", f"--xla={setting.xla}"),
        *(f"--batch_size={setting.batch_size}", f"--num_gpus={setting.num_gpus}"),
        *(f"--device={options.device}", "--data_name=imagenet", "--learning_rate=0.01"),
    ]
    if options.image_size:
        flags.append(f"--image_size={options.image_size}")
    done = _train([*flags, f"--num_batches={options.num_batches}"])
    if not (match := _SPEED.search(done.stdout)):
        return Result(setting, 0.0, failure=_last_line(done))
    speed = float(match[1])
    flops = 2 * _PASSES * macs(setting.model, options.image_size) * speed
    share = flops / (peak_tflops * 1e12 * setting.num_gpus)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "step.json"
        _train([*flags, "--num_warmup_batches=0", "--num_batches=4", f"--trace_file={path}"])
        counts = counted(json.loads(path.read_text())) if path.exists() else (None, None)
    return Result(setting, speed, share, *counts)


def _train(flags: list[str]) -> subprocess.CompletedProcess[str]:
    command = [*installation.program("train"), *flags]
    return subprocess.run(
        command, text=True, capture_output=True, timeout=_TIMEOUT_SECS, check=False
    )


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return lines[-1] if lines else f"ended with {done.returncode}"


def counted(trace: Mapping[str, Any]) -> tuple[int, int]:
    """Counts what a Chrome trace of one step has on its devices.

    Returns:
        (launches, copies between host and device). Without a plane of a GPU the operations of the
        host's executors are counted.
    """
    events = trace["traceEvents"]
    processes = {
        event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"
    }
    devices = {pid for pid, name in processes.items() if "GPU" in name} or set(processes)
    slices = [event for event in events if event["ph"] == "X" and event["pid"] in devices]
    copies = sum(bool(_COPY.search(event["name"])) for event in slices)
    return len(slices) - copies, copies


@functools.cache
def macs(model: str, image_size: int | None) -> int:
    """Returns the multiply-adds of a forward pass of one image, counted in another process."""
    models = installation.module("models")
    program = (
        f"import sys; from {models} import cost, registry; name, size = sys.argv[1:]; "
        "size = int(size) or registry.get(name).image_size; "
        "network = registry.get(name).build(num_classes=1000, image_size=size); "
        "print(cost.cost(network, size).macs)"
    )
    return int(_output(program, model, str(image_size or 0)))


def num_devices(device: str) -> int:
    """Returns the number of GPUs; 1 on a CPU."""
    if device == "cpu":
        return 1
    program = "import tensorflow as tf; print(len(tf.config.list_physical_devices('GPU')))"
    return int(_output(program))


def peak_tflops(device: str, dtype: str) -> float:
    """Measures products of two square matrices, the best of several, in TFLOP/s of one device."""
    program = (
        "import sys, time, tensorflow as tf; device, dtype, size = sys.argv[1:]; size = int(size); "
        "context = tf.device('/device:' + device.upper() + ':0'); context.__enter__(); "
        "a = tf.cast(tf.random.normal([size, size]), dtype); "
        "product = tf.function(lambda: tf.reduce_max(tf.linalg.matmul(a, a))); product().numpy()\n"
        "def secs():\n    start = time.perf_counter(); product().numpy()\n"
        "    return time.perf_counter() - start\n"
        "print(2 * size**3 / min(secs() for _ in range(10)) / 1e12)"
    )
    return float(_output(program, device, dtype, str(_PEAK_SIZE[device])))


def _output(program: str, *arguments: str) -> str:
    command = [sys.executable, "-c", program, *arguments]
    where = installation.IMPORTED_FROM
    done = subprocess.run(command, cwd=where, text=True, capture_output=True, check=True)
    return done.stdout.split()[-1]
