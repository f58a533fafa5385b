"""Progressive resizing: a run whose training images change their size at given epochs."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark_cnn import training
from benchmark_cnn.params.data_params import DataParams
from benchmark_cnn.params.validation import make_params
from benchmark_cnn.phases import plan as phase_plan
from benchmark_cnn.reporting import console, metrics_log, run_record
from benchmark_cnn.run import RunPlan
from checkpoints import store
from common.errors import Stopped, UsageError
from preprocessing.registry import open_dataset
from tests.benchmark_cnn.networks import ConvNetwork, Spec
from tests.benchmark_cnn.test_resume import stop_at

BATCH, STEPS, IMAGES = 8, 7, 1438
# Steps of 8 images: those of 16 pixels begin with the first whole step after 3.6 steps.
SCHEDULE = f"8:0,16:{3.6 * BATCH / IMAGES:.6f}"
BEGINS = {0: 8, 4: 16}


class Counted(ConvNetwork):
    """Counts how often the training step of each image size was traced."""

    def __init__(self, traces, **options):
        super().__init__(num_classes=10, **options)
        self.traces = traces

    def __call__(self, images, *, training, **options):
        if training:
            self.traces.append(int(images.shape[1]))
        return super().__call__(images, training=training, **options)


class Watched:
    """A data set that notes which streams were asked for, and the sizes of evaluations."""

    def __init__(self, dataset):
        self.dataset, self.streams, self.evaluated = dataset, [], []

    def __getattr__(self, name):
        return getattr(self.dataset, name)

    def train_batches(self, **options):
        self.streams.append((options["image_size"], options["start_example"]))
        return self.dataset.train_batches(**options)

    def eval_batches(self, **options):
        self.evaluated.append(options["image_size"])
        return self.dataset.eval_batches(**options)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    directory = tmp_path_factory.mktemp("data") / "digits"
    return open_dataset(DataParams(data_dir=str(directory)))


def train(dataset, train_dir, *, on_line=None, traces=None, network=None, **flags):
    flags = {
        "learning_rate": 0.05,
        "num_batches": STEPS,
        "batch_size": BATCH // flags.get("num_gpus", 1),
        "display_every": 1,
        "image_size": 24,
        "image_size_schedule": SCHEDULE,
        "moving_average_decay": 0.8,
        "weight_decay": 0.01,
        **flags,
    }
    params = make_params(device="cpu", train_dir=str(train_dir), **flags)
    # Synchronized batch norm, so that the mathematics does not depend on the towers.
    options = network or {"batch_norm": "sync"}
    spec = Spec(lambda: Counted([] if traces is None else traces, **options))
    with console.routed_through(on_line or (lambda line: None)):
        return training.train(params, spec, dataset)


@pytest.fixture(scope="module")
def unbroken(digits, tmp_path_factory):
    """(directory, traces by size, streams of data, lines) of the run that nothing stopped."""
    directory, traces, lines = tmp_path_factory.mktemp("unbroken"), [], []
    data = Watched(digits)
    train(data, directory, traces=traces, on_line=lines.append)
    return directory, traces, data.streams, lines


def assert_same_checkpoint(directory, expected):
    tensors, wanted = store.read(directory), store.read(expected)
    assert tensors["global_step"] == wanted["global_step"] == STEPS
    assert tensors.keys() == wanted.keys()
    assert not [name for name in wanted if not np.array_equal(tensors[name], wanted[name])]


def assert_nearly_equal(directory, expected):
    tensors = store.read(directory)
    for name, value in store.read(expected).items():
        scale = float(np.abs(value).max())
        np.testing.assert_allclose(tensors[name], value, rtol=1e-5, atol=1e-5 * scale, err_msg=name)


def test_each_size_is_traced_once_and_the_stream_continues(unbroken):
    _, traces, streams, lines = unbroken
    assert traces == [8, 16]
    assert streams == [(size, first * BATCH) for first, size in BEGINS.items()]
    said = [line for line in lines if line.startswith("Training images of")]
    assert said == [
        f"Training images of 16 x 16 pixels from step 4 on, epoch {4 * BATCH / IMAGES:.2f}"
    ]
    (sizes,) = [line for line in lines if line.startswith("Image size:")]
    assert sizes.split(maxsplit=2)[2] == ("8 from step 0, 16 from step 4; evaluated at 24 pixels")


def test_the_size_is_in_the_table_and_in_the_record(unbroken):
    directory = unbroken[0]
    rows = metrics_log.read_rows(directory / "metrics.csv")
    sizes = {int(row["global_step"]): row["image_size"] for row in rows}
    assert sizes == {step: (8 if step <= 4 else 16) for step in range(1, 8)}
    about = run_record.last_start(directory / "run.json")["run"]
    assert about["image_size"] == 24
    assert about["train_image_sizes"] == {str(first): size for first, size in BEGINS.items()}


def assert_resumed_equals(digits, unbroken, directory, stops):
    for step in stops:
        with pytest.raises(Stopped, match=f"at step {step} of {STEPS}"):
            train(digits, directory, on_line=stop_at(f"{step}\timages/sec"))
    train(digits, directory)
    assert_same_checkpoint(directory, unbroken[0])
    got, wanted = ((d / "metrics.csv").read_bytes() for d in (directory, unbroken[0]))
    assert got == wanted


def test_stopped_in_each_size_and_resumed_equals_unbroken(digits, unbroken, tmp_path):
    assert_resumed_equals(digits, unbroken, tmp_path, (2, 6))


@pytest.mark.slow
def test_stopped_after_every_step_equals_unbroken(digits, unbroken, tmp_path):
    assert_resumed_equals(digits, unbroken, tmp_path, range(1, STEPS))


@pytest.mark.slow
def test_it_equals_starts_of_one_size_each(digits, unbroken, tmp_path):
    """Without the schedule, the user stops the run and gives another --image_size."""
    for end, size in ((4, 8), (7, 16)):
        train(digits, tmp_path, image_size=size, image_size_schedule=None, num_batches=end)
    assert_same_checkpoint(tmp_path, unbroken[0])
    assert "image_size" not in (tmp_path / "metrics.csv").read_text()


@pytest.mark.slow
def test_two_towers_are_one(digits, unbroken, tmp_path):
    traces = []
    train(digits, tmp_path, num_gpus=2, traces=traces)
    # Once for each tower, after a try for both, which ends where synchronized batch norm begins.
    assert sorted(traces) == sorted(3 * [8, 16])
    assert_nearly_equal(tmp_path, unbroken[0])


@pytest.mark.slow
def test_calls_of_several_steps_end_where_a_size_does(digits, unbroken, tmp_path):
    """Each size has one graph: that of several steps also makes the one step that is left."""
    traces = []
    train(digits, tmp_path, steps_per_loop=3, display_every=3, traces=traces)
    assert traces == [8, 16]  # steps 0 to 2, 3, 4 to 5, 6
    assert_same_checkpoint(tmp_path, unbroken[0])


@pytest.mark.slow
def test_frozen_epochs_have_their_own_phases_within_a_size(digits, tmp_path):
    """Batches are shared by the phases of one size: nothing is skipped or seen twice."""
    data, traces = Watched(digits), []
    freeze = {"freeze": "conv1", "freeze_epochs": 2 * BATCH / IMAGES}
    train(data, tmp_path / "run", traces=traces, eval_every_steps=3, **freeze)
    assert data.evaluated == [24, 24, 24]
    assert traces == [8, 8, 16]
    assert data.streams == [(size, first * BATCH) for first, size in BEGINS.items()]
    by_hand = tmp_path / "by_hand"
    for end, size in ((4, 8), (7, 16)):
        train(digits, by_hand, image_size=size, image_size_schedule=None, num_batches=end, **freeze)
    assert_same_checkpoint(tmp_path / "run", by_hand)


@pytest.mark.slow
def test_repeated_images_in_a_schedule_resume_too_on_any_towers(digits, unbroken, tmp_path):
    """Batches of 8 images in copies of 3: a stop falls within the copies of an image."""
    data = open_dataset(DataParams(data_dir=str(digits.data_dir), augmentation_repeats=3))
    train(data, tmp_path / "whole")
    for step in (2, 5):
        with pytest.raises(Stopped):
            train(data, tmp_path / "resumed", on_line=stop_at(f"{step}\timages/sec"))
    train(data, tmp_path / "resumed")
    assert_same_checkpoint(tmp_path / "resumed", tmp_path / "whole")
    train(data, tmp_path / "towers", num_gpus=2)
    assert_nearly_equal(tmp_path / "towers", tmp_path / "whole")
    kernels = [store.read(d)["conv1/kernel"] for d in (tmp_path / "whole", unbroken[0])]
    assert not np.allclose(*kernels)


PLAN = RunPlan(8, 1, 1, examples_per_epoch=100, warmup_steps=0, total_steps=25)


def test_a_size_begins_with_the_first_whole_batch_of_its_epoch():
    assert phase_plan.image_sizes([(8, 0.0), (16, 1.0), (24, 1.5)], PLAN) == {0: 8, 13: 16, 19: 24}


@pytest.mark.parametrize(
    ("schedule", "line"),
    [
        (
            [(8, 0.0), (16, 2.0)],
            r"16 begins after step 25 \(epoch 2\), and the run ends at step 25 \(epoch 2\)",
        ),
        ([(8, 0.0), (16, 1.0), (24, 1.01)], "16 and 24 begin after the same step, 13"),
    ],
)
def test_a_size_without_a_step_is_refused(schedule, line):
    with pytest.raises(UsageError, match=line):
        phase_plan.image_sizes(schedule, PLAN)


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("128", "is not SIZE:EPOCH,SIZE:EPOCH"),
        ("128:0;160:6", "is not SIZE:EPOCH,SIZE:EPOCH"),
        ("0:0,160:6", "is not SIZE:EPOCH,SIZE:EPOCH"),
        ("128:0,160:six", "has 'six' where a number belongs"),
        ("128:1,160:6", "has no size for epoch 0: begin with 128:0"),
        ("128:0,160:6,192:6", "has epochs that do not rise: 6, 6"),
        ("128:0,128:6", "changes nothing at epoch 6: both sizes are 128"),
    ],
)
def test_what_is_no_schedule(value, line):
    with pytest.raises(UsageError, match=line) as error:
        make_params(image_size_schedule=value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ({"forward_only": True}, "no effect with --forward_only"),
        (
            {
                "variable_update": "parameter_server",
                "ps_hosts": "a:1",
                "worker_hosts": "b:1",
                "job_name": "chief",
            },
            "cannot be used with parameter servers",
        ),
    ],
)
def test_modes_that_have_one_size(flags, line):
    with pytest.raises(UsageError, match=f"--image_size_schedule.*{line}"):
        make_params(image_size_schedule="128:0,160:6", **flags)
