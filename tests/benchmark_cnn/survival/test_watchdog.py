"""A step that hangs is reported with the tower that it waits for, and training goes on after it."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import tensorflow as tf

from benchmark_cnn import training
from benchmark_cnn.params.validation import make_params
from benchmark_cnn.step import markers
from benchmark_cnn.survival import watchdog
from tests.benchmark_cnn.networks import ArrayData, ConvNetwork, Spec, random_examples

HANGS_AT = 6
IMAGES, LABELS = random_examples(16)


class HangingNetwork(ConvNetwork):
    """Its second tower calls `hang` in one of its steps."""

    def __init__(self, hang):
        super().__init__()
        self.hang, self.calls = hang, 0

    def __call__(self, images, *, training, seed=None, frozen=frozenset()):
        shape = images.shape
        images = tf.numpy_function(self._read, [images], images.dtype)
        images.set_shape(shape)
        return super().__call__(images, training=training, seed=seed)

    def _read(self, images):
        # The second tower has these images in every second step.
        if np.array_equal(images, IMAGES[-4:]):
            self.calls += 1
            if self.calls == HANGS_AT // 2:
                self.hang()
        return np.asarray(images)


def test_the_tower_that_a_hanging_step_waits_for_is_named(tmp_path, caplog, capfd, monkeypatch):
    """By the watchdog's clock no time passes but in the hanging step."""
    clock, made = SimpleNamespace(now=0.0), []
    monkeypatch.setattr(watchdog, "time", SimpleNamespace(monotonic=lambda: clock.now))

    def create(num_towers):
        made.append(create_markers(num_towers))
        return made[-1]

    create_markers = markers.create
    monkeypatch.setattr(markers, "create", create)

    def hang():
        first, second = made[-1].towers
        wait_until(lambda: int(first) > int(second))  # the other tower has its gradients
        clock.now += 1000
        wait_until(lambda: "the stacks of all threads are in" in caplog.text)

    params = make_params(
        device="cpu", num_gpus=2, batch_size=4, num_batches=8, train_dir=str(tmp_path),
        hang_minutes=0.01,
    )  # fmt: skip
    training.train(params, Spec(lambda: HangingNetwork(hang)), ArrayData(IMAGES, LABELS))
    messages = [record.getMessage() for record in caplog.records]
    (line,) = [message for message in messages if message.startswith("step ")]
    assert line.startswith(f"step {HANGS_AT} has taken 1000 s, and a step usually takes 0 s")
    assert line.endswith("no gradients from tower 1; tower 0 wait for it")
    stacks = (tmp_path / f"stacks-step-{HANGS_AT}.txt").read_text()
    assert "in hang" in stacks
    assert "in _train" in stacks
    assert "in hang" in capfd.readouterr().err


def wait_until(condition):
    deadline = time.monotonic() + 120
    while not condition() and time.monotonic() < deadline:  # the test ends in any case
        time.sleep(0.01)
