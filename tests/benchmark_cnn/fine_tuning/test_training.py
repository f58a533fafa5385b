"""Training with frozen variables and with rates by depth, on networks of known arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from tensorflow.python.eager import context

from benchmark_cnn import training
from benchmark_cnn.params.validation import make_params
from benchmark_cnn.reporting import console, metrics_log
from checkpoints import store
from common.errors import DataError, Stopped
from tests.benchmark_cnn import test_resume
from tests.benchmark_cnn.distribution import test_workers_equal_one
from tests.benchmark_cnn.distribution.test_towers_equal_one import assert_same_run
from tests.benchmark_cnn.engine import EVERYTHING, run_steps
from tests.benchmark_cnn.networks import (
    ArrayData,
    ConvNetwork,
    ProductNetwork,
    Spec,
    random_examples,
)

BACKBONE = {"conv1/kernel", "conv2/kernel", "bn/gamma", "bn/beta"}
BACKBONE |= {"bn/moving_mean", "bn/moving_variance"}


def network():
    return ConvNetwork(batch_norm="tower")


def initial():
    return {name: variable.numpy() for name, variable in network().variables.items()}


def examples(count=16):
    return ArrayData(*random_examples(count))


def test_a_classifier_on_a_frozen_backbone_is_softmax_regression():
    """NumPy's momentum, decay and averages, on the features that inference computes."""
    rate, decay, momentum, average_decay, batch, steps = 0.5, 0.01, 0.9, 0.8, 16, 4
    data = examples(batch)
    reports, tensors = run_steps(
        network, data, steps=steps, global_batch=batch, freeze="backbone", learning_rate=rate,
        momentum=momentum, nesterov=False, weight_decay=decay, moving_average_decay=average_decay,
        gradient_clip=1e6,
    )  # fmt: skip
    start = initial()
    assert all(np.array_equal(tensors[name], start[name]) for name in BACKBONE)
    with_state = {name for name in tensors if name.endswith(("/Momentum", "Average"))}
    assert {name.rsplit("/", 1)[0] for name in with_state} == {"dense/kernel", "dense/bias"}

    features = penultimate(data.images)
    weights = {"kernel": start["dense/kernel"], "bias": start["dense/bias"]}
    slots = {name: np.zeros_like(value) for name, value in weights.items()}
    averages = dict(weights)
    for step in range(steps):
        logits = features @ weights["kernel"] + weights["bias"]
        exponentials = np.exp(logits - logits.max(1, keepdims=True))
        probabilities = exponentials / exponentials.sum(1, keepdims=True)
        cross_entropy = -np.log(probabilities[np.arange(batch), data.labels]).mean()
        error = (probabilities - np.eye(5)[data.labels]) / batch
        gradients = {
            "kernel": features.T @ error + decay * weights["kernel"],
            "bias": error.sum(0),
        }
        norm = np.sqrt(sum((gradient**2).sum() for gradient in gradients.values()))
        penalty = decay * (weights["kernel"] ** 2).sum() / 2
        expected = {
            "cross_entropy": cross_entropy,
            "weight_decay": penalty,
            "gradient_norm": norm,
        }
        for name, value in expected.items():
            np.testing.assert_allclose(reports[step][name], value, rtol=1e-4, err_msg=name)
        keep = min(average_decay, (2 + step) / (11 + step))
        for name, gradient in gradients.items():
            slots[name] = momentum * slots[name] + gradient
            weights[name] = weights[name] - rate * slots[name]
            averages[name] = keep * averages[name] + (1 - keep) * weights[name]
    for name in weights:
        np.testing.assert_allclose(tensors[f"dense/{name}"], weights[name], rtol=1e-4, atol=1e-5)
        average = tensors[f"dense/{name}/ExponentialMovingAverage"]
        np.testing.assert_allclose(average, averages[name], rtol=1e-4, atol=1e-5)


def penultimate(images):
    """Features of the network at its start: its logits, with the dense layer as the identity."""
    probe = network()
    probe.variables["dense/kernel"] = np.eye(6, dtype=np.float32)
    probe.variables["dense/bias"] = np.zeros(6, np.float32)
    return probe(images, training=False).logits.numpy()


@pytest.fixture(scope="module")
def of_one_tower():
    """The runs of one tower: flags -> its reports and tensors, made when first asked for."""
    runs = {}

    def run(pattern):
        if pattern not in runs:
            flags = {**EVERYTHING, "freeze": pattern}
            runs[pattern] = run_steps(network, examples(), steps=4, global_batch=16, **flags)
        return runs[pattern]

    return run


# Batch norm is frozen: each tower normalizes its share with the same moving statistics.
@pytest.mark.parametrize(
    ("mode", "pattern"),
    [
        ({"num_gpus": 2}, "conv1|bn"),
        ({"num_gpus": 2, "all_reduce_spec": "pscpu:200"}, "backbone"),
        ({"num_gpus": 2, "variable_update": "parameter_server"}, "conv1|bn"),
        pytest.param({"num_gpus": 2, "xla": "towers"}, "conv1|bn", marks=pytest.mark.slow),
        pytest.param({"num_gpus": 4, "steps_per_loop": 2}, "backbone", marks=pytest.mark.slow),
    ],
)
def test_towers_equal_one(of_one_tower, mode, pattern):
    flags = {**EVERYTHING, "freeze": pattern, **mode}
    got = run_steps(network, examples(), steps=4, global_batch=16, **flags)
    assert_same_run(got, of_one_tower(pattern), mode.get("steps_per_loop", 1))
    frozen = BACKBONE if pattern == "backbone" else BACKBONE - {"conv2/kernel"}
    assert all(np.array_equal(got[1][name], initial()[name]) for name in frozen)
    assert not np.allclose(got[1]["dense/kernel"], initial()["dense/kernel"])


@pytest.mark.parametrize(
    ("pattern", "kernels", "inputs"),
    [(None, 2, 1), ("conv1|bn", 1, 0), ("backbone", 0, 0)],
)
def test_there_is_no_backward_pass_below_the_lowest_trained_layer(pattern, kernels, inputs):
    runtime = context.context()
    runtime.enable_graph_collection()
    try:
        run_steps(network, examples(), steps=1, global_batch=16, freeze=pattern)
        graphs = runtime.export_run_metadata().function_graphs
    finally:
        runtime.disable_graph_collection()
    nodes = max((graph.post_optimization_graph.node for graph in graphs), key=len)
    operations = [node.op for node in nodes]
    assert operations.count("Conv2DBackpropFilter") == kernels
    assert operations.count("Conv2DBackpropInput") == inputs
    assert operations.count("Relu6Grad") == kernels
    updates = [op for op in operations if op == "ResourceApplyMomentum"]
    assert len(updates) == {None: 6, "conv1|bn": 3, "backbone": 2}[pattern]


RATE, MULTIPLIER, DECAY, CHANGE, STEPS = 0.01, 0.3, 0.02, 2, 6


def product_run(directory, **flags):
    """Trains A * B of ProductNetwork; A is the backbone, frozen for the first CHANGE steps."""
    images = np.arange(1, 17, dtype=np.float32).reshape(16, 1, 1, 1) / 8
    params = make_params(
        device="cpu", batch_size=4, train_dir=str(directory), num_batches=STEPS,
        learning_rate=RATE, freeze_epochs=CHANGE / 4, weight_decay=DECAY,
        moving_average_decay=0.7, backbone_learning_rate_multiplier=MULTIPLIER, **flags,
    )  # fmt: skip
    data = ArrayData(images, np.zeros(16))
    with console.routed_through(lambda line: None):
        training.train(params, Spec(ProductNetwork), data, loss=ProductNetwork.loss)
    return store.read(directory), images.reshape(4, 4).mean(1)


def momentum(slots, gradient, rate, _, __, ___):
    slots["m"] = 0.9 * slots.get("m", 0.0) + gradient
    return rate * slots["m"]


def rmsprop(slots, gradient, rate, _, __, ___):
    slots["s"] = 0.9 * slots.get("s", 1.0) + 0.1 * gradient**2
    slots["m"] = 0.9 * slots.get("m", 0.0) + rate * gradient / np.sqrt(slots["s"] + 1.0)
    return slots["m"]


def adam(slots, gradient, rate, updates, __, ___):
    slots["m"] = 0.9 * slots.get("m", 0.0) + 0.1 * gradient
    slots["v"] = 0.999 * slots.get("v", 0.0) + 0.001 * gradient**2
    correction = np.sqrt(1 - 0.999 ** (updates + 1)) / (1 - 0.9 ** (updates + 1))
    return rate * correction * slots["m"] / (np.sqrt(slots["v"]) + 1e-8)


def lars(slots, gradient, rate, _, weight, decay):
    trust = 0.001 * abs(weight) / (abs(gradient) + decay * abs(weight))
    slots["m"] = 0.9 * slots.get("m", 0.0) + rate * trust * (gradient + decay * weight)
    return slots["m"]


REMAINING = [(momentum, False), (rmsprop, False), (rmsprop, True), (adam, True)]


@pytest.mark.parametrize(
    ("optimizer", "decoupled"),
    [
        (adam, False),
        (lars, False),
        (momentum, True),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in REMAINING),
    ],
)
def test_rates_and_the_change_equal_numpy(tmp_path, optimizer, decoupled):
    """A begins at the change as it would at step 0: slots, Adam's correction, average."""
    flags = {"nesterov": False} if optimizer is momentum else {}
    flags |= {"decoupled_weight_decay": True} if decoupled else {}
    tensors, inputs = product_run(tmp_path, optimizer=optimizer.__name__, **flags)
    weights, rates = {"A": 1.0, "B": 2.0}, {"A": RATE * MULTIPLIER, "B": RATE}
    averages, slots = dict(weights), {"A": {}, "B": {}}
    for step in range(STEPS):
        x = inputs[step % 4]
        gradients = {"A": x * weights["B"], "B": x * weights["A"]}
        before = dict(weights)
        for name in ("A", "B"):
            updates = step - (CHANGE if name == "A" else 0)
            if updates < 0:
                continue
            gradient, weight, rate = gradients[name], before[name], rates[name]
            if decoupled:
                weights[name] -= rate * DECAY * weight
            elif optimizer is not lars:
                gradient += DECAY * weight
            weights[name] -= optimizer(slots[name], gradient, rate, updates, weight, DECAY)
            keep = min(0.7, (2 + updates) / (11 + updates))
            averages[name] = keep * averages[name] + (1 - keep) * weights[name]
    for name in weights:
        np.testing.assert_allclose(tensors[name], weights[name], rtol=2e-6)
        average = tensors[f"{name}/ExponentialMovingAverage"]
        np.testing.assert_allclose(average, averages[name], rtol=2e-6)


def test_layer_decay_scales_the_step_of_each_group():
    """One step of gradient descent: the way of a group is D^n times what it was."""
    flags = {"steps": 1, "global_batch": 16, "optimizer": "sgd", "learning_rate": 0.1}
    start = initial()
    _, plain = run_steps(network, examples(), **flags)
    _, decayed = run_steps(network, examples(), layer_decay=0.5, **flags)
    rates = {"conv1/kernel": 0.25, "bn/beta": 0.25, "conv2/kernel": 0.5, "dense/bias": 1.0}
    for name, rate in rates.items():
        way = plain[name] - start[name]
        assert np.abs(way).max() > 1e-4
        got = decayed[name] - start[name]
        np.testing.assert_allclose(got, rate * way, rtol=1e-3, atol=1e-7, err_msg=name)


HEAD_FIRST = {"freeze_epochs": 1.0, "num_gpus": 2, "optimizer": "adam", "gradient_clip": 0.5}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    directory = tmp_path_factory.mktemp("head_first")
    test_resume.train(directory, **HEAD_FIRST)
    return directory


def test_the_head_trains_first(unbroken, tmp_path):
    with pytest.raises(Stopped):
        test_resume.train(tmp_path, on_line=test_resume.stop_at("5\timages/sec"), **HEAD_FIRST)
    at_change, end, start = store.read(tmp_path), store.read(unbroken), initial()
    assert at_change["global_step"] == 5
    for name in BACKBONE:
        assert np.array_equal(at_change[name], start[name])
        assert np.array_equal(at_change[f"{name}/ExponentialMovingAverage"], start[name])
        assert not np.array_equal(end[name], start[name])
    assert not np.any(at_change["conv1/kernel/Adam"])
    assert np.any(end["conv1/kernel/Adam"])
    test_resume.train(tmp_path, **HEAD_FIRST)
    test_resume.assert_same_end(tmp_path, unbroken)


@pytest.mark.parametrize("step", [3, 7])
@pytest.mark.slow
def test_resumed_before_and_after_the_change_equals_unbroken(unbroken, tmp_path, step):
    stop = test_resume.stop_at(f"{step}\timages/sec")
    with pytest.raises(Stopped, match=f"at step {step} of 12"):
        test_resume.train(tmp_path, on_line=stop, **HEAD_FIRST)
    test_resume.train(tmp_path, **HEAD_FIRST)
    test_resume.assert_same_end(tmp_path, unbroken)


@pytest.mark.slow
def test_calls_of_several_steps_end_at_the_change(unbroken, tmp_path):
    """The change is at step 5, where an evaluation is due; calls end at 4, 5, 6, 8 and so on."""
    flags = {**HEAD_FIRST, "steps_per_loop": 2, "display_every": 2, "save_model_steps": 4}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    test_resume.train(whole, **flags)
    tensors, wanted = store.read(whole), store.read(unbroken)
    for name, value in wanted.items():
        np.testing.assert_allclose(tensors[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    rows = metrics_log.read_rows(whole / "metrics.csv")
    assert [row["global_step"] for row in rows if "eval_loss" in row] == [5, 10, 12]
    with pytest.raises(Stopped, match="at step 6 of 12"):
        test_resume.train(broken, on_line=test_resume.stop_at("6\timages/sec"), **flags)
    test_resume.train(broken, **flags)
    test_resume.assert_same_end(broken, whole)


def test_a_run_does_not_change_what_it_freezes(tmp_path):
    """Slots would be missing, or lost: both are said in a line with the flags."""
    frozen = {"freeze": "conv1|bn", "num_batches": 2, "eval_every_epochs": None}
    test_resume.train(tmp_path, **frozen)
    longer = {**frozen, "num_batches": 3}
    with pytest.raises(DataError, match="and the --freeze it was trained with"):
        test_resume.train(tmp_path, **{**longer, "freeze": None})
    with pytest.raises(DataError, match=r"give --freeze=conv1\|bn --freeze_epochs=None as before"):
        test_resume.train(tmp_path, **{**longer, "freeze": "backbone"})


@pytest.mark.slow
@pytest.mark.parametrize("flags", [{"freeze_epochs": 1.0}, {"freeze": "conv1|bn"}])
def test_workers_equal_towers(tmp_path, flags):
    workers = test_workers_equal_one
    workers.run_cluster(tmp_path, workers=2, num_gpus=1, **flags)
    workers.train_alone(tmp_path / "alone", num_gpus=2, **flags)
    workers.assert_same_run(tmp_path / "0", tmp_path / "alone")
    if "freeze" in flags:
        tensors = store.read(tmp_path / "0")
        assert np.array_equal(tensors["conv1/kernel"], initial()["conv1/kernel"])
