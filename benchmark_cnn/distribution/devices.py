"""The devices of a run: GPUs, or the CPU split into logical devices; threads and determinism."""

from __future__ import annotations

import dataclasses
import os

from common import process
from common.errors import UsageError


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
    parameter_device = "/device:CPU:0" if parameter_kind == "cpu" else towers[0]
    return Devices(kind, towers, parameter_device)


def _prepare_gpus(hardware, gpus) -> tuple[str, ...]:
    import tensorflow as tf

    if not gpus:
        built = "" if tf.test.is_built_with_cuda() else " (this TensorFlow has no GPU support)"
        raise UsageError(
            f"--device=gpu: TensorFlow sees no GPU{built}; "
            "`make setup GPU=1` installs the CUDA libraries, --device=cpu runs without, and "
            "TF_CPP_MIN_LOG_LEVEL=0 in the environment shows which libraries are missing"
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
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, hardware.allow_memory_growth)
    return tuple(f"/device:GPU:{index}" for index in indices)


def _split_cpu(hardware) -> tuple[str, ...]:
    import tensorflow as tf

    num_towers = hardware.num_gpus

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_visible_devices([cpu])
    configured = tf.config.get_logical_device_configuration(cpu) or []
    if len(configured) < num_towers:
        try:
            tf.config.set_logical_device_configuration(
                cpu, [tf.config.LogicalDeviceConfiguration()] * num_towers
            )
            if hardware.num_intra_threads is None and num_towers > (os.cpu_count() or 1):
                # The towers alone keep the cores busy. Each has its own thread pool, and eight
                # pools on two cores cost a tenth of the speed.
                tf.config.threading.set_intra_op_parallelism_threads(1)
        except RuntimeError as error:
            raise UsageError(
                f"--num_gpus={num_towers} on the CPU: TensorFlow is already running with "
                f"{max(1, len(configured))} logical devices"
            ) from error
    return tuple(f"/device:CPU:{index}" for index in range(num_towers))
