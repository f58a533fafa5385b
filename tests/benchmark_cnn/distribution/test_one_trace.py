"""What all towers call is traced once, and works on each tower's own variables."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from benchmark_cnn import training_setup
from benchmark_cnn.distribution.one_trace import OneTrace
from benchmark_cnn.params.validation import make_params
from tests.benchmark_cnn.engine import EVERYTHING, run_steps
from tests.benchmark_cnn.networks import ArrayData, ConvNetwork, random_examples

TOWERS = 4


@pytest.fixture(params=[True, False], ids=["inlined", "called"])
def inlined(request):
    return request.param


@pytest.fixture
def manager():
    return training_setup.make_manager(make_params(device="cpu", num_gpus=TOWERS))[1]


@pytest.fixture
def weight(manager):
    """A variable that is 1, 10, 100 and 1000 on the four towers."""
    with manager.scope():
        variable = tf.Variable(0.0)
    for tower, copy in enumerate(manager.local_results(variable)):
        copy.assign(10.0**tower)
    return variable


def run(manager, function):
    """Calls `function` with (number of the tower, its number as a tensor) in a graph."""

    def tower():
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        return function(int(tf.get_static_value(number)), tf.cast(number, tf.float32))

    graph = tf.function(lambda: manager.run_towers(tower, ()), autograph=False)
    return [float(value) for value in manager.local_results(graph())]


def test_towers_read_and_update_their_own_copies(manager, weight, inlined):
    calls = []

    def function(number):
        calls.append(number)
        before = weight.read_value()
        manager.local_results(weight)[0].assign_add(number)
        return before * 2.0

    traced = OneTrace(manager, function, [weight], inlined=inlined)
    assert run(manager, traced) == [2.0, 20.0, 200.0, 2000.0]
    assert [float(copy) for copy in manager.local_results(weight)] == [1.0, 11.0, 102.0, 1003.0]
    # A second graph, as that of several steps, takes the same trace.
    assert run(manager, traced) == [2.0, 22.0, 204.0, 2006.0]
    assert len(calls) == 1


def test_towers_that_exchange_values_are_traced_one_by_one(manager, weight, inlined):
    calls = []

    def function(number):
        calls.append(number)
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.SUM, number * weight)

    traced = OneTrace(manager, function, [weight], inlined=inlined)
    assert run(manager, traced) == [3210.0] * TOWERS
    assert len(calls) == TOWERS + 1  # the first attempt of tower 0 fails


def test_a_variable_of_other_copies_than_those_named_is_each_towers_own(manager, weight, inlined):
    traced = OneTrace(manager, lambda number: weight + number, [], inlined=inlined)
    assert run(manager, traced) == [1.0, 11.0, 102.0, 1003.0]


def test_an_error_of_the_function_is_its_own(manager, weight, inlined):
    def function(number):
        raise RuntimeError("no such layer")

    with pytest.raises(RuntimeError, match="no such layer"):
        run(manager, OneTrace(manager, function, [weight], inlined=inlined))


@pytest.mark.parametrize("flags", [{}, {"steps_per_loop": 2}], ids=["single", "several"])
def test_a_step_runs_the_network_in_python_once(flags):
    calls = []

    class Counting(ConvNetwork):
        def __call__(self, images, **options):
            calls.append(images)
            return super().__call__(images, **options)

    data = ArrayData(*random_examples(16))
    options = {**EVERYTHING, **flags, "gradient_accumulation_steps": 1}
    _, tensors = run_steps(Counting, data, steps=2, global_batch=8, num_gpus=TOWERS, **options)
    assert len(calls) == 1
    assert all(np.isfinite(tensor).all() for tensor in tensors.values())
