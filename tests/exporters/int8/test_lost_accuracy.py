"""A file calibrated on the wrong images loses accuracy: the export says so, and how to mend it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmark_cnn.params.data_params import DataParams
from common.errors import UsageError
from download_and_convert_imagenet.records.manifest import Manifest, write_manifest
from download_and_convert_imagenet.records.shard_writer import write_shard
from download_and_convert_imagenet.records.tf_example import LabeledImage, encode_image
from exporters import exporting
from exporters.int8 import calibration, layer_errors, quantizer
from exporters.int8.agreement import Agreement, compare
from exporters.plan import INT8, Plan
from exporters.servable import servable
from inference.artifacts import open_artifact
from inference.view import View
from tests.preprocessing.image_shards import encode

SIZE = 28
NUM_IMAGES = 64


def _pixels(seed: int, largest: int) -> np.ndarray:
    """Squares of random colors, uint8 [28, 28, 3], up to a brightness."""
    colors = np.random.default_rng(seed).integers(0, largest + 1, [4, 4, 3], np.uint8)
    return colors.repeat(7, axis=0).repeat(7, axis=1)


BRIGHT = np.stack([_pixels(seed, 255) for seed in range(NUM_IMAGES)])
DARK = np.stack([_pixels(1000 + seed, 12) for seed in range(NUM_IMAGES)])


@pytest.fixture(scope="module")
def source(lenet):
    """The network, which sees whole images: the pixels as they are."""
    signature = replace(lenet.signature, view=View("whole"))
    return replace(lenet, signature=signature)


@pytest.fixture(scope="module")
def answers(source) -> np.ndarray:
    """The network's classes of the bright images, which are taken for the right ones."""
    classes = source.classifier.probabilities(BRIGHT.astype(np.float32)).argmax(axis=1)
    assert len(set(classes.tolist())) >= 3
    return classes


@pytest.fixture(scope="module")
def data(source, answers, tmp_path_factory) -> Path:
    """Records: dark images to train, bright ones to evaluate."""
    directory = tmp_path_factory.mktemp("data")
    splits = {}
    for split, images in (("train", DARK), ("validation", BRIGHT)):
        examples = [
            encode_image(LabeledImage(encode(image, "PNG"), SIZE, SIZE, int(k) + 1, f"{n}.png"))
            for n, (image, k) in enumerate(zip(images, answers, strict=True))
        ]
        splits[split] = (write_shard(directory, split, 0, 1, examples),)
    write_manifest(directory, Manifest("folder", source.signature.class_names, splits))
    return directory


@pytest.fixture(scope="module")
def network(source):
    return servable(source.classifier, source.signature, 1)


@pytest.fixture(scope="module")
def calibrated(source, network, data) -> dict[str, bytes]:
    """What quantization starts from, calibrated on dark and on bright images."""
    dark, bright = calibration.choose(source.signature, DataParams(), data, NUM_IMAGES)
    return {
        "dark": quantizer.calibrate(network, lambda: dark.representative(1)),
        "bright": quantizer.calibrate(network, lambda: bright.representative(1)),
    }


@pytest.fixture(scope="module")
def bright(source, data):
    return calibration.choose(source.signature, DataParams(), data, NUM_IMAGES).measured


def _top_1(path: Path, answers: np.ndarray) -> float:
    found = open_artifact(path).probabilities(BRIGHT.astype(np.float32))
    return 100 * float(np.mean(found.argmax(axis=1) == answers))


def _export(source, path: Path, data: Path, **options) -> list[str]:
    lines: list[str] = []
    plan = Plan(tflite=path, quantize=INT8, calibration_data=data, **options)
    exporting.export(source, plan, lambda line: lines.append(str(line)))
    return lines


def test_a_loss_is_said_with_what_can_be_done_and_the_advice_helps(
    source, data, answers, tmp_path: Path
):
    path = tmp_path / "dark.tflite"
    lines = _export(source, path, data)
    text = "\n".join(lines)
    lost = 100 - _top_1(path, answers)
    assert lost > 5
    assert f"warning: int8 loses {lost:.1f} points of top-1." in text
    assert f"top-1 100.00% -> {100 - lost:.2f}%" in text
    assert "calibrate on more than 64 images" in text
    assert "warning: fewer than 100 images calibrated the file" in text
    worst = [line for line in lines if line.startswith("  ")]
    assert len(worst) == 3
    assert "values beyond the calibrated range" in worst[0]

    # The second piece of advice, followed.
    layers = [re.escape(line.rsplit(": ")[-1]) for line in worst]
    mended = _export(source, path, data, float_layers="|".join(layers))
    assert 100 - _top_1(path, answers) < lost / 2
    assert "operations compute in float, as wanted:" in "\n".join(mended)


def test_the_file_is_compared_image_by_image(source, calibrated, bright, answers, tmp_path: Path):
    path = tmp_path / "bright.tflite"
    path.write_bytes(quantizer.quantize(calibrated["bright"], "uint8", "float32"))
    file = open_artifact(path).probabilities
    agreement = compare(source.classifier.probabilities, file, bright)
    right = round(_top_1(path, answers) * NUM_IMAGES / 100)
    assert agreement.num_correct == (NUM_IMAGES, right)
    assert agreement.num_same == right
    pixels = BRIGHT.astype(np.float32)
    difference = np.abs(file(pixels) - source.classifier.probabilities(pixels)).max()
    assert agreement.difference == pytest.approx(difference, abs=1e-6)


def test_a_loss_of_more_than_a_point_is_bad(bright):
    def agreement(num_labeled: int, *num_correct: int) -> Agreement:
        return Agreement(bright, 0, num_labeled, num_correct, 0.0)

    assert not agreement(200, 150, 148).is_bad
    assert agreement(200, 150, 147).is_bad
    assert agreement(200, 150, 147).lost_points == 1.5
    assert not agreement(200, 147, 150).is_bad
    assert agreement(0, 0, 0).lost_points is None
    assert not agreement(0, 0, 0).is_bad


def test_errors_of_layers_tell_rounding_from_values_cut_off(calibrated, bright):
    good = layer_errors.layer_errors(calibrated["bright"], bright)
    bad = layer_errors.layer_errors(calibrated["dark"], bright)
    by_kind = {error.operation: error for error in good}
    # A pixel less 127.5 is always half-way between two of the steps, which are 1.
    assert by_kind["SUB"].step == 1.0
    assert by_kind["SUB"].error_in_steps == pytest.approx(0.5)
    assert by_kind["MAX_POOL_2D"].error_in_steps == pytest.approx(0, abs=1e-4)
    # Rounding, with that of the weights on top.
    assert layer_errors.ROUNDING * 0.9 < by_kind["CONV_2D"].error_in_steps < 0.5
    assert not any(error.is_cut_off for error in good)
    assert bad[0].is_cut_off
    assert bad[0].relative_error > 10 * good[0].relative_error
    # Pixels up to 12, less 127.5; a range always holds 0.
    (step,) = [error.step for error in bad if error.operation == "SUB"]
    assert step == pytest.approx(127.5 / 255)


def test_layers_in_float_are_those_that_match_and_those_that_read_them(calibrated):
    chosen = quantizer.layers_matching(calibrated["bright"], r"conv1\.conv2d")
    convolution, pool = chosen
    assert "conv1.conv2d" in convolution
    assert "conv1.pool" in pool
    file = quantizer.quantize(calibrated["bright"], "uint8", "uint8", chosen)
    assert quantizer.float_operations(file) == ["CONV_2D", "MAX_POOL_2D"]
    assert not quantizer.float_operations(
        quantizer.quantize(calibrated["bright"], "uint8", "uint8")
    )


def test_all_layers_in_float_are_the_network(source, calibrated, tmp_path: Path):
    every = quantizer.layers_matching(calibrated["dark"], ".")
    path = tmp_path / "float.tflite"
    path.write_bytes(quantizer.quantize(calibrated["dark"], "float32", "float32", every))
    pixels = BRIGHT.astype(np.float32)
    expected = source.classifier.probabilities(pixels)
    np.testing.assert_allclose(open_artifact(path).probabilities(pixels), expected, atol=1e-5)


@pytest.mark.parametrize("kinds", [("uint8", "uint8"), ("int8", "int8"), ("float32", "uint8")])
def test_types_of_inputs_and_outputs_change_no_answer(calibrated, kinds, tmp_path: Path):
    def answers_of(*types: str) -> np.ndarray:
        path = tmp_path / "types.tflite"
        path.write_bytes(quantizer.quantize(calibrated["bright"], *types))
        return open_artifact(path).probabilities(BRIGHT.astype(np.float32))

    expected = answers_of("float32", "float32")
    np.testing.assert_allclose(answers_of(*kinds), expected, atol=1e-6)


@pytest.mark.slow
def test_several_images_at_a_time(source, data, answers, tmp_path: Path):
    one, four = tmp_path / "one" / "a.tflite", tmp_path / "four" / "a.tflite"
    for path, batch_size in ((one, 1), (four, 4)):
        path.parent.mkdir()
        _export(source, path, data, batch_size=batch_size, calibration_images=8)
    assert open_artifact(four).batch_size == 4
    assert _top_1(one, answers) == _top_1(four, answers)


def test_mistaken_patterns_are_refused(calibrated):
    with pytest.raises(UsageError, match=r"--float_layers=\( is no regular expression: "):
        quantizer.layers_matching(calibrated["bright"], "(")
    with pytest.raises(UsageError, match=r"--float_layers=nonsense matches no layer; their names"):
        quantizer.layers_matching(calibrated["bright"], "nonsense")
