"""A whole training step against arithmetic done by hand or in NumPy, on one tower and on two."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from benchmark_cnn import training
from benchmark_cnn.params.validation import make_params
from benchmark_cnn.reporting import console, metrics_log
from checkpoints import store
from common.errors import NonFiniteError
from tests.benchmark_cnn.engine import run_steps
from tests.benchmark_cnn.networks import ArrayData, ConvNetwork, Output, Spec, random_examples
from tests.benchmark_cnn.reporting.event_readers import read_with_slow_loader

COUNTERS = {
    "global_step",
    "examples_seen",
    "skipped_steps",
    "skipped_steps/in_a_row",
    "loss_scale",
    "loss_scale/good_steps",
}


class GradientNetwork:
    """The gradient of `w` (zeros at the start) is the mean of the images, whatever `w` is."""

    name = "gradient"
    background_class = False
    trainable = ("w",)
    decayed = frozenset({"w"})

    def __init__(self, size=2):
        self.variables = {"w": tf.Variable(tf.zeros([size]))}

    def __call__(self, images, *, training, seed=None, frozen=frozenset()):
        x = tf.reshape(tf.cast(images, tf.float32), [tf.shape(images)[0], -1])
        return Output(x * self.variables["w"], None, {})

    @staticmethod
    def loss(output, labels):
        return tf.reduce_mean(tf.reduce_sum(output.logits, axis=1)), tf.zeros([])


def run_gradients(gradients, *, towers, **flags):
    """The weights after one step of SGD with these gradients, one of each example."""
    images = np.asarray(gradients, np.float32)[:, None, None, :]
    reports, tensors = run_steps(
        lambda: GradientNetwork(images.shape[-1]),
        ArrayData(images, np.zeros(len(images))),
        steps=1,
        global_batch=len(images),
        loss_function=GradientNetwork.loss,
        num_gpus=towers,
        **{"optimizer": "sgd", "learning_rate": 1.0, "weight_decay": 0.0, **flags},
    )
    return tensors["w"], reports[0]


@pytest.mark.parametrize("towers", [1, 2])
def test_the_mean_over_towers_is_clipped_not_each_tower(towers):
    # Each tower clipped to norm 1 and then added would be [-1, -1]; averaged, [-0.5, -0.5].
    weights, report = run_gradients([[3, 0], [0, 4]], towers=towers, gradient_clip=1.0)
    np.testing.assert_allclose(weights, [-0.6, -0.8], rtol=1e-6)
    np.testing.assert_allclose(report["gradient_norm"], 2.5, rtol=1e-6)


@pytest.mark.parametrize("towers", [1, 2])
def test_a_gradient_below_the_limit_is_left_alone(towers):
    weights, _ = run_gradients([[3, 0], [0, 4]], towers=towers, gradient_clip=2.75)
    np.testing.assert_allclose(weights, [-1.5, -2.0], rtol=1e-6)


@pytest.mark.parametrize("towers", [1, 2])
def test_clip_by_value_clips_each_element_of_the_mean(towers):
    # The mean is [1.5, -2, 0.25]; elements of the towers clipped first would average to 0.5s.
    weights, _ = run_gradients(
        [[3, 0, 0.5], [0, -4, 0]], towers=towers, gradient_clip=1.0, gradient_clip_mode="value"
    )
    np.testing.assert_allclose(weights, [-1.0, 1.0, -0.25], rtol=1e-6)


@pytest.mark.parametrize("towers", [1, 2])
@pytest.mark.parametrize("mode", ["norm", "value"])
@pytest.mark.parametrize("broken", [math.inf, -math.inf, math.nan])
def test_clipping_hides_no_gradient_that_is_not_finite(broken, mode, towers):
    weights, report = run_gradients(
        [[3, 0], [0, broken]], towers=towers, gradient_clip=1.0, gradient_clip_mode=mode
    )
    assert np.isnan(weights).all()
    assert not math.isfinite(report["gradient_norm"])


# --- a softmax regression, in TensorFlow for the engine and in NumPy for the truth ---------------

FEATURES, CLASSES, EPSILON, BN_MOMENTUM = 4, 7, 1e-3, 0.8


def initial_weights():
    random = np.random.default_rng(11)
    return {
        "first/kernel": random.normal(0, 1, (FEATURES, CLASSES)).astype(np.float32),
        "second/kernel": random.normal(0, 1, (FEATURES, CLASSES)).astype(np.float32),
        "second/bias": random.normal(0, 1, CLASSES).astype(np.float32),
    }


class SoftmaxNetwork:
    """Batch-normalized inputs, two kernels that add, a bias."""

    name = "softmax"
    background_class = False

    def __init__(self):
        self.variables = {n: tf.Variable(tf.constant(w)) for n, w in initial_weights().items()}
        self.trainable = tuple(self.variables)
        self.decayed = frozenset({"first/kernel", "second/kernel"})
        self.variables["bn/moving_mean"] = tf.Variable(tf.zeros([FEATURES]), trainable=False)
        self.variables["bn/moving_variance"] = tf.Variable(tf.ones([FEATURES]), trainable=False)

    def __call__(self, images, *, training, seed=None, frozen=frozenset()):
        v = self.variables
        x = tf.reshape(tf.cast(images, tf.float32), [-1, FEATURES])
        mean, variance = tf.nn.moments(x, [0])
        statistics = {}
        for name, value in (("bn/moving_mean", mean), ("bn/moving_variance", variance)):
            statistics[name] = BN_MOMENTUM * v[name] + (1 - BN_MOMENTUM) * value
        x = (x - mean) / tf.sqrt(variance + EPSILON)
        logits = x @ v["first/kernel"] + x @ v["second/kernel"] + v["second/bias"]
        return Output(logits, None, statistics)


def softmax_examples(count, seed=5):
    random = np.random.default_rng(seed)
    images = random.normal(1, 2, (count, 1, 1, FEATURES)).astype(np.float32)
    return images, random.integers(0, CLASSES, count)


def numpy_tower(v, x, labels, smoothing):
    """Cross entropy, gradients, statistics and top-1 of one tower, in float64."""
    mean, variance = x.mean(0), x.var(0)
    x = (x - mean) / np.sqrt(variance + EPSILON)
    logits = x @ v["first/kernel"] + x @ v["second/kernel"] + v["second/bias"]
    log_softmax = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    target = (1 - smoothing) * np.eye(CLASSES)[labels] + smoothing / CLASSES
    error = (np.exp(log_softmax) - target) / len(x)
    gradients = {"first/kernel": x.T @ error, "second/kernel": x.T @ error}
    gradients["second/bias"] = error.sum(0)
    moving = {
        "bn/moving_mean": BN_MOMENTUM * v["bn/moving_mean"] + (1 - BN_MOMENTUM) * mean,
        "bn/moving_variance": BN_MOMENTUM * v["bn/moving_variance"] + (1 - BN_MOMENTUM) * variance,
    }
    loss = -(target * log_softmax).sum(1).mean()
    return loss, gradients, moving, np.mean(logits.argmax(1) == labels)


def mean_of(dicts):
    return {name: np.mean([d[name] for d in dicts], axis=0) for name in dicts[0]}


def numpy_run(images, labels, *, steps, global_batch, towers, decayed, lr, decay, smoothing, ema,
              decoupled=False, clip=None):  # fmt: skip
    """Nesterov momentum 0.9 and everything else that `run_steps` is asked for below."""
    v = {name: value.astype(np.float64) for name, value in initial_weights().items()}
    trained = list(v)
    v |= {"bn/moving_mean": np.zeros(FEATURES), "bn/moving_variance": np.ones(FEATURES)}
    slots = {name: np.zeros_like(v[name]) for name in trained}
    averages = {name: value.copy() for name, value in v.items()}
    x = images.reshape(-1, FEATURES).astype(np.float64)
    reports = []
    for step in range(steps):
        of_step = np.arange(step * global_batch, (step + 1) * global_batch)
        results = [
            numpy_tower(v, x[part], labels[part], smoothing) for part in np.split(of_step, towers)
        ]
        gradients, cross_entropy = (
            mean_of([r[1] for r in results]),
            np.mean([r[0] for r in results]),
        )
        decay_loss = 0.0
        if not decoupled:
            decay_loss = 0.5 * decay * sum((v[name] ** 2).sum() for name in decayed)
            gradients |= {name: gradients[name] + decay * v[name] for name in decayed}
        norm = math.sqrt(sum((g**2).sum() for g in gradients.values()))
        if clip and norm > clip:
            gradients = {name: g * clip / norm for name, g in gradients.items()}
        reports.append(
            {
                "total_loss": cross_entropy + decay_loss,
                "cross_entropy": cross_entropy,
                "weight_decay": decay_loss,
                "gradient_norm": norm,
                "top_1": np.mean([r[3] for r in results]),
                "learning_rate": lr,
            }
        )
        for name in trained:
            slots[name] = 0.9 * slots[name] + gradients[name]
            shrink = lr * decay * v[name] if decoupled and name in decayed else 0.0
            v[name] = v[name] - shrink - lr * (gradients[name] + 0.9 * slots[name])
        v |= mean_of([r[2] for r in results])
        keep = min(ema, (2 + step) / (11 + step))
        averages = {name: keep * a + (1 - keep) * v[name] for name, a in averages.items()}
    tensors = dict(v) | {f"{name}/Momentum": slot for name, slot in slots.items()}
    return reports, tensors | {f"{n}/ExponentialMovingAverage": a for n, a in averages.items()}


KERNELS = {"first/kernel", "second/kernel"}
VARIANTS = {
    "plain": ({}, {"decayed": KERNELS}),
    "one kernel excluded": ({"weight_decay_exclude": "^first/"}, {"decayed": {"second/kernel"}}),
    "decoupled decay": (
        {"decoupled_weight_decay": True},
        {"decayed": KERNELS, "decoupled": True},
    ),
    "clipped": ({"gradient_clip": 0.3}, {"decayed": KERNELS, "clip": 0.3}),
}


@pytest.mark.parametrize("towers", [1, 2])
@pytest.mark.parametrize("variant", VARIANTS)
def test_whole_steps_equal_numpy(variant, towers):
    flags, truth = VARIANTS[variant]
    images, labels = softmax_examples(4 * 12)
    # 4 steps reach decays 2/11, 3/12, 4/13 and then the ceiling.
    reports, tensors = run_steps(
        SoftmaxNetwork,
        ArrayData(images, labels, CLASSES),
        steps=4,
        global_batch=12,
        num_gpus=towers,
        learning_rate=0.3,
        weight_decay=0.05,
        label_smoothing=0.2,
        moving_average_decay=0.32,
        **flags,
    )
    expected_reports, expected = numpy_run(
        images, labels, steps=4, global_batch=12, towers=towers, lr=0.3, decay=0.05,
        smoothing=0.2, ema=0.32, **truth,
    )  # fmt: skip
    for report, values in zip(reports, expected_reports, strict=True):
        for name, value in values.items():
            np.testing.assert_allclose(report[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    assert tensors.keys() - COUNTERS == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(tensors[name], value, rtol=1e-5, atol=2e-6, err_msg=name)
    assert tensors["global_step"] == 4
    assert tensors["examples_seen"] == 48
    assert tensors["skipped_steps"] == 0


def test_accumulated_batches_equal_towers():
    """Each micro-batch has its own batch-norm statistics, as each tower has."""
    flags = {"optimizer": "rmsprop", "learning_rate": 0.01, "moving_average_decay": 0.9}

    def train(**mode):
        dataset = ArrayData(*random_examples(48))
        return run_steps(
            lambda: ConvNetwork(batch_norm="tower"), dataset, steps=3, global_batch=16,
            **flags, **mode,
        )  # fmt: skip

    reports, expected = train(num_gpus=4)
    accumulated_reports, accumulated = train(gradient_accumulation_steps=4)
    mixed_reports, mixed = train(num_gpus=2, gradient_accumulation_steps=2)
    for other_reports, other in ((accumulated_reports, accumulated), (mixed_reports, mixed)):
        for name, value in expected.items():
            np.testing.assert_allclose(other[name], value, rtol=2e-5, atol=2e-6, err_msg=name)
        losses = [[r["total_loss"] for r in run] for run in (reports, other_reports)]
        np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    whole = run_steps(
        lambda: ConvNetwork(batch_norm="tower"),
        ArrayData(*random_examples(48)),
        steps=3,
        global_batch=16,
        **flags,
    )[1]
    assert not np.allclose(whole["bn/gamma"], expected["bn/gamma"], rtol=1e-5)


# --- a NaN on one tower --------------------------------------------------------------------------


def with_nan(*, step, global_batch=8, steps=4):
    """Examples whose `step`-th batch (0-based) has one NaN, in the last tower's share."""
    images, labels = softmax_examples(steps * global_batch)
    images[(step + 1) * global_batch - 1, 0, 0, 2] = np.nan
    return ArrayData(images, labels, CLASSES)


def run_with_nan(steps, **flags):
    return run_steps(
        SoftmaxNetwork, with_nan(step=1), steps=steps, global_batch=8, num_gpus=2,
        learning_rate=0.1, moving_average_decay=0.9, **flags,
    )  # fmt: skip


@pytest.mark.parametrize("xla", ["off", "step"])
@pytest.mark.parametrize("flags", [{"on_nonfinite": "skip"}, {"dtype": "float16"}])
def test_a_nan_on_the_last_tower_changes_nothing(flags, xla):
    _, before = run_with_nan(1, xla=xla, **flags)
    reports, after = run_with_nan(2, xla=xla, **flags)
    assert math.isnan(reports[1]["gradient_norm"])
    for name in before.keys() - COUNTERS:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    assert after["skipped_steps"] == 1
    assert after["global_step"] == 2
    assert after["examples_seen"] == 16
    assert ("loss_scale" in after) == ("dtype" in flags)
    if "dtype" in flags:
        assert (before["loss_scale"], after["loss_scale"]) == (32768.0, 16384.0)
        assert after["loss_scale/good_steps"] == 0


def test_training_continues_after_a_skipped_step():
    reports, after = run_with_nan(4, on_nonfinite="skip")
    assert after["skipped_steps"] == 1
    for name, value in after.items():
        assert np.all(np.isfinite(value)), name
    # The step after the NaN starts from the weights before it: NumPy never saw that batch.
    images, labels = softmax_examples(32)
    kept = np.r_[0:8, 16:32]
    expected, _ = numpy_run(
        images[kept], labels[kept], steps=3, global_batch=8, towers=2, decayed=KERNELS, lr=0.1,
        decay=4e-5, smoothing=0.0, ema=0.9,
    )  # fmt: skip
    got = [reports[step]["total_loss"] for step in (0, 2, 3)]
    np.testing.assert_allclose(got, [report["total_loss"] for report in expected], rtol=1e-5)


@pytest.mark.parametrize("xla", ["off", "step"])
@pytest.mark.parametrize("towers", [1, 2])
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "lamb"])
def test_a_skipped_step_counts_for_no_bias_correction(optimizer, towers, xla):
    """The first update of Adam is the learning rate, whatever was skipped before it."""
    images = np.full((8, 1, 1, 2), math.nan, np.float32)
    images[6:] = [3.0, -4.0]
    _, tensors = run_steps(
        GradientNetwork, ArrayData(images, np.zeros(8)), steps=4, global_batch=2,
        loss_function=GradientNetwork.loss, num_gpus=towers, xla=xla, on_nonfinite="skip",
        optimizer=optimizer, learning_rate=0.5, weight_decay=0.0, moving_average_decay=0.9,
    )  # fmt: skip
    assert tensors["skipped_steps"] == 3
    np.testing.assert_allclose(tensors["w"], [-0.5, 0.5], rtol=1e-5)
    # So does it for the number of updates that limits the decay: 2 / 11 in the first one.
    average = tensors["w/ExponentialMovingAverage"]
    np.testing.assert_allclose(average, np.array([-0.5, 0.5]) * 9 / 11, rtol=1e-5)


def test_the_loss_scale_of_finite_steps_changes_no_digit_that_counts():
    """Scaled by 2^15 and unscaled: powers of two round nothing, and the clip sees true norms."""
    dataset = ArrayData(*softmax_examples(32), CLASSES)
    flags = {"learning_rate": 0.1, "gradient_clip": 0.3, "num_gpus": 2}
    plain_reports, plain = run_steps(SoftmaxNetwork, dataset, steps=4, global_batch=8, **flags)
    reports, scaled = run_steps(
        SoftmaxNetwork, dataset, steps=4, global_batch=8, dtype="float16", **flags
    )
    assert [report["loss_scale"] for report in reports] == [32768.0] * 4
    assert scaled["loss_scale/good_steps"] == 4
    for name in plain.keys() - COUNTERS:
        np.testing.assert_array_equal(scaled[name], plain[name], err_msg=name)
    for report, other in zip(reports, plain_reports, strict=True):
        np.testing.assert_array_equal(report["gradient_norm"], other["gradient_norm"])


def nothing_but_nan(train_dir, num_batches, **flags):
    """A run of `num_batches` steps that its guard skips, all of them; returns what it prints."""
    params = make_params(
        device="cpu", batch_size=2, num_batches=num_batches, num_warmup_batches=0,
        train_dir=str(train_dir), learning_rate=0.1, **flags,
    )  # fmt: skip
    dataset = ArrayData(np.full((2, 1, 1, 2), math.nan, np.float32), [0, 0])
    lines = []
    with console.routed_through(lines.append):
        training.train(params, Spec(GradientNetwork), dataset, loss=GradientNetwork.loss)
    return lines


@pytest.mark.parametrize("flags", [{"on_nonfinite": "skip"}, {"dtype": "float16"}])
def test_skipped_steps_are_reported_and_too_many_in_a_row_end_the_run(tmp_path, flags):
    lines = nothing_but_nan(tmp_path, 60, **flags)
    assert [line for line in lines if line.startswith("Skipped:    60 of 60 steps")]
    points = read_with_slow_loader(tmp_path)["skipped_steps"]
    assert points == [(step, step) for step in (1, 10, 20, 30, 40, 50, 60)]
    with pytest.raises(NonFiniteError, match=r"last 100 steps, up to step 100, .* of step 0;"):
        nothing_but_nan(tmp_path, 200, **flags)


def test_a_finite_step_starts_the_count_of_skipped_ones_again():
    _, skipped = run_with_nan(2, on_nonfinite="skip")
    _, after = run_with_nan(3, on_nonfinite="skip")
    assert (skipped["skipped_steps/in_a_row"], skipped["skipped_steps"]) == (1, 1)
    assert (after["skipped_steps/in_a_row"], after["skipped_steps"]) == (0, 1)


def test_a_run_without_skipped_steps_does_not_mention_any(tmp_path):
    images, labels = softmax_examples(8)
    params = make_params(
        device="cpu", batch_size=4, num_batches=2, num_warmup_batches=0, on_nonfinite="skip",
        train_dir=str(tmp_path), learning_rate=0.1,
    )  # fmt: skip
    lines = []
    with console.routed_through(lines.append):
        training.train(params, Spec(SoftmaxNetwork), ArrayData(images, labels, CLASSES))
    assert not [line for line in lines if line.startswith("Skipped")]


def test_a_forward_pass_alone_skips_nothing():
    dataset = ArrayData(*softmax_examples(8), CLASSES)
    flags = {"dtype": "float16", "forward_only": True}
    _, tensors = run_steps(SoftmaxNetwork, dataset, steps=1, global_batch=8, **flags)
    assert (tensors["skipped_steps"], tensors["loss_scale"]) == (0, 32768.0)


@pytest.mark.parametrize("display_every", [1, 10])
def test_by_default_a_nan_stops_the_run_without_a_checkpoint_of_it(tmp_path, display_every):
    params = make_params(
        device="cpu", num_gpus=2, batch_size=4, num_batches=4, num_warmup_batches=0,
        display_every=display_every, train_dir=str(tmp_path), save_model_steps=1,
        learning_rate=0.1,
    )  # fmt: skip
    with pytest.raises(NonFiniteError, match=r"not finite at step 2 .*learning rate 0.1"):
        training.train(params, Spec(SoftmaxNetwork), with_nan(step=1))
    prefixes = store.all_checkpoints(tmp_path)
    assert [store.global_step(prefix) for prefix in prefixes] == [1]
    for name, value in store.read(prefixes[0]).items():
        assert np.all(np.isfinite(value)), name
    assert all(row["global_step"] <= 2 for row in metrics_log.read_rows(tmp_path / "metrics.csv"))


def test_weights_that_overflow_are_not_saved(tmp_path):
    """Loss and gradient of the step are finite; the update is not."""
    params = make_params(
        device="cpu", batch_size=2, num_batches=4, num_warmup_batches=0, save_model_steps=1,
        train_dir=str(tmp_path), learning_rate=2e38, optimizer="sgd", weight_decay=0.0,
    )  # fmt: skip
    dataset = ArrayData(np.full((2, 1, 1, 2), 3.0, np.float32), [0, 0])
    with pytest.raises(NonFiniteError, match="w not finite after step 1"):
        training.train(params, Spec(GradientNetwork), dataset, loss=GradientNetwork.loss)
    assert store.all_checkpoints(tmp_path) == []


def test_an_infinite_gradient_clipped_by_value_stops_the_run(tmp_path):
    """In a step that is not reported, by the weights that it would have saved."""
    params = make_params(
        device="cpu", batch_size=2, num_batches=4, num_warmup_batches=0, display_every=10,
        train_dir=str(tmp_path), learning_rate=0.1, optimizer="sgd", weight_decay=0.0,
        gradient_clip=1.0, gradient_clip_mode="value",
    )  # fmt: skip
    images = np.ones((8, 1, 1, 2), np.float32)
    images[2] = math.inf
    dataset = ArrayData(images, np.zeros(8))
    with pytest.raises(NonFiniteError, match="not finite"):
        training.train(params, Spec(GradientNetwork), dataset, loss=GradientNetwork.loss)
    assert store.all_checkpoints(tmp_path) == []


def test_logits_that_are_not_finite_are_never_right():
    images, labels = softmax_examples(8)
    dataset = ArrayData(np.full_like(images, np.nan), labels, CLASSES)
    reports, _ = run_steps(SoftmaxNetwork, dataset, steps=1, global_batch=8, num_gpus=2)
    assert (reports[0]["top_1"], reports[0]["top_5"]) == (0, 0)


# --- randomness ----------------------------------------------------------------------------------

UNITS = 64


class MaskNetwork:
    """Row i of `w` gets the dropout mask of the tower whose example says i, as its gradient."""

    name = "mask"
    background_class = False
    trainable = ("w",)
    decayed = frozenset()

    def __init__(self):
        self.variables = {"w": tf.Variable(tf.zeros([4, UNITS]))}

    def __call__(self, images, *, training, seed, frozen=frozenset()):
        row = tf.one_hot(tf.cast(tf.reshape(images, [-1]), tf.int32), 4)
        mask = tf.cast(tf.random.stateless_uniform([1, UNITS], seed) >= 0.5, tf.float32)
        return Output((row @ self.variables["w"]) * mask, None, {})

    @staticmethod
    def loss(output, labels):
        return tf.reduce_mean(tf.reduce_sum(output.logits, axis=1)), tf.zeros([])


def masks_of(steps, **mode):
    """The sum over steps of the masks of four slices of the batch, [4, UNITS]."""
    images = np.arange(4).astype(np.float32).reshape(4, 1, 1, 1)
    _, tensors = run_steps(
        MaskNetwork, ArrayData(images, np.zeros(4)), steps=steps, global_batch=4,
        loss_function=MaskNetwork.loss, optimizer="sgd", learning_rate=1.0, **mode,
    )  # fmt: skip
    return -4 * tensors["w"]


@pytest.mark.parametrize(
    "mode", [{"num_gpus": 4}, {"num_gpus": 2, "gradient_accumulation_steps": 2}]
)
def test_every_tower_micro_batch_and_step_has_a_dropout_mask_of_its_own(mode):
    first = masks_of(1, **mode)
    assert set(np.unique(first)) == {0.0, 1.0}
    second = masks_of(2, **mode) - first
    assert set(np.unique(second)) == {0.0, 1.0}
    masks = np.concatenate([first, second])
    for i in range(8):
        for j in range(i):
            # Independent masks agree in half of 64 places; 52 or more has probability 1e-7.
            assert (masks[i] == masks[j]).sum() < 52, (i, j)
    np.testing.assert_array_equal(masks_of(1, **mode), first)
    assert (masks_of(1, tf_random_seed=4321, **mode) != first).mean() > 0.25
