"""Optimizers against a float64 NumPy reference written from the formulas, and against TF1."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from benchmark_cnn.params.training_params import OptimizationParams
from benchmark_cnn.step import optimizers
from common.errors import UsageError

STEPS = 5
SHAPE = (4, 3)
LEARNING_RATES = [0.01, 0.02, 0.005, 0.1, 0.001]
INITIAL = np.random.default_rng(0).uniform(0.5, 1.5, SHAPE).astype(np.float32)
# From 0.001 to 10, so that no weight comes so near to zero that float32's rounding of the terms
# would be large beside it.
GRADIENTS = [
    np.random.default_rng(1 + step).normal(0, 10.0 ** (step - 3), SHAPE).astype(np.float32)
    for step in range(STEPS)
]


def flags(optimizer: str, **changes) -> OptimizationParams:
    return OptimizationParams(optimizer=optimizer, **changes)


def run(optimization, *, decayed: bool = True, initial=INITIAL, gradients=GRADIENTS):
    """Weights after each step, and the slots after the last, of the optimizer under test."""
    optimizer = optimizers.make_optimizer(optimization)
    variable = tf.Variable(initial)
    slots = {name: tf.Variable(tf.fill(SHAPE, fill)) for name, fill in optimizer.slots.items()}

    @tf.function
    def update(gradient, learning_rate, step):
        optimizer.apply(
            variable, gradient, slots, learning_rate=learning_rate, step=step, decayed=decayed
        )

    history = []
    for step, (gradient, rate) in enumerate(zip(gradients, LEARNING_RATES, strict=True)):
        update(tf.constant(gradient), tf.constant(rate), tf.constant(step, tf.int64))
        history.append(variable.numpy())
    return history, {name: slot.numpy() for name, slot in slots.items()}


def exact(number: float) -> np.float64:
    """A hyperparameter as the float32 kernels hold it; from there on all is float64."""
    return np.float64(np.float32(number))


# The references: TF1's update rules, one generator of weights each.


def sgd_reference(_flags):
    w = INITIAL.astype(np.float64)
    for g, lr in zip(GRADIENTS, LEARNING_RATES, strict=True):
        w = w - exact(lr) * g
        yield w, {}


def momentum_reference(flags):
    w, m = INITIAL.astype(np.float64), np.zeros(SHAPE)
    for g, lr in zip(GRADIENTS, LEARNING_RATES, strict=True):
        m = exact(flags.momentum) * m + g
        direction = g + exact(flags.momentum) * m if flags.nesterov else m
        w = w - exact(lr) * direction
        yield w, {"Momentum": m}


def rmsprop_reference(flags):
    decay, momentum = exact(flags.rmsprop_decay), exact(flags.rmsprop_momentum)
    w, s, m = INITIAL.astype(np.float64), np.ones(SHAPE), np.zeros(SHAPE)
    for g, lr in zip(GRADIENTS, LEARNING_RATES, strict=True):
        g = g.astype(np.float64)
        s = decay * s + (1 - decay) * g**2
        m = momentum * m + exact(lr) * g / np.sqrt(s + exact(flags.rmsprop_epsilon))
        w = w - m
        yield w, {"RMSProp": s, "RMSProp_1": m}


def adam_reference(flags):
    beta1, beta2 = exact(flags.adam_beta1), exact(flags.adam_beta2)
    w, m, v = INITIAL.astype(np.float64), np.zeros(SHAPE), np.zeros(SHAPE)
    for step, (g, lr) in enumerate(zip(GRADIENTS, LEARNING_RATES, strict=True)):
        g, t = g.astype(np.float64), step + 1
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        rate = exact(lr) * np.sqrt(1 - flags.adam_beta2**t) / (1 - flags.adam_beta1**t)
        w = w - rate * m / (np.sqrt(v) + exact(flags.adam_epsilon))
        yield w, {"Adam": m, "Adam_1": v}


def lars_reference(flags, decayed=True):
    w, m = INITIAL.astype(np.float64), np.zeros(SHAPE)
    for g, lr in zip(GRADIENTS, LEARNING_RATES, strict=True):
        g, trust = g.astype(np.float64), 1.0
        if decayed:
            weight_norm, gradient_norm = np.sqrt((w**2).sum()), np.sqrt((g**2).sum())
            trust = flags.lars_eeta * weight_norm
            trust /= gradient_norm + flags.decay * weight_norm + flags.lars_epsilon
            g = g + flags.decay * w
        m = exact(flags.momentum) * m + exact(lr) * trust * g
        w = w - m
        yield w, {"LARSOptimizer": m}


CASES = {
    "sgd": (flags("sgd"), sgd_reference),
    "momentum": (flags("momentum", nesterov=False), momentum_reference),
    "nesterov": (flags("momentum", nesterov=True), momentum_reference),
    "rmsprop": (flags("rmsprop"), rmsprop_reference),
    "rmsprop-efficientnet": (flags("rmsprop", rmsprop_epsilon=0.001), rmsprop_reference),
    "rmsprop-mobilenet": (
        flags("rmsprop", rmsprop_decay=0.8, rmsprop_momentum=0.0),
        rmsprop_reference,
    ),
    "adam": (flags("adam"), adam_reference),
    "adam-epsilon": (flags("adam", adam_epsilon=0.1, adam_beta2=0.9), adam_reference),
    "lars": (flags("lars"), lars_reference),
    "lars-epsilon": (flags("lars", lars_epsilon=0.5, weight_decay=0.01), lars_reference),
}


@pytest.mark.parametrize("case", CASES)
def test_five_steps_equal_numpy(case):
    optimization, reference = CASES[case]
    weights, slots = run(optimization)
    expected = list(reference(optimization))
    for got, (want, _) in zip(weights, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)
    assert slots.keys() == expected[-1][1].keys()
    for name, want in expected[-1][1].items():
        np.testing.assert_allclose(slots[name], want, rtol=1e-6)


def tf1_optimizer(case: str, learning_rate):
    train = tf.compat.v1.train
    f = CASES[case][0]
    if f.optimizer == "sgd":
        return train.GradientDescentOptimizer(learning_rate)
    if f.optimizer == "momentum":
        return train.MomentumOptimizer(learning_rate, f.momentum, use_nesterov=f.nesterov)
    if f.optimizer == "rmsprop":
        return train.RMSPropOptimizer(
            learning_rate, f.rmsprop_decay, f.rmsprop_momentum, f.rmsprop_epsilon
        )
    return train.AdamOptimizer(learning_rate, f.adam_beta1, f.adam_beta2, f.adam_epsilon)


@pytest.mark.parametrize("case", [case for case in CASES if not case.startswith("lars")])
def test_equals_tf1_and_its_slot_names(case):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variable = tf.compat.v1.get_variable("w", initializer=INITIAL, use_resource=True)
        rate = tf.compat.v1.placeholder(tf.float32, [])
        gradient = tf.compat.v1.placeholder(tf.float32, SHAPE)
        train = tf1_optimizer(case, rate).apply_gradients([(gradient, variable)])
        session.run(tf.compat.v1.global_variables_initializer())
        tf1_weights = []
        for g, lr in zip(GRADIENTS, LEARNING_RATES, strict=True):
            session.run(train, {gradient: g, rate: lr})
            tf1_weights.append(session.run(variable))
        tf1_slots = {
            v.op.name.removeprefix("w/"): session.run(v)
            for v in tf.compat.v1.global_variables()
            if v.op.name.startswith("w/")
        }

    weights, slots = run(CASES[case][0])
    for got, want in zip(weights, tf1_weights, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)
    assert slots.keys() == tf1_slots.keys()
    for name, want in tf1_slots.items():
        np.testing.assert_allclose(slots[name], want, rtol=1e-6)


def test_lars_gives_plain_momentum_to_variables_that_do_not_decay():
    optimization = flags("lars")
    weights, _ = run(optimization, decayed=False)
    for got, (want, _) in zip(weights, lars_reference(optimization, decayed=False), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)


def test_lars_moves_zero_weights_at_the_full_rate():
    zeros = np.zeros(SHAPE, np.float32)
    weights, _ = run(flags("lars", weight_decay=0.1), initial=zeros)
    np.testing.assert_allclose(weights[0], -np.float32(LEARNING_RATES[0]) * GRADIENTS[0], rtol=1e-6)


def test_lars_decays_at_the_full_rate_where_the_gradient_is_zero():
    nothing = [np.zeros(SHAPE, np.float32)] * STEPS
    weights, _ = run(flags("lars", weight_decay=0.1), gradients=nothing)
    np.testing.assert_allclose(weights[0], INITIAL * (1 - LEARNING_RATES[0] * 0.1), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "slots", "includes_weight_decay"),
    [
        ("sgd", {}, False),
        ("momentum", {"Momentum": 0.0}, False),
        ("rmsprop", {"RMSProp": 1.0, "RMSProp_1": 0.0}, False),
        ("adam", {"Adam": 0.0, "Adam_1": 0.0}, False),
        ("lars", {"LARSOptimizer": 0.0}, True),
    ],
)
def test_slots_and_who_decays(name, slots, includes_weight_decay):
    optimizer = optimizers.make_optimizer(flags(name))
    assert dict(optimizer.slots) == slots
    assert optimizer.includes_weight_decay is includes_weight_decay


KERNELS = {
    "sgd": "ResourceApplyGradientDescent",
    "momentum": "ResourceApplyMomentum",
    "rmsprop": "ResourceApplyRMSProp",
    "adam": "ResourceApplyAdam",
    "lars": "ResourceApplyMomentum",
}


@pytest.mark.parametrize("name", KERNELS)
def test_a_variable_is_written_by_one_fused_kernel(name):
    optimizer = optimizers.make_optimizer(flags(name))
    variable = tf.Variable(INITIAL)
    slots = {slot: tf.Variable(tf.fill(SHAPE, fill)) for slot, fill in optimizer.slots.items()}

    @tf.function
    def update(gradient, learning_rate, step):
        optimizer.apply(
            variable, gradient, slots, learning_rate=learning_rate, step=step, decayed=True
        )

    graph = update.get_concrete_function(
        tf.TensorSpec(SHAPE), tf.TensorSpec([]), tf.TensorSpec([], tf.int64)
    ).graph
    kinds = [operation.type for operation in graph.get_operations()]
    writes = [kind for kind in kinds if kind.startswith(("ResourceApply", "Assign"))]
    assert writes == [KERNELS[name]]


def test_runs_inside_a_strategy_update():
    """On two towers: every copy of the variable and its slot gets the same update."""
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    optimizer = optimizers.make_optimizer(flags("momentum", nesterov=False))
    with strategy.scope():
        variable = tf.Variable([1.0, 2.0])
        slot = tf.Variable([0.0, 0.0])

    def update(copy, gradient, slot_copy):
        optimizer.apply(
            copy,
            gradient,
            {"Momentum": slot_copy},
            learning_rate=tf.constant(0.5),
            step=tf.constant(0, tf.int64),
            decayed=False,
        )

    @tf.function
    def step():
        strategy.extended.update(variable, update, args=(tf.constant([2.0, 4.0]), slot))

    step()
    step()
    # m: g, then 1.9 g; the weights lose 0.5 * 2.9 * g.
    for copy in strategy.experimental_local_results(variable):
        np.testing.assert_allclose(copy, [1.0 - 2.9, 2.0 - 5.8], rtol=1e-6)
    for copy in strategy.experimental_local_results(slot):
        np.testing.assert_allclose(copy, [3.8, 7.6], rtol=1e-6)


def test_decoupled_decay_shrinks_the_weights_by_rate_times_decay():
    variable = tf.Variable(INITIAL)
    optimizers.decay_decoupled(variable, weight_decay=0.25, learning_rate=tf.constant(0.5))
    np.testing.assert_array_equal(variable, INITIAL * np.float32(1 - 0.125))


def test_an_unknown_optimizer_is_a_usage_error():
    with pytest.raises(UsageError, match="unknown optimizer 'ftrl'"):
        optimizers.make_optimizer(flags("ftrl"))
