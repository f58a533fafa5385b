"""More devices than there are: one line that says how many there are and what to do."""

from __future__ import annotations

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
