"""One process has one TensorFlow: every test shares a CPU that is split into eight devices."""

from __future__ import annotations

import os
import pathlib
import signal
import sys

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# Tests run on logical CPU devices. A GPU that TensorFlow sees would take their place, and memory.
if not os.environ.get("BENCHMARK_TEST_GPU"):
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from common import process  # noqa: E402

# Commands turn oneDNN on. Tests, and the commands that they start, compute alike with TensorFlow's
# own choice: with oneDNN a process of thousands of tests came to hold 15 GB on a CPU with AVX2.
_CPU = pathlib.Path("/proc/cpuinfo")
_HAS_ONEDNN = _CPU.exists() and any(
    feature in _CPU.read_text() for feature in ("avx512_vnni", "avx512_bf16", "avx_vnni", "amx_")
)
os.environ.setdefault(process.ONEDNN, str(int(_HAS_ONEDNN)))

NUM_LOGICAL_CPUS = 8

# A shell has what it starts with `&` ignore Ctrl-C, and our commands would do so, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def cache_directory(tmp_path_factory) -> None:
    """Keeps what tests fetch and make out of the user's cache."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def tensorflow_runtime() -> None:
    """Split the CPU before any test touches it; a runtime in use can no longer be split."""
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * NUM_LOGICAL_CPUS
    )
    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.threading.set_inter_op_parallelism_threads(2)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """What a test printed goes between processes as UTF-8, which a name that is no text is not."""
    report = yield
    report.sections = [
        (title, text.encode("utf-8", "backslashreplace").decode())
        for title, text in report.sections
    ]
    return report
