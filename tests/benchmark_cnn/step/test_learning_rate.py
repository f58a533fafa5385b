"""Schedules against the tables of tf_cnn_benchmarks and tf-imagenet and against closed forms."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from benchmark_cnn.params.training_params import LearningRateParams
from benchmark_cnn.step import learning_rate
from common.errors import UsageError

IMAGENET = 1281167


def schedule(batch=10, examples=100, total_steps=1000, default=0.005, **changes):
    return learning_rate.make_schedule(
        LearningRateParams(**changes),
        default_learning_rate=default,
        global_batch=batch,
        examples_per_epoch=examples,
        total_steps=total_steps,
    )


def check(rate, table: dict[int, float]) -> None:
    for step, expected in table.items():
        np.testing.assert_allclose(rate(step), expected, rtol=1e-6, err_msg=f"step {step}")


# tf_cnn_benchmarks' own tables, ImageNet.


def test_exponential_table_of_tf_cnn_benchmarks():
    rate = schedule(
        batch=32,
        examples=IMAGENET,
        learning_rate=1.0,
        num_epochs_per_decay=2.0,
        learning_rate_decay_factor=0.5,
        minimum_learning_rate=0.375,
    )
    check(rate, {0: 1.0, 80071: 1.0, 80072: 0.5, 160143: 0.5, 160144: 0.375, 10**6: 0.375})


def test_piecewise_table_of_tf_cnn_benchmarks():
    rate = schedule(batch=32, examples=IMAGENET, piecewise_learning_rate_schedule="1;3;.1;5;.01")
    check(rate, {0: 1.0, 120108: 1.0, 120109: 0.1, 200181: 0.1, 200182: 0.01, 10**7: 0.01})


def test_warmup_table_of_tf_cnn_benchmarks():
    rate = schedule(
        batch=256, examples=IMAGENET, learning_rate=1.0, num_learning_rate_warmup_epochs=5.0
    )
    check(rate, {0: 0.0, 12511: 0.5, 25021: 25021 / 25022, 25022: 1.0, 10**6: 1.0})


def test_resnet50_table_of_tf_cnn_benchmarks():
    """ResNet's built-in schedule changes one step later than the flag: at int(E * batches) + 1."""
    step_later = 256 / IMAGENET
    rate = schedule(
        batch=256,
        examples=IMAGENET,
        num_learning_rate_warmup_epochs=5,
        learning_rate_base_batch=256,
        piecewise_learning_rate_schedule=";".join(
            f"{rate};{epoch + step_later:.9f}"
            for rate, epoch in [(0.128, 30), (0.0128, 60), (0.00128, 80), (0.000128, 90)]
        )
        + ";0.0000128",
    )
    check(rate, {0: 0.0, 25022: 0.128, 150136: 0.128, 150137: 0.0128})
    check(rate, {300273: 0.0128, 300274: 0.00128, 10**6: 0.0000128})


@pytest.mark.parametrize(
    ("batch", "expected"),
    # tf_cnn_benchmarks has .128 for 2048 on 8 replicated towers, since it sums gradients; the
    # mean over the global batch needs 8 times that.
    [(128, 0.064), (512, 0.256), (2048, 1.024)],
)
def test_rate_scales_with_the_batch(batch, expected):
    explicit = schedule(batch=batch, learning_rate=0.128, learning_rate_base_batch=256)
    default = schedule(batch=batch, default=0.128, learning_rate_base_batch=256)
    pieces = schedule(
        batch=batch,
        piecewise_learning_rate_schedule="0.128;30;0.0128",
        learning_rate_base_batch=256,
    )
    check(explicit, {0: expected, 10**6: expected})
    check(default, {0: expected})
    check(pieces, {0: expected, 10**6: expected / 10})


# The official EfficientNet recipe: batch 2048, 218949 steps.


def test_efficientnet_recipe():
    rate = schedule(
        batch=2048,
        examples=IMAGENET,
        total_steps=218949,
        learning_rate=0.016,
        learning_rate_base_batch=256,
        num_epochs_per_decay=2.4,
        learning_rate_decay_factor=0.97,
        num_learning_rate_warmup_epochs=5.0,
    )
    warmup = int(5 * IMAGENET / 2048)
    assert warmup == 3127
    check(rate, {0: 0.0, 1: 0.128 / 3127, 3126: 0.128 * 3126 / 3127})
    # 2.4 epochs are 1501 steps: two decays are over before the warm-up is.
    check(rate, {3127: 0.128 * 0.97**2, 4502: 0.128 * 0.97**2, 4503: 0.128 * 0.97**3})
    check(rate, {218948: 0.128 * 0.97**145})
    assert round(float(rate(218948)), 5) == 0.00155


# Closed forms.


def test_constant_is_the_flag_or_the_default_of_the_model():
    check(schedule(learning_rate=0.25), {0: 0.25, 10**9: 0.25})
    check(schedule(default=0.005), {0: 0.005, 10**9: 0.005})
    assert float(schedule(learning_rate=0.0)(0)) == 0.0


@pytest.mark.parametrize("step", [0, 1, 50, 99, 100, 333, 999, 1000, 5000])
def test_cosine_spans_the_run_and_is_not_delayed_by_the_warmup(step):
    rate = schedule(
        learning_rate=0.4,
        learning_rate_end=0.1,
        learning_rate_schedule="cosine",
        num_learning_rate_warmup_epochs=10,
    )
    # 10 epochs of 10 steps; the warm-up rises to the initial rate.
    cosine = 0.1 + 0.3 * (1 + math.cos(math.pi * min(step, 1000) / 1000)) / 2
    check(rate, {step: 0.4 * step / 100 if step < 100 else cosine})


@pytest.mark.parametrize(("power", "end"), [(1.0, 0.0), (2.0, 0.1), (0.5, 0.0)])
@pytest.mark.parametrize("step", [0, 99, 100, 101, 550, 999, 1000, 5000])
def test_polynomial_starts_after_the_warmup(step, power, end):
    rate = schedule(
        learning_rate=2.0,
        learning_rate_end=end,
        learning_rate_power=power,
        learning_rate_schedule="polynomial",
        num_learning_rate_warmup_epochs=10,
    )
    remaining = (1000 - min(max(step, 100), 1000)) / 900
    check(rate, {step: step / 50 if step < 100 else end + (2.0 - end) * remaining**power})


@pytest.mark.parametrize("kind", ["cosine", "polynomial"])
def test_a_run_may_end_within_its_warmup(kind):
    rate = schedule(
        learning_rate=1.0,
        learning_rate_schedule=kind,
        num_learning_rate_warmup_epochs=10,
        total_steps=20,
    )
    check(rate, {0: 0.0, 19: 0.19})


def test_piecewise_warms_up_to_its_first_scaled_rate():
    rate = schedule(
        piecewise_learning_rate_schedule="2;30;1",
        num_learning_rate_warmup_epochs=0.5,
        learning_rate_base_batch=5,
    )
    check(rate, {0: 0.0, 4: 3.2, 5: 4.0, 299: 4.0, 300: 2.0})


def test_decimal_epochs_are_turned_into_steps_exactly():
    """0.29 * 100 is 28.999999999999996 in floating point, and int() would make 28 of it."""
    rate = schedule(batch=1, examples=100, piecewise_learning_rate_schedule="1;0.29;0.5")
    check(rate, {28: 1.0, 29: 0.5})
    rate = schedule(
        batch=1,
        examples=100,
        learning_rate=1.0,
        num_epochs_per_decay=0.29,
        learning_rate_decay_factor=0.5,
    )
    check(rate, {28: 1.0, 29: 0.5, 57: 0.5, 58: 0.25})


def test_staircase_is_exact_at_steps_that_float32_cannot_hold():
    """2^24 + 1 is no float32: computed in it, step 2^24 would decay one step early."""
    rate = schedule(
        batch=1,
        examples=2**24 + 1,
        learning_rate=1.0,
        num_epochs_per_decay=1.0,
        learning_rate_decay_factor=0.5,
    )
    check(rate, {2**24: 1.0, 2**24 + 1: 0.5})


@pytest.mark.parametrize(
    ("multiplier", "decay", "end"), [(1.0, 1.0, 0.0), (2.0, 1.0, 0.0), (1.5, 0.7, 0.04)]
)
def test_cosine_restarts_equal_keras(multiplier, decay, end):
    """Keras counts cycles by a float32 logarithm: its own borders may be a step away."""
    rate = schedule(
        learning_rate=0.4,
        learning_rate_end=end,
        learning_rate_schedule="cosine_restarts",
        learning_rate_cycle_epochs=4.0,
        learning_rate_cycle_multiplier=multiplier,
        learning_rate_cycle_decay=decay,
        total_steps=500,
    )
    theirs = keras.optimizers.schedules.CosineDecayRestarts(0.4, 40, multiplier, decay, end / 0.4)
    borders = {40 * cycle for cycle in range(13)} if multiplier == 1 else set()
    lengths = [40 * multiplier**cycle for cycle in range(8)]
    borders |= {int(sum(lengths[:cycle])) for cycle in range(8)}
    steps = [step for step in range(500) if step not in borders]
    expected = [float(theirs(step)) for step in steps]
    got = [float(rate(step)) for step in steps]
    np.testing.assert_allclose(got, expected, rtol=0, atol=0.4 * 1e-6)


def test_cosine_restarts_begin_on_exact_steps():
    """T0 = 10 epochs of 10 steps, then 20 and 40 epochs, each from half of the rate before."""
    rate = schedule(
        learning_rate=0.8,
        learning_rate_schedule="cosine_restarts",
        learning_rate_cycle_epochs=10.0,
        learning_rate_cycle_multiplier=2.0,
        learning_rate_cycle_decay=0.5,
        num_learning_rate_warmup_epochs=1.0,
    )
    half = (1 + math.cos(math.pi / 2)) / 2
    check(rate, {5: 0.4, 10: 0.8 * (1 + math.cos(math.pi / 10)) / 2, 50: 0.8 * half})
    check(rate, {99: 0.8 * (1 + math.cos(math.pi * 0.99)) / 2, 100: 0.4, 200: 0.4 * half, 300: 0.2})
    check(rate, {299: 0.4 * (1 + math.cos(math.pi * 199 / 200)) / 2, 500: 0.2 * half, 700: 0.1})


def test_a_longer_run_has_the_same_cycles():
    flags = {"learning_rate_schedule": "cosine_restarts", "learning_rate_cycle_epochs": 3.3}
    short, long = (schedule(total_steps=total, **flags) for total in (70, 1000))
    for step in range(70):
        assert float(short(step)) == float(long(step))


# Use inside the engine.


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_epochs_per_decay": 1.0, "learning_rate_decay_factor": 0.5},
        {"piecewise_learning_rate_schedule": "1;3;.1"},
        {"learning_rate_schedule": "cosine"},
        {"learning_rate_schedule": "polynomial"},
        {"learning_rate_schedule": "cosine_restarts", "learning_rate_cycle_epochs": 2.0},
    ],
    ids=["constant", "exponential", "piecewise", "cosine", "polynomial", "restarts"],
)
def test_a_schedule_is_a_float32_function_of_an_int64_step_in_a_graph(changes):
    rate = schedule(num_learning_rate_warmup_epochs=1.0, **changes)
    step = tf.Variable(0, dtype=tf.int64)
    in_graph = tf.function(lambda: rate(step))
    for value in (0, 3, 10, 35, 999):
        step.assign(value)
        result = in_graph()
        assert (result.dtype, result.shape) == (tf.float32, [])
        assert result.numpy() == rate(value).numpy()


def test_it_is_computed_on_the_host():
    rate = schedule(learning_rate_schedule="cosine")
    with tf.device("CPU:3"):
        assert tf.DeviceSpec.from_string(rate(5).device).device_index == 0


def test_decays_within_a_step_are_a_usage_error():
    message = "=0.05 is less than one step: an epoch of 100 examples has 10 steps of 10"
    with pytest.raises(UsageError, match=message):
        schedule(learning_rate=1.0, num_epochs_per_decay=0.05, learning_rate_decay_factor=0.5)
