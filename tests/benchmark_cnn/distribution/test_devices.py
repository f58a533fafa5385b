"""More devices than there are: one line that says how many there are and what to do."""

from __future__ import annotations

import os

import pytest
import tensorflow as tf

from benchmark_cnn.distribution import devices
from benchmark_cnn.params.validation import make_params
from common.errors import UsageError

NO_GPU = pytest.mark.skipif(
    bool(tf.config.list_physical_devices("GPU")), reason="this machine has a GPU"
)


def gpus(count):
    return [tf.config.PhysicalDevice(f"/physical_device:GPU:{i}", "GPU") for i in range(count)]


def problem(prepare, *args):
    with pytest.raises(UsageError) as error:
        prepare(*args)
    assert error.value.exit_code == 2
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_cpu_has_a_logical_device_for_each_tower():
    found = devices.prepare(make_params(device="cpu", num_gpus=3).hardware)
    assert found.kind == "cpu"
    assert found.towers == ("/device:CPU:0", "/device:CPU:1", "/device:CPU:2")
    assert found.parameter_device == "/device:CPU:0"


def test_more_towers_than_a_running_tensorflow_has_cpu_devices():
    tf.zeros([]).numpy()  # TensorFlow runs
    message = problem(devices.prepare, make_params(device="cpu", num_gpus=9).hardware)
    assert "--num_gpus=9 on the CPU" in message
    assert "8 logical devices" in message


@NO_GPU
def test_a_gpu_where_there_is_none():
    message = problem(devices.prepare, make_params(device="gpu").hardware)
    assert "--device=gpu: TensorFlow sees no GPU" in message
    assert "--device=cpu" in message


@NO_GPU
def test_auto_is_the_cpu_where_there_is_no_gpu():
    assert devices.prepare(make_params(num_gpus=2).hardware).kind == "cpu"


def test_more_gpus_than_there_are():
    hardware = make_params(device="gpu", num_gpus=4).hardware
    message = problem(devices._prepare_gpus, hardware, gpus(2))
    assert "--num_gpus=4 needs GPU 3, but TensorFlow sees 2" in message
    assert "CUDA_VISIBLE_DEVICES" in message


def test_a_gpu_index_that_is_not_there():
    hardware = make_params(device="gpu", num_gpus=2, gpu_indices="0,5").hardware
    message = problem(devices._prepare_gpus, hardware, gpus(4))
    assert "needs GPU 5, but TensorFlow sees 4" in message


def test_only_the_gpus_of_the_towers_are_opened_and_towers_keep_the_users_order(monkeypatch):
    opened, grown = [], []
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda *args: opened.append(args))
    monkeypatch.setattr(
        tf.config.experimental, "set_memory_growth", lambda gpu, on: grown.append((gpu.name, on))
    )
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: {})
    for name in devices._GPU_ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TF_GPU_THREAD_COUNT", "5")
    rounds = []
    monkeypatch.setattr(tf.config.experimental, "enable_tensor_float_32_execution", rounds.append)
    hardware = make_params(device="gpu", num_gpus=3, gpu_indices="6,1,3", tf32=False).hardware
    # TensorFlow numbers what is visible, 1, 3 and 6, from 0.
    expected = ("/device:GPU:2", "/device:GPU:0", "/device:GPU:1")
    assert devices._prepare_gpus(hardware, gpus(8)) == expected
    names = [f"/physical_device:GPU:{index}" for index in (1, 3, 6)]
    [(visible, kind)] = opened
    assert ([gpu.name for gpu in visible], kind) == (names, "GPU")
    assert grown == [(name, True) for name in names]
    assert rounds == [False]
    assert os.environ["TF_USE_CUDNN_BATCHNORM_SPATIAL_PERSISTENT"] == "1"
    assert os.environ["TF_GPU_THREAD_COUNT"] == "5"


def test_a_tensorflow_that_runs_cannot_open_other_gpus(monkeypatch):
    def fail(*_):
        raise RuntimeError("Visible devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "set_visible_devices", fail)
    for name in devices._GPU_ENVIRONMENT:
        monkeypatch.setenv(name, "1")
    message = problem(devices._prepare_gpus, make_params(device="gpu").hardware, gpus(2))
    assert "already running" in message


@pytest.mark.parametrize(("capability", "says"), [((8, 9), False), ((9, 0), True)])
def test_a_gpu_without_compiled_kernels_is_announced(
    monkeypatch, caplog, tmp_path, capability, says
):
    monkeypatch.setenv("CUDA_CACHE_PATH", str(tmp_path))
    details = {"compute_capability": capability}
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details)
    devices._announce_compilation(gpus(1)[0])
    assert ("half an hour" in caplog.text) == says
    caplog.clear()
    (tmp_path / "0").mkdir()
    devices._announce_compilation(gpus(1)[0])
    assert not caplog.text


@pytest.mark.parametrize(
    ("dtype", "kind", "info", "warned"),
    [
        ("bfloat16", "cpu", "flags\t\t: fpu avx2\nbugs\t: sysret\n", True),
        ("float16", "cpu", "flags\t\t: fpu avx512_bf16\n", True),
        ("bfloat16", "cpu", "flags\t\t: fpu avx512_bf16\n", False),
        ("bfloat16", "cpu", "Features\t: fp asimd bf16\n", False),
        ("float32", "cpu", "flags\t\t: fpu\n", False),
        ("bfloat16", "gpu", "flags\t\t: fpu\n", False),
        ("bfloat16", "cpu", "processor\t: 0\n", False),
    ],
)
def test_an_emulated_precision_is_warned_of(
    caplog, tmp_path, monkeypatch, dtype, kind, info, warned
):
    """Ten times slower was measured; where the kernel names no instructions, nothing is said."""
    file = tmp_path / "cpuinfo"
    file.write_text(info)
    monkeypatch.setattr(devices, "_CPU_INFO", file)
    devices.warn_of_emulation(dtype, kind)
    assert (f"no instructions for --dtype={dtype}" in caplog.text) == warned
