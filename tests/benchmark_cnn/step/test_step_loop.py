"""Which calls of the step loop count as its speed, and which of them are summarized."""

from __future__ import annotations

import math

import pytest

from benchmark_cnn import training
from benchmark_cnn.distribution import variable_mgr
from benchmark_cnn.params.validation import make_params
from benchmark_cnn.reporting import console
from benchmark_cnn.reporting.speed import Speed
from tests.benchmark_cnn.networks import ArrayData, ConvNetwork, Spec, random_examples
from tests.benchmark_cnn.reporting import event_readers


def train(num_batches, *, on_line=lambda line: None, **flags):
    """A run of the small network without evaluations."""
    params = make_params(
        device="cpu", batch_size=4, num_batches=num_batches, learning_rate=0.05,
        **{"num_warmup_batches": 0, **flags},
    )  # fmt: skip
    with console.routed_through(on_line):
        return training.train(params, Spec(ConvNetwork), ArrayData(*random_examples(40)))


@pytest.mark.parametrize(
    ("num_batches", "flags", "timed"),
    [
        (3, {}, [1, 1]),
        (8, {"steps_per_loop": 2}, [2, 2, 2]),
        # The last call has a single step, and runs it by the graph of several.
        (7, {"steps_per_loop": 2}, [2, 2, 1]),
        (7, {"steps_per_loop": 2, "num_warmup_batches": 2}, [2, 2, 2, 1]),
        # The warm-up has a single step, what is timed has two a call.
        (6, {"steps_per_loop": 2, "num_warmup_batches": 1}, [2, 2]),
    ],
)
def test_a_call_that_compiles_is_not_timed(monkeypatch, num_batches, flags, timed):
    recorded = []

    class Recorder(Speed):
        def record(self, seconds, steps=1, data_wait_secs=0.0):
            super().record(seconds, steps, data_wait_secs)
            recorded.append((self, steps))

    monkeypatch.setattr("benchmark_cnn.reporting.reporter.Speed", Recorder)
    train(num_batches, display_every=100, **flags)
    # Step lines of a first call have a speed of their own.
    of_run = [steps for speed, steps in recorded if speed is recorded[-1][0]]
    assert of_run == timed


def test_on_gpus_the_time_between_two_reports_counts(monkeypatch):
    """A call only queues its steps there, and a report waits for all of them."""
    recorded = []

    class Recorder(Speed):
        def record(self, seconds, steps=1, data_wait_secs=0.0):
            super().record(steps, steps, data_wait_secs)
            recorded.append((steps, data_wait_secs))

    def make(*args, **options):
        manager = make_manager(*args, **options)
        manager.shares_memory = False
        return manager

    make_manager = variable_mgr.make
    monkeypatch.setattr(variable_mgr, "make", make)
    monkeypatch.setattr("benchmark_cnn.reporting.reporter.Speed", Recorder)
    train(12, display_every=5, num_warmup_batches=2)
    # The first timed step, the fifth and the tenth print a line, and the twelfth is the last.
    assert [steps for steps, _ in recorded] == [1, 4, 5, 2]
    assert all(math.isnan(waited) for _, waited in recorded)


@pytest.mark.parametrize(("per_call", "steps"), [(1, [1, 4, 8]), (2, [2, 4, 8])])
def test_histograms_and_images_go_by_the_steps_of_the_summaries(tmp_path, per_call, steps):
    """Steps that are read for a line or a checkpoint have none."""
    train(
        10, train_dir=str(tmp_path), summary_verbosity=3, save_summaries_steps=4,
        steps_per_loop=per_call, display_every=per_call, save_model_steps=3 * per_call,
    )  # fmt: skip
    accumulator = event_readers.plugin_accumulator(tmp_path)
    accumulator.Reload()
    for tag in (
        "total_loss",
        "log_gradients",
        "dense/bias/gradients",
        "dense/bias",
        "train_images",
    ):
        assert [event.step for event in accumulator.Tensors(tag)] == steps, tag
