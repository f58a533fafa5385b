"""The events of a run, read back as TensorBoard reads them."""

import math

import numpy as np
import pytest
import tensorflow as tf

from benchmark_cnn.reporting.summaries import EvaluationSummaries, Summaries
from tests.benchmark_cnn.reporting import event_readers
from tests.benchmark_cnn.reporting.event_readers import read_with_slow_loader as read

REPORT = {
    "cross_entropy": 6.5,
    "aux_cross_entropy": 6.25,
    "weight_decay": 0.125,
    "top_1": 0.0625,
    "top_5": 0.25,
    "learning_rate": 0.5,
    "total_loss": 9.125,
    "epoch": 1.5,
    "gradient_norm": 2.25,
    "images_per_sec": 1234.5,
    "data_wait_share": 0.03125,
    "loss_scale": 32768.0,
    "skipped_steps": 3,
}
TAGS = {
    "losses/cross_entropy": 6.5,
    "losses/aux_cross_entropy": 6.25,
    "losses/weight_decay": 0.125,
    "metrics/accuracy_at_1": 0.0625,
    "metrics/recall_at_5": 0.25,
    "learning_rate": 0.5,
    "total_loss": 9.125,
    "epoch_step": 1.5,
    "gradient_norm": 2.25,
    "images_per_sec": 1234.5,
    "data_wait_share": 0.03125,
    "loss_scale": 32768.0,
    "skipped_steps": 3.0,
}
GRADIENTS = {
    "conv/kernel": np.array([[1.0, -math.e], [0.0, math.e**-2]], np.float32),
    "dense/bias": np.array([0.0, -math.e], np.float32),
}
RESULT = {"top_1": 0.5, "top_5": 0.75, "loss": 1.25, "examples": 1000}
VARIABLES = {
    "conv/kernel": np.full([3, 3], 2.0, np.float32),
    "dense/bias": np.zeros([4], np.float32),
}


def write_everything(directory, verbosity):
    with Summaries(directory, verbosity) as summaries:
        summaries.scalars(20, **REPORT)
        summaries.gradients(20, GRADIENTS)
        summaries.variables(20, VARIABLES)
        summaries.images(20, tf.zeros([2, 4, 4, 3]))
        summaries.evaluation(20, RESULT)


def test_scalars(tmp_path):
    write_everything(tmp_path, 1)
    assert read(tmp_path) == {tag: [(20, value)] for tag, value in TAGS.items()}
    assert set(event_readers.metadata(tmp_path).values()) == {"scalars"}


def test_the_default_loader_finds_them_too(tmp_path):
    write_everything(tmp_path, 1)
    found = event_readers.read_with_fast_loader(tmp_path)
    assert found == {tag: [(20, value)] for tag, value in TAGS.items()}


def test_what_a_network_lacks_is_left_out(tmp_path):
    with Summaries(tmp_path) as summaries:
        summaries.scalars(1, total_loss=2.0, aux_cross_entropy=None, loss_scale=None)
        summaries.scalars(2, total_loss=np.float32(1.5), learning_rate=tf.constant(0.25))
    assert read(tmp_path) == {"total_loss": [(1, 2.0), (2, 1.5)], "learning_rate": [(2, 0.25)]}


def test_a_speed_that_is_not_known_yet_is_left_out(tmp_path):
    with Summaries(tmp_path) as summaries:
        summaries.scalars(1, total_loss=2.0, images_per_sec=math.nan, data_wait_share=math.nan)
        summaries.scalars(2, images_per_sec=100.0)
    assert read(tmp_path) == {"total_loss": [(1, 2.0)], "images_per_sec": [(2, 100.0)]}


def test_a_loss_that_is_not_a_number_is_shown(tmp_path):
    with Summaries(tmp_path) as summaries:
        summaries.scalars(1, total_loss=math.nan)
    ((step, value),) = read(tmp_path)["total_loss"]
    assert step == 1
    assert math.isnan(value)


def test_a_report_is_on_the_disk_at_once(tmp_path):
    summaries = Summaries(tmp_path)
    summaries.scalars(1, total_loss=2.0)
    assert read(tmp_path) == {"total_loss": [(1, 2.0)]}
    summaries.close()


def test_a_value_without_a_tag_is_refused(tmp_path):
    with Summaries(tmp_path) as summaries, pytest.raises(ValueError, match="no TensorBoard tag"):
        summaries.scalars(1, top_one=0.5)


@pytest.mark.parametrize(
    ("verbosity", "tags"),
    [
        (1, set()),
        (2, {"log_gradients"}),
        (
            3,
            {
                "log_gradients",
                "conv/kernel/gradients",
                "dense/bias/gradients",
                "conv/kernel",
                "dense/bias",
                "train_images",
            },
        ),
    ],
)
def test_verbosity(tmp_path, verbosity, tags):
    write_everything(tmp_path, verbosity)
    plugins = event_readers.metadata(tmp_path)
    assert set(plugins) - set(TAGS) == tags
    assert plugins.pop("train_images", "images") == "images"
    assert {plugins[tag] for tag in plugins if tag not in TAGS} <= {"histograms"}


def test_silence_makes_no_file(tmp_path):
    write_everything(tmp_path / "run", 0)
    write_everything(None, 3)
    with EvaluationSummaries(None) as summaries:
        summaries.write(1, RESULT)
    assert list(tmp_path.iterdir()) == []


def test_the_histogram_of_gradients_is_of_log_magnitudes_without_zeros(tmp_path):
    write_everything(tmp_path, 2)
    # Rows of (left edge, right edge, count). The logs are 0, 1, 1 and -2.
    buckets = event_readers.tensor(tmp_path, "log_gradients")
    assert buckets[:, 2].sum() == 4
    assert buckets[0, 0] == pytest.approx(-2, abs=1e-6)
    assert buckets[-1, 1] == pytest.approx(1, abs=1e-6)
    assert (buckets[0, 2], buckets[-1, 2]) == (1, 2)


def test_tags_inside_a_graph_are_those_outside(tmp_path):
    with Summaries(tmp_path, 3) as summaries:

        @tf.function(autograph=False)
        def step(number):
            with tf.name_scope("while"):
                summaries.gradients(number, {"w": tf.ones([3])})
                summaries.images(number, tf.zeros([2, 4, 4, 3]))

        step(tf.constant(1, tf.int64))
    assert set(event_readers.metadata(tmp_path)) == {"log_gradients", "w/gradients", "train_images"}


def test_gradients_that_are_all_zero(tmp_path):
    with Summaries(tmp_path, 2) as summaries:
        summaries.gradients(1, {"w": tf.zeros([3])})
    assert event_readers.tensor(tmp_path, "log_gradients")[:, 2].sum() == 0


def test_histograms_of_variables(tmp_path):
    write_everything(tmp_path, 3)
    buckets = event_readers.tensor(tmp_path, "conv/kernel")
    (filled,) = np.flatnonzero(buckets[:, 2])
    assert buckets[filled, 2] == 9
    assert buckets[filled, 0] <= 2.0 <= buckets[filled, 1]


@pytest.mark.parametrize("dtype", [tf.uint8, tf.float32])
def test_images_are_the_ones_given(tmp_path, dtype):
    pixels = np.random.default_rng(1).integers(0, 256, [12, 5, 7, 3])
    with Summaries(tmp_path, 3) as summaries:
        summaries.images(4, tf.cast(pixels, dtype))
    # TensorBoard keeps width, height and one PNG an image.
    width, height, *images = event_readers.tensor(tmp_path, "train_images")
    assert (width, height) == (b"7", b"5")
    assert len(images) == 8
    for image, expected in zip(images, pixels, strict=False):
        np.testing.assert_array_equal(tf.io.decode_png(image), expected)


def test_float_pixels_are_rounded_and_cut_off(tmp_path):
    with Summaries(tmp_path, 3) as summaries:
        summaries.images(1, tf.constant([-3.0, 0.6, 254.6, 300.0] * 3, shape=[1, 2, 2, 3]))
    *_, image = event_readers.tensor(tmp_path, "train_images")
    assert np.ravel(tf.io.decode_png(image))[:4].tolist() == [0, 1, 255, 255]


def test_a_resumed_run_shows_its_steps_once(tmp_path):
    with Summaries(tmp_path) as summaries:
        for step in range(10, 60, 10):
            summaries.scalars(step, total_loss=1.0, top_1=0.5)
    with Summaries(tmp_path, start_step=30) as summaries:
        summaries.scalars(40, total_loss=2.0)
    assert read(tmp_path) == {
        "total_loss": [(10, 1.0), (20, 1.0), (30, 1.0), (40, 2.0)],
        "metrics/accuracy_at_1": [(10, 0.5), (20, 0.5), (30, 0.5)],
    }


def test_evaluations(tmp_path):
    with EvaluationSummaries(tmp_path, start_step=0) as summaries:
        for step in (100, 200, 300):
            summaries.write(step, RESULT)
    with EvaluationSummaries(tmp_path, start_step=200) as summaries:
        summaries.write(300, {"top_1": 0.625, "top_5": 0.875, "loss": 1.0})
    top_1, top_5 = [(100, 0.5), (200, 0.5), (300, 0.625)], [(100, 0.75), (200, 0.75), (300, 0.875)]
    loss = [(100, 1.25), (200, 1.25), (300, 1.0)]
    assert read(tmp_path) == {
        "eval/Accuracy@1": top_1,
        "eval/Accuracy@5": top_5,
        "eval/loss": loss,
        # Under the names of training, so that TensorBoard draws both in one chart.
        "metrics/accuracy_at_1": top_1,
        "metrics/recall_at_5": top_5,
        "losses/cross_entropy": loss,
    }


def test_a_training_that_evaluates(tmp_path):
    with Summaries(tmp_path) as summaries:
        assert not (tmp_path / "eval").exists()
        summaries.evaluation(100, RESULT)
        summaries.evaluation(200, RESULT)
        assert read(tmp_path / "eval")["eval/Accuracy@1"] == [(100, 0.5), (200, 0.5)]
    with Summaries(tmp_path, start_step=150) as summaries:
        summaries.evaluation(200, RESULT | {"top_1": 0.625})
    assert read(tmp_path / "eval")["eval/Accuracy@1"] == [(100, 0.5), (200, 0.625)]


def test_a_training_leaves_the_results_of_others_alone(tmp_path):
    with EvaluationSummaries(tmp_path / "eval") as other:
        other.write(100, RESULT)
        with Summaries(tmp_path, start_step=50) as summaries:
            summaries.scalars(60, total_loss=1.0)
        other.write(200, RESULT)
    assert read(tmp_path / "eval")["eval/loss"] == [(100, 1.25), (200, 1.25)]


def test_an_evaluation_of_an_older_checkpoint_keeps_the_newer_results(tmp_path):
    for step in (200, 100):
        with EvaluationSummaries(tmp_path) as summaries:
            summaries.write(step, RESULT)
    assert sorted(read(tmp_path)["eval/loss"]) == [(100, 1.25), (200, 1.25)]
