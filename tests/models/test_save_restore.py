"""Every network is saved by the engine and restored into another build, bit by bit."""

from __future__ import annotations

import gc
import shutil

import numpy as np
import pytest
import tensorflow as tf

from benchmark_cnn import training_setup
from benchmark_cnn.distribution.batches import training_batches
from benchmark_cnn.params.validation import make_params
from benchmark_cnn.run import TrainingRun
from benchmark_cnn.step.step_loop import make_step_loop
from checkpoints import restore_plan, store
from models import registry
from preprocessing.synthetic import SyntheticDataset
from tests.models.test_all_networks import IMAGE_SIZES, NUM_CLASSES, SMALL_IMAGE_SIZE

QUICK = ("trivial", "lenet", "keras_mobilenet")
# Of more than 100 million parameters; with slots and averages a test would take over 8 GiB.
LARGE = (
    "overfeat",
    "vgg_a",
    "vgg_16",
    "vgg_19",
    "keras_vgg16",
    "keras_vgg19",
    "keras_efficientnetv2l",
    "keras_convnextlarge",
    "keras_convnextxlarge",
)


def set_up(name: str, seed: int) -> TrainingRun:
    """Sets up a run of two images a batch; only large networks have no slots and averages.

    Args:
        seed: of the initial weights.
    """
    is_large = name in LARGE
    params = make_params(
        device="cpu",
        model=name,
        batch_size=2,
        image_size=IMAGE_SIZES.get(name, SMALL_IMAGE_SIZE),
        optimizer="sgd" if is_large else "momentum",
        moving_average_decay=None if is_large else 0.9,
        learning_rate=0.01,
        num_batches=1,
        tf_random_seed=seed,
    )
    return training_setup.set_up(
        params, registry.get(name), SyntheticDataset("four", NUM_CLASSES, {"train": 1_281_167})
    )


def train_one_step(run: TrainingRun) -> None:
    batches = training_batches(
        run.manager,
        run.dataset,
        batch_size=2,
        image_size=run.settings.image_size,
        seed=1,
        start_example=0,
    )
    make_step_loop(run.step, batches, 1)(1, False)


def logits_of(run: TrainingRun) -> np.ndarray:
    shape = [2, run.settings.image_size, run.settings.image_size, 3]
    images = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    return run.evaluator.network(tf.constant(images), training=False).logits.numpy()


def assert_holds(run: TrainingRun, saved: dict[str, np.ndarray]) -> None:
    """Asserts that the run's state has the saved names, types and bits."""
    variables = run.state.named_variables()
    assert set(variables) == set(saved)
    for name, variable in variables.items():
        value = run.manager.read(variable).numpy()
        assert value.dtype == saved[name].dtype, name
        assert value.tobytes() == saved[name].tobytes(), name


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow])
        for name in registry.names()
    ],
)
def test_a_trained_network_is_restored(name, tmp_path):
    run = set_up(name, seed=1)
    train_one_step(run)
    logits = logits_of(run)
    prefix = store.save(tmp_path, 1, run.state.tensors())
    saved = store.read(prefix)
    assert_holds(run, saved)
    del run
    gc.collect()
    fresh = set_up(name, seed=2)
    assert not np.array_equal(logits_of(fresh), logits)
    shapes = {key: tuple(v.shape) for key, v in fresh.state.named_variables().items()}
    plan = restore_plan.restore_plan(shapes, store.shapes(prefix))
    fresh.state.restore(store.read_variables(prefix, plan))
    assert_holds(fresh, saved)
    assert saved["global_step"] == 1
    np.testing.assert_array_equal(logits_of(fresh), logits)
    shutil.rmtree(tmp_path)  # the largest is 1.4 GB, and pytest keeps what it is left
