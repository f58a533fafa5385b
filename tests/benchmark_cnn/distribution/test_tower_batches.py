"""The batches of one pipeline reach the towers in turn, however many a step takes."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from benchmark_cnn.distribution import variable_mgr
from benchmark_cnn.distribution.batches import distribute, training_batches
from benchmark_cnn.params import values
from preprocessing.synthetic import SyntheticDataset
from tests.benchmark_cnn.engine import run_steps
from tests.benchmark_cnn.networks import ArrayData, ConvNetwork, random_examples

FLAGS = {"optimizer": "momentum", "learning_rate": 0.2, "weight_decay": 0.01}
GLOBAL_BATCH = 40


def manager_of(num_towers, kind, *, shares_memory):
    devices = [f"/device:CPU:{i}" for i in range(num_towers)]
    spec = values.parse_all_reduce_spec(None, "cpu")
    manager = variable_mgr.make(kind, devices, parameter_device="/device:CPU:0", spec=spec)
    assert manager.shares_memory
    manager.shares_memory = shares_memory  # as between GPUs
    return manager


@pytest.mark.parametrize("shares_memory", [True, False], ids=["shared", "fetched"])
@pytest.mark.parametrize("kind", ["replicated", "parameter_server"])
def test_batch_i_goes_to_tower_i_mod_n(kind, shares_memory):
    manager = manager_of(3, kind, shares_memory=shares_memory)
    numbers = tf.data.Dataset.range(1000)
    batches = distribute(manager, tf.data.Dataset.zip((numbers, numbers)))

    @tf.function(autograph=False)
    def in_graph():
        return [manager.local_results(part) for part in next(batches)]

    taken = [[manager.local_results(part) for part in next(batches)]]
    taken += [in_graph(), in_graph()]
    expected = [[[3 * step, 3 * step + 1, 3 * step + 2]] * 2 for step in range(3)]
    np.testing.assert_array_equal(np.array(taken), expected)


@pytest.mark.parametrize(
    ("flags", "shares_memory"),
    [
        ({"num_gpus": 8, "gradient_accumulation_steps": 5}, True),
        ({"num_gpus": 2, "gradient_accumulation_steps": 20}, True),
        ({"num_gpus": 1, "gradient_accumulation_steps": 40, "steps_per_loop": 2}, True),
        ({"num_gpus": 2, "gradient_accumulation_steps": 20, "steps_per_loop": 2}, False),
    ],
)
def test_steps_of_40_batches_are_steps_of_one(flags, shares_memory):
    """TensorFlow refuses more than 32 calls of an iterator's next in one graph."""

    def prepare(run):
        run.manager.shares_memory = shares_memory

    data = ArrayData(*random_examples(3 * GLOBAL_BATCH))
    case = {"steps": 2, "global_batch": GLOBAL_BATCH, **FLAGS}
    _, expected = run_steps(ConvNetwork, data, num_gpus=1, **case)
    _, tensors = run_steps(ConvNetwork, data, prepare=prepare, **case, **flags)
    for name, value in expected.items():
        np.testing.assert_allclose(tensors[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("kind", ["replicated", "parameter_server", "independent"])
def test_synthetic_batches_lie_on_the_devices_of_their_towers(kind):
    """Else every step would copy them there again."""
    manager = manager_of(3, kind, shares_memory=False)
    batches = training_batches(
        manager,
        SyntheticDataset("synthetic", 10, {"train": 100}),
        batch_size=2,
        image_size=8,
        seed=1,
    )
    for part in next(batches):
        devices = [tensor.device for tensor in manager.local_results(part)]
        assert [device[-5:] for device in devices] == ["CPU:0", "CPU:1", "CPU:2"]


def test_two_batches_wait_on_each_gpu(monkeypatch):
    manager, given = manager_of(2, "replicated", shares_memory=False), []
    make = manager.strategy.distribute_datasets_from_function

    def recorded(function, options):
        given.append(options)
        return make(function, options)

    monkeypatch.setattr(manager.strategy, "distribute_datasets_from_function", recorded)
    next(distribute(manager, tf.data.Dataset.range(10)))
    assert [options.experimental_fetch_to_device for options in given] == [True]
    assert [options.experimental_per_replica_buffer_size for options in given] == [2]
