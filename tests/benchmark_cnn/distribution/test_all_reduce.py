"""--all_reduce_spec: what it may say, and that packing changes no bit."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tensorflow as tf

from benchmark_cnn import training_setup
from benchmark_cnn.distribution import variable_mgr
from benchmark_cnn.params import values
from benchmark_cnn.params.validation import make_params
from benchmark_cnn.params.values import AllReduceSpec
from tests.benchmark_cnn.engine import run_steps
from tests.benchmark_cnn.networks import ArrayData, ConvNetwork, random_examples

SHAPES = ([8], [3, 3], [12], [5, 5, 5])  # 32, 36, 48 and 500 bytes in float32


@pytest.mark.parametrize(
    ("spec", "device", "expected"),
    [
        (None, "gpu", AllReduceSpec("nccl", 32 * 2**20)),
        (None, "cpu", AllReduceSpec("pscpu")),
        ("nccl", "gpu", AllReduceSpec("nccl")),
        ("hierarchical_copy:32768", "gpu", AllReduceSpec("hierarchical_copy", 32768)),
        ("pscpu:4M", "cpu", AllReduceSpec("pscpu", 4 * 1024 * 1024)),
        ("psgpu:2k", "gpu", AllReduceSpec("psgpu", 2048)),
        ("nccl:1G", "gpu", AllReduceSpec("nccl", 2**30)),
    ],
)
def test_specs(spec, device, expected):
    assert values.parse_all_reduce_spec(spec, device) == expected


@pytest.mark.parametrize(
    ("spec", "device", "message"),
    [
        ("ncll", "gpu", "names 'ncll', which is not one of nccl, hierarchical_copy, psgpu, pscpu"),
        ("", "gpu", "is not one of"),
        ("nccl", "cpu", "needs GPUs; towers on the CPU use pscpu"),
        ("pscpu:", "cpu", "'' where a number of bytes belongs"),
        ("pscpu:4T", "cpu", "'4T' where a number of bytes belongs"),
        ("pscpu:-1", "cpu", "'-1' where a number of bytes belongs"),
        ("pscpu:0", "cpu", "'0' where a number of bytes belongs"),
        ("pscpu:1.5M", "cpu", "'1.5M' where a number of bytes belongs"),
        # tf_cnn_benchmarks' shards, size ranges and limits have no counterpart.
        ("pscpu#2:32k:xring", "cpu", "is not one of"),
    ],
)
def test_wrong_specs_say_what_is_wrong(spec, device, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        values.parse_all_reduce_spec(spec, device)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("pack_bytes", "groups"),
    [
        (40, [[0], [1], [2], [3]]),
        (68, [[0, 1], [2], [3]]),
        (84, [[0, 1], [2], [3]]),
        (116, [[0, 1, 2], [3]]),
        (616, [[0, 1, 2, 3]]),
        (1, [[0], [1], [2], [3]]),
    ],
)
def test_groups_are_consecutive_and_no_larger_than_asked(pack_bytes, groups):
    assert variable_mgr.pack_groups([32, 36, 48, 500], pack_bytes) == groups


def test_no_tensors_make_no_groups():
    assert variable_mgr.pack_groups([], 40) == []


@pytest.mark.parametrize("pack_bytes", [40, 68, 116, 616])
def test_unpacking_gives_back_what_was_packed(pack_bytes):
    random = np.random.default_rng(0)
    tensors = [tf.constant(random.normal(size=shape), tf.float32) for shape in SHAPES]
    buffers = variable_mgr.pack(tensors, pack_bytes)
    assert all(buffer.shape.rank == 1 for buffer in buffers)
    assert sum(int(tf.size(buffer)) for buffer in buffers) == 8 + 9 + 12 + 125
    for tensor, back in zip(
        tensors, variable_mgr.unpack(buffers, tensors, pack_bytes), strict=True
    ):
        np.testing.assert_array_equal(back, tensor)


@pytest.mark.parametrize("spec", ["pscpu", "pscpu:40", "pscpu:100", "pscpu:1K"])
def test_every_tower_gets_the_mean(spec):
    params = make_params(device="cpu", num_gpus=3, all_reduce_spec=spec)
    _, manager = training_setup.make_manager(params)
    random = np.random.default_rng(1)
    # Multiples of 1/8 below 2^8: their sums and thirds of their sums are the same in any order.
    values = [3 * random.integers(-256, 256, (3, *shape)) / 8 for shape in SHAPES]

    @tf.function
    def means():
        def tower():
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            mine = [tf.gather(tf.constant(v, tf.float32), number) for v in values]
            for tensor, shape in zip(mine, SHAPES, strict=True):
                tensor.set_shape(shape)
            return tuple(manager.aggregate(mine))

        return [manager.local_results(part) for part in manager.run_towers(tower, ())]

    for of_towers, value in zip(means(), values, strict=True):
        assert len(of_towers) == 3
        for mean in of_towers:
            np.testing.assert_array_equal(mean, value.mean(0).astype(np.float32))


def test_packed_training_has_the_bits_of_unpacked_training():
    def train(spec):
        return run_steps(
            lambda: ConvNetwork(batch_norm="tower"),
            ArrayData(*random_examples(24)),
            steps=3,
            global_batch=8,
            num_gpus=2,
            all_reduce_spec=spec,
            gradient_clip=0.5,
        )

    reports, tensors = train("pscpu")
    packed_reports, packed = train("pscpu:200")
    assert [r["total_loss"] for r in packed_reports] == [r["total_loss"] for r in reports]
    for name, value in tensors.items():
        np.testing.assert_array_equal(packed[name], value, err_msg=name)
