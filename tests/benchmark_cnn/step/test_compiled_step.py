"""A step that XLA compiled (`--xla=step`) next to the same step without, from equal states.

XLA sums in another order, and so rounds otherwise. What is continuous stays within rounding, for
every optimizer. A ReLU is not: an input of 1e-6 on the other side of zero adds the gradient of a
pixel or takes it away. In one step of ResNet-20 on digits, from equal states, that moves some
gradients by 1% to 4%, and as far without XLA if the weights differ in their last digit. With
softplus in the place of ReLU the same step differs by 2e-5: so it is here.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest

from benchmark_cnn import training_setup
from benchmark_cnn.distribution.batches import training_batches
from benchmark_cnn.params.training_params import OPTIMIZERS
from benchmark_cnn.params.validation import make_params
from benchmark_cnn.step.step_loop import make_step_loop
from models.layers.pixel_normalization import PLUS_MINUS_ONE
from models.model_spec import BuildConfig
from tests.benchmark_cnn.networks import ArrayData, Spec, random_examples

STEPS, BATCH = 4, 16
# Those that had drifted apart by percents after several steps; the others take long.
QUICK = ("momentum", "lamb", "lion")


def build():
    """Builds two convolutions with batch norm and a classifier."""
    config = BuildConfig("small", 5, 8)
    factory = config.layers(bn_momentum=0.9, bn_epsilon=1e-5)
    images = keras.Input((8, 8, 3), name="images")
    features = factory.pixels(images, PLUS_MINUS_ONE)
    for scope, strides in (("stem", 1), ("block", 2)):
        features = factory.convolution(f"{scope}.conv2d", 8, 3, strides=strides)(features)
        features = factory.batch_norm(f"{scope}.batch_norm")(features)
        features = keras.layers.Activation("softplus", name=f"{scope}.softplus")(features)
    features = factory.global_average_pooling("head.pool")(features)
    network = config.network(images, factory.classifier("head.dense", 5)(features))
    random = np.random.default_rng(2)
    for name, variable in network.variables.items():
        if name.endswith(("gamma", "beta")):
            variable.assign(random.uniform(0.2, 1.0, variable.shape))
    return network


def start(xla, **flags):
    params = make_params(
        device="cpu", batch_size=BATCH // flags["num_gpus"], xla=xla, learning_rate=0.01,
        weight_decay=0.01, gradient_clip=0.5, moving_average_decay=0.9, **flags,
    )  # fmt: skip
    keras.utils.set_random_seed(1)
    dataset = ArrayData(*random_examples(STEPS * BATCH))
    run = training_setup.set_up(params, Spec(build), dataset)
    batches = training_batches(
        run.manager, dataset, batch_size=run.plan.batch_per_tower, image_size=8, seed=1,
        start_example=0,
    )  # fmt: skip
    return run.state, make_step_loop(run.step, batches, 1)


CASES = [
    pytest.param(name, towers, marks=[] if name in QUICK and towers == 1 else [pytest.mark.slow])
    for name, towers in (*((name, 1) for name in OPTIMIZERS), *((name, 2) for name in QUICK))
]


@pytest.mark.parametrize(("optimizer", "num_gpus"), CASES)
def test_one_step_differs_by_rounding(optimizer, num_gpus):
    plain, take_plain = start("off", optimizer=optimizer, num_gpus=num_gpus)
    compiled, take_compiled = start("step", optimizer=optimizer, num_gpus=num_gpus)
    for _ in range(STEPS):
        before = plain.host_values()
        compiled.restore(before)
        values = [take(1, True)[0].numpy() for take in (take_compiled, take_plain)]
        np.testing.assert_allclose(*values, rtol=1e-5, atol=1e-7)
        wanted, got = plain.host_values(), compiled.host_values()
        moved = 0
        for name, value in wanted.items():
            scale = np.abs(value).max(initial=0)
            # The gradient of a beta before another batch norm is a sum that nearly cancels.
            np.testing.assert_allclose(got[name], value, rtol=0, atol=1e-4 * scale, err_msg=name)
            moved += not np.array_equal(value, before[name])
        assert moved >= len(wanted) - 3, "all but the counters of skipped steps have moved"
