"""AdamW, LAMB and Lion in whole steps, against NumPy in float64 by their papers, and Keras 3."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from benchmark_cnn.params.training_params import OptimizationParams
from benchmark_cnn.params.validation import make_params
from benchmark_cnn.run import default_rate, make_plan
from benchmark_cnn.step import optimizers
from tests.benchmark_cnn.engine import run_steps
from tests.benchmark_cnn.networks import ArrayData, ConvNetwork, Output, Spec

STEPS = 10
# Several sizes, and one element whose gradient is always zero.
SIZES = 10.0 ** np.array([-4, -1, 1, -3, 0, 2, -2, 0, 1, -1])
RANDOM = np.random.default_rng(0)
INITIAL = {
    "kernel": RANDOM.uniform(0.5, 1.5, 6).astype(np.float32),
    "bias": RANDOM.uniform(0.5, 1.5, 2).astype(np.float32),
}
GRADIENTS = (RANDOM.normal(0, 1, (STEPS, 8)) * SIZES[:, None]).astype(np.float32)
GRADIENTS[:, 3] = 0


class LinearNetwork:
    """The gradients of kernel and bias are the mean of the images, whatever the weights are."""

    name = "linear"
    background_class = False
    trainable = ("kernel", "bias")
    decayed = frozenset({"kernel"})

    def __init__(self):
        self.variables = {name: tf.Variable(value) for name, value in INITIAL.items()}

    def __call__(self, images, *, training, seed=None, frozen=frozenset()):
        weights = tf.concat([self.variables[name] for name in self.trainable], 0)
        return Output(tf.reshape(images, [-1, 8]) * weights, None, {})

    @staticmethod
    def loss(output, labels):
        return tf.reduce_mean(tf.reduce_sum(output.logits, axis=1)), tf.zeros([])


def run(towers, **flags):
    """The weights and slots after ten steps; each tower sees another gradient than their mean."""
    shares = np.array([0, 0, 2, 2], np.float32)  # exact in any order
    images = (GRADIENTS[:, None] * shares[:, None]).reshape(-1, 1, 1, 8)
    reports, tensors = run_steps(
        LinearNetwork,
        ArrayData(images, np.zeros(len(images))),
        steps=STEPS,
        global_batch=4,
        loss_function=LinearNetwork.loss,
        num_gpus=towers,
        learning_rate_schedule="cosine",
        num_batches=STEPS,
        **flags,
    )
    assert [report["weight_decay"] for report in reports] == [0] * STEPS
    return [float(report["learning_rate"]) for report in reports], tensors


def exact(number: float) -> np.float64:
    """A hyperparameter as float32 kernels hold it; from there on all is float64."""
    return np.float64(np.float32(number))


def adamw(w, state, g, lr, t, f, decay):
    state["Adam"] = m = exact(f.adam_beta1) * state.get("Adam", 0) + exact(1 - f.adam_beta1) * g
    v = exact(f.adam_beta2) * state.get("Adam_1", 0) + (1 - exact(f.adam_beta2)) * g**2
    state["Adam_1"] = v
    m_hat, v_hat = m / (1 - f.adam_beta1**t), v / (1 - f.adam_beta2**t)
    return w - lr * (m_hat / (np.sqrt(v_hat) + f.adam_epsilon) + decay * w)


def lamb(w, state, g, lr, t, f, decay):
    m = f.adam_beta1 * state.get("LAMB", 0) + (1 - f.adam_beta1) * g
    v = f.adam_beta2 * state.get("LAMB_1", 0) + exact(1 - f.adam_beta2) * g**2
    state.update({"LAMB": m, "LAMB_1": v})
    r = m / (1 - f.adam_beta1**t)
    r = r / (np.sqrt(v / (1 - f.adam_beta2**t)) + f.lamb_epsilon)
    if not decay:
        return w - lr * r
    u = r + decay * w
    return w - lr * np.linalg.norm(w) / np.linalg.norm(u) * u


def lion(w, state, g, lr, t, f, decay):
    m = state.get("Lion", 0)
    direction = np.sign(f.lion_beta1 * m + (1 - f.lion_beta1) * g)
    state["Lion"] = f.lion_beta2 * m + (1 - f.lion_beta2) * g
    return w - lr * (direction + decay * w)


PAPERS = {
    "adamw": (adamw, {"optimizer": "adamw", "learning_rate": 0.02}),
    "adamw-flags": (
        adamw,
        {
            "optimizer": "adamw", "learning_rate": 0.05, "weight_decay": 0.3, "adam_beta1": 0.8,
            "adam_beta2": 0.95, "adam_epsilon": 0.1,
        },
    ),
    "lamb": (lamb, {"optimizer": "lamb", "learning_rate": 0.02}),
    "lamb-flags": (
        lamb,
        {
            "optimizer": "lamb", "learning_rate": 0.05, "weight_decay": 0.3, "adam_beta1": 0.8,
            "adam_beta2": 0.95, "lamb_epsilon": 0.1,
        },
    ),
    "lion": (lion, {"optimizer": "lion", "learning_rate": 0.005}),
    "lion-flags": (
        lion,
        {
            "optimizer": "lion", "learning_rate": 0.01, "weight_decay": 0.3, "lion_beta1": 0.8,
            "lion_beta2": 0.95,
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("towers", [1, 2])
@pytest.mark.parametrize("case", PAPERS)
def test_ten_steps_equal_the_paper(case, towers):
    rule, flags = PAPERS[case]
    rates, tensors = run(towers, **flags)
    optimization = make_params(**flags).optimization
    assert optimization.decay == flags.get("weight_decay", 0.01)
    for name, columns in (("kernel", slice(0, 6)), ("bias", slice(6, 8))):
        w, state = INITIAL[name].astype(np.float64), {}
        decay = exact(optimization.decay) if name in LinearNetwork.decayed else 0.0
        for step, lr in enumerate(rates):
            g = GRADIENTS[step, columns].astype(np.float64)
            w = rule(w, state, g, lr, step + 1, optimization, decay)
        np.testing.assert_allclose(tensors[name], w, rtol=1e-6, err_msg=name)
        slots = {key.rpartition("/")[2] for key in tensors if key.startswith(f"{name}/")}
        assert slots == state.keys()
        for slot, value in state.items():
            np.testing.assert_allclose(tensors[f"{name}/{slot}"], value, rtol=1e-6, err_msg=slot)


# Keras' AdamW has epsilon elsewhere, which a tiny one does not show. Its LAMB decays outside
# of the trust ratio, and adapts biases too: without decay, and for kernels, it is the paper's.
KERAS = {
    "adamw": (
        lambda: keras.optimizers.AdamW(1.0, weight_decay=0.3, epsilon=1e-12),
        {"optimizer": "adamw", "weight_decay": 0.3, "adam_epsilon": 1e-12, "learning_rate": 0.02},
        ("kernel",),
    ),
    "adamw-not-decayed": (
        lambda: keras.optimizers.AdamW(1.0, weight_decay=0.0, epsilon=1e-12),
        {"optimizer": "adamw", "adam_epsilon": 1e-12, "learning_rate": 0.02},
        ("bias",),
    ),
    "lamb": (
        lambda: keras.optimizers.Lamb(1.0, epsilon=1e-6),
        {"optimizer": "lamb", "weight_decay": 0.0, "learning_rate": 0.02},
        ("kernel",),
    ),
    "lion": (
        lambda: keras.optimizers.Lion(1.0, weight_decay=0.3),
        {"optimizer": "lion", "weight_decay": 0.3, "learning_rate": 0.005},
        ("kernel",),
    ),
}


@pytest.mark.parametrize("case", KERAS)
def test_ten_steps_equal_keras(case):
    make, flags, names = KERAS[case]
    rates, tensors = run(1, **flags)
    for name in names:
        columns = slice(0, 6) if name == "kernel" else slice(6, 8)
        optimizer, variable = make(), keras.Variable(INITIAL[name])
        optimizer.build([variable])
        for gradient, rate in zip(GRADIENTS, rates, strict=True):
            optimizer.learning_rate = rate
            optimizer.apply([tf.constant(gradient[columns])], [variable])
        np.testing.assert_allclose(tensors[name], variable.numpy(), rtol=1e-6, err_msg=name)


def test_lamb_moves_zero_weights_at_the_full_rate():
    optimizer = optimizers.make_optimizer(OptimizationParams(optimizer="lamb"))
    variable = tf.Variable([0.0, 0.0])
    slots = {slot: tf.Variable([0.0, 0.0]) for slot in optimizer.slots}
    kwargs = {"learning_rate": tf.constant(0.5), "step": tf.constant(0, tf.int64), "decayed": True}
    optimizer.apply(variable, tf.constant([2.0, -3.0]), slots, **kwargs)
    np.testing.assert_allclose(variable, [-0.5, 0.5], rtol=1e-5)


@pytest.mark.parametrize(
    ("optimizer", "rate", "decay"),
    [
        ("momentum", 0.05, 4e-5),
        ("adam", 0.05, 4e-5),
        ("adamw", 0.001, 0.01),
        ("lamb", 0.001, 0.01),
        ("lion", 0.0001, 0.01),
    ],
)
def test_what_an_optimizer_does_without_rate_and_decay(optimizer, rate, decay):
    params = make_params(optimizer=optimizer, batch_size=4)
    plan = make_plan(
        params.run,
        batch_per_tower=4,
        num_towers=1,
        examples_per_epoch=40,
        synthetic=True,
        is_kept=False,
    )
    assert default_rate(params, Spec(ConvNetwork, learning_rate=0.05), plan) == rate
    assert params.optimization.decay == decay
