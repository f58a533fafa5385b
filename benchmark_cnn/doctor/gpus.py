"""GPUs, the libraries that TensorFlow needs for them, and the towers' all-reduce."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from benchmark_cnn.doctor.finding import MISSING, OK, PROBLEM, Finding
from common import installation, process
from common.errors import RunError
from common.version import installed

_INSTALL = f"run `{installation.GPU_SETUP}`, which installs the CUDA libraries"
# Library, and its directory in NVIDIA's packages. Each has the version in its name that TensorFlow
# 2.21 was built for (CUDA 12, cuDNN 9).
_LIBRARIES = {
    "libcuda.so.1": None,
    "libcudart.so.12": "cuda_runtime",
    "libcublas.so.12": "cublas",
    "libcublasLt.so.12": "cublas",
    "libcufft.so.11": "cufft",
    "libcusolver.so.11": "cusolver",
    "libcusparse.so.12": "cusparse",
    "libnvJitLink.so.12": "nvjitlink",
    "libcupti.so.12": "cuda_cupti",
    "libcudnn.so.9": "cudnn",
    "libnccl.so.2": "nccl",
}


def examine() -> list[Finding]:
    """Examines the driver, each library, and what TensorFlow sees."""
    driver = _driver()
    libraries = {name: _load(name, folder) for name, folder in _LIBRARIES.items()}
    absent = [name for name, version in libraries.items() if version is None]
    found = [
        f"{name}{f' ({version})' if version else ''}"
        for name, version in libraries.items()
        if version is not None
    ]
    has_gpu = bool(driver)
    findings = [
        Finding("GPU", ", ".join(driver) if driver else "no GPU: nvidia-smi names none"),
        Finding(
            "GPU libraries",
            "; ".join(
                [
                    *([f"loaded {', '.join(found)}"] if found else []),
                    *([f"not found: {', '.join(absent)}"] if absent else []),
                ]
            ),
            MISSING if has_gpu and absent else OK,
            _INSTALL if has_gpu and absent else "",
        ),
    ]
    if installed("tensorflow"):
        findings.append(_seen_by_tensorflow(len(driver)))
    return findings


def all_reduce(num_towers: int | None) -> list[Finding]:
    """Averages known tensors over the towers, as a training does before its first step."""
    if not installed("tensorflow"):
        return []
    from benchmark_cnn import training_setup
    from benchmark_cnn.params.validation import make_params

    with process.quiet_startup():
        import tensorflow as tf

        gpus = len(tf.config.list_physical_devices("GPU"))
    number = num_towers or gpus or 2
    kind = "gpu" if gpus >= number else "cpu"
    what = f"over {number} towers on the {kind.upper()}"
    started = time.perf_counter()
    try:
        training_setup.make_manager(make_params(num_gpus=number, device=kind))
    except (RunError, tf.errors.OpError) as error:
        message = str(error).splitlines()[0]
        return [Finding("All-reduce", f"{what} fails: {message}", MISSING, message)]
    seconds = time.perf_counter() - started
    if num_towers and gpus < num_towers and gpus:
        advice = f"--num_gpus={num_towers} is more than the {gpus} GPUs that TensorFlow sees"
        return [Finding("All-reduce", what, PROBLEM, advice)]
    return [Finding("All-reduce", f"right {what}, {seconds:.1f} s with the start")]


def _driver() -> list[str]:
    """Returns a line for each GPU, as NVIDIA's driver sees it."""
    query = "--query-gpu=name,compute_cap,memory.total,driver_version"
    try:
        answer = subprocess.run(
            ["nvidia-smi", query, "--format=csv,noheader"],
            capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return []
    rows = (line.split(", ") for line in answer.stdout.splitlines() if line.count(", ") == 3)
    return [
        f"{name} (compute capability {capability}, {memory}, driver {driver})"
        for name, capability, memory, driver in rows
    ]


def _load(name: str, folder: str | None) -> str | None:
    """Returns the version of a library, "" if it does not say; None if it cannot be loaded."""
    library = None
    for path in [*_packaged(name, folder), name]:
        with contextlib.suppress(OSError):
            library = ctypes.CDLL(str(path), mode=os.RTLD_LAZY)
            break
    if library is None:
        return None
    version = _VERSIONS.get(name.split(".")[0])
    return version(library) if version is not None else ""


def _packaged(name: str, folder: str | None) -> list[Path]:
    """Returns where NVIDIA's Python package has the library; TensorFlow looks there first."""
    spec = importlib.util.find_spec("nvidia") if folder else None
    roots = spec.submodule_search_locations if spec is not None else None
    paths = [Path(root) / str(folder) / "lib" / name for root in roots or ()]
    return [path for path in paths if path.exists()]


def _by_pointer(function: str) -> Callable[[ctypes.CDLL], str]:
    def version(library: ctypes.CDLL) -> str:
        number = ctypes.c_int(0)
        return "" if library[function](ctypes.byref(number)) else str(number.value)

    return version


def _of_cudnn(library: ctypes.CDLL) -> str:
    library.cudnnGetVersion.restype = ctypes.c_size_t
    return str(library.cudnnGetVersion())


_VERSIONS: dict[str, Callable[[ctypes.CDLL], str]] = {
    "libcudart": _by_pointer("cudaRuntimeGetVersion"),
    "libnccl": _by_pointer("ncclGetVersion"),
    "libcudnn": _of_cudnn,
}


def _seen_by_tensorflow(num_gpus: int) -> Finding:
    with process.quiet_startup():
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
    names = []
    for gpu in gpus:
        details = tf.config.experimental.get_device_details(gpu)
        capability = ".".join(map(str, details.get("compute_capability", ())))
        names.append(f"{details.get('device_name', gpu.name)} ({capability})")
    value = f"sees {', '.join(names)}" if names else "sees no GPU: training runs on the CPU"
    if num_gpus and not gpus:
        advice = (
            "the driver names a GPU that TensorFlow cannot use: "
            + ("this TensorFlow has no GPU support; " if not tf.test.is_built_with_cuda() else "")
            + f"{_INSTALL}; look at CUDA_VISIBLE_DEVICES="
            f"{os.environ.get('CUDA_VISIBLE_DEVICES', '')!r}"
        )
        return Finding("TensorFlow", value, MISSING, advice)
    return Finding("TensorFlow", value)
