"""The devices of a run: GPUs, or the CPU split into logical devices; threads and determinism."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
from pathlib import Path

from common import installation, process
from common.errors import UsageError

# What decides, measures or counts stays on the host: to read a value from a GPU is to wait for all
# work that was queued there.
HOST = "/device:CPU:0"
# TensorFlow reads them once, before the first operation; what a user sets stays. Without the first,
# each batch norm in NHWC transposes its images twice in each direction; the others launch kernels
# from threads of their own, apart from those that decode images; the last is the size of the
# driver's cache, in bytes, into which all of TensorFlow's kernels fit.
_GPU_ENVIRONMENT = {
    "TF_USE_CUDNN_BATCHNORM_SPATIAL_PERSISTENT": "1",
    "TF_GPU_THREAD_MODE": "gpu_private",
    "TF_GPU_THREAD_COUNT": "2",
    "CUDA_CACHE_MAXSIZE": str(4 << 30),
}
# TensorFlow 2.21 holds binaries up to 8.9; for later GPUs the driver compiles its PTX.
_FIRST_WITHOUT_BINARIES = (9, 0)
# Names in /proc/cpuinfo, on x86 and ARM, of the instructions that compute in 16 bits.
_INSTRUCTIONS = {
    "bfloat16": ("avx512_bf16", "amx_bf16", "bf16"),
    "float16": ("avx512_fp16", "amx_fp16", "fphp"),
}
_CPU_INFO = Path("/proc/cpuinfo")


@dataclasses.dataclass(frozen=True)
class Devices:
    """The devices of a run.

    Attributes:
        kind: "gpu" or "cpu".
        towers: TensorFlow's device names, one per tower.
        parameter_device: where `parameter_server` keeps the variables.
    """

    kind: str
    towers: tuple[str, ...]
    parameter_device: str


def prepare(hardware) -> Devices:
    """Configures TensorFlow's runtime for `hardware` (HardwareParams), before its first operation.

    Raises:
        UsageError: more GPUs requested than visible, or a runtime that is already in use.
    """
    import tensorflow as tf

    if hardware.num_intra_threads is not None:
        tf.config.threading.set_intra_op_parallelism_threads(hardware.num_intra_threads)
    if hardware.num_inter_threads is not None:
        tf.config.threading.set_inter_op_parallelism_threads(hardware.num_inter_threads)
    if hardware.deterministic:
        tf.config.experimental.enable_op_determinism()
    with process.quiet_startup():
        gpus = tf.config.list_physical_devices("GPU")
    kind = hardware.device if hardware.device != "auto" else ("gpu" if gpus else "cpu")
    towers = _prepare_gpus(hardware, gpus) if kind == "gpu" else _split_cpu(hardware)
    parameter_kind = hardware.local_parameter_device or kind
    parameter_device = HOST if parameter_kind == "cpu" else towers[0]
    return Devices(kind, towers, parameter_device)


def _prepare_gpus(hardware, gpus) -> tuple[str, ...]:
    import tensorflow as tf

    indices = _gpus_of_towers(hardware, gpus)
    chosen = sorted(indices)
    for name, value in _GPU_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        # Other GPUs stay untouched: TensorFlow would open a context on each, and take its memory.
        tf.config.set_visible_devices([gpus[index] for index in chosen], "GPU")
        for index in chosen:
            tf.config.experimental.set_memory_growth(gpus[index], hardware.allow_memory_growth)
    except RuntimeError as error:
        raise UsageError(
            "--device=gpu: TensorFlow is already running in this process, with other devices or "
            f"another --allow_memory_growth ({error})"
        ) from error
    tf.config.experimental.enable_tensor_float_32_execution(hardware.tf32)
    _announce_compilation(gpus[chosen[0]])
    # TensorFlow numbers the visible GPUs in ascending order, whatever order it is given.
    return tuple(f"/device:GPU:{chosen.index(index)}" for index in indices)


def _gpus_of_towers(hardware, gpus) -> list[int]:
    """Returns the number of each tower's GPU among all `gpus`."""
    import tensorflow as tf

    if not gpus:
        built = "" if tf.test.is_built_with_cuda() else " (this TensorFlow has no GPU support)"
        raise UsageError(
            f"--device=gpu: TensorFlow sees no GPU{built}; "
            f"`{installation.GPU_SETUP}` installs the CUDA libraries, --device=cpu runs without, "
            "and TF_CPP_MIN_LOG_LEVEL=0 in the environment shows which libraries are missing"
        )
    indices = [int(i) for i in hardware.gpu_indices.split(",")] if hardware.gpu_indices else None
    indices = indices or list(range(hardware.num_gpus))
    if len(indices) != hardware.num_gpus:
        raise UsageError(
            f"--gpu_indices={hardware.gpu_indices} names {len(indices)} GPUs, "
            f"--num_gpus={hardware.num_gpus}: make them agree"
        )
    if max(indices) >= len(gpus):
        raise UsageError(
            f"--num_gpus={hardware.num_gpus} needs GPU {max(indices)}, but TensorFlow sees "
            f"{len(gpus)} (numbered from 0); lower it, or check CUDA_VISIBLE_DEVICES="
            f"{os.environ.get('CUDA_VISIBLE_DEVICES', '')!r}"
        )
    return indices


def warn_of_emulation(dtype: str, kind: str) -> None:
    """Warns of a precision that the CPU has no instructions for, if the run is on one."""
    instructions = _INSTRUCTIONS.get(dtype)
    if kind != "cpu" or instructions is None or not _CPU_INFO.is_file():
        return
    match = re.search(r"^(?:flags|Features)\s*:(.*)$", _CPU_INFO.read_text(), re.MULTILINE)
    if match and not set(instructions) & set(match[1].split()):
        logging.warning(
            "this CPU has no instructions for --dtype=%s and emulates it: a step can take ten "
            "times as long as with --dtype=float32",
            dtype,
        )


def _announce_compilation(gpu) -> None:
    """Says that the first start on a new GPU is slow, where no kernel is in the driver's cache."""
    import tensorflow as tf

    capability = tf.config.experimental.get_device_details(gpu).get("compute_capability")
    cache = Path(os.environ.get("CUDA_CACHE_PATH") or Path.home() / ".nv" / "ComputeCache")
    if capability and capability >= _FIRST_WITHOUT_BINARIES and not any(cache.glob("*")):
        logging.warning(
            "TensorFlow has no compiled kernels for compute capability %d.%d: the driver compiles "
            "them at the first use, which can take half an hour, and keeps them in %s",
            *capability,
            cache,
        )


def _split_cpu(hardware) -> tuple[str, ...]:
    import tensorflow as tf

    num_towers = hardware.num_gpus
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        if tf.config.get_visible_devices("GPU"):
            tf.config.set_visible_devices([], "GPU")
    except RuntimeError as error:
        raise UsageError(
            "--device=cpu: TensorFlow is already running on the GPUs of this machine"
        ) from error
    configured = tf.config.get_logical_device_configuration(cpu) or []
    if len(configured) < num_towers:
        try:
            tf.config.set_logical_device_configuration(
                cpu, [tf.config.LogicalDeviceConfiguration()] * num_towers
            )
        except RuntimeError as error:
            raise UsageError(
                f"--num_gpus={num_towers} on the CPU: TensorFlow is already running with "
                f"{max(1, len(configured))} logical devices"
            ) from error
        if hardware.num_intra_threads is None and num_towers > (os.cpu_count() or 1):
            # The towers alone keep the cores busy. Each has its own thread pool, and eight
            # pools on two cores cost a tenth of the speed.
            tf.config.threading.set_intra_op_parallelism_threads(1)
    return tuple(f"/device:CPU:{index}" for index in range(num_towers))
