"""A step that hangs is reported with the tower that it waits for, and training goes on after it."""

from __future__ import annotations

import time

import numpy as np
import tensorflow as tf

from benchmark_cnn import training
from benchmark_cnn.params.validation import make_params
from tests.benchmark_cnn.networks import ArrayData, ConvNetwork, Spec, random_examples

HANGS_AT, SECONDS = 6, 3.0


IMAGES, LABELS = random_examples(16)


class HangingNetwork(ConvNetwork):
    """Its second tower sleeps in one of its steps."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def __call__(self, images, *, training, seed=None, frozen=frozenset()):
        shape = images.shape
        images = tf.numpy_function(self._sleep, [images], images.dtype)
        images.set_shape(shape)
        return super().__call__(images, training=training, seed=seed)

    def _sleep(self, images):
        # The second tower has these images in every second step.
        self.calls += np.array_equal(images, IMAGES[-4:])
        if self.calls == HANGS_AT // 2 and np.array_equal(images, IMAGES[-4:]):
            time.sleep(SECONDS)
        return np.asarray(images)


def test_the_tower_that_a_hanging_step_waits_for_is_named(tmp_path, caplog, capfd):
    params = make_params(
        device="cpu", num_gpus=2, batch_size=4, num_batches=8, train_dir=str(tmp_path),
        hang_minutes=0.01,
    )  # fmt: skip
    training.train(params, Spec(HangingNetwork), ArrayData(IMAGES, LABELS))
    messages = [record.getMessage() for record in caplog.records]
    (line,) = [message for message in messages if message.startswith(f"step {HANGS_AT} has taken")]
    assert "a step usually takes" in line
    assert line.endswith("no gradients from tower 1; tower 0 wait for it")
    stacks = (tmp_path / f"stacks-step-{HANGS_AT}.txt").read_text()
    assert "in _sleep" in stacks
    assert "in _train" in stacks
    assert "in _sleep" in capfd.readouterr().err
