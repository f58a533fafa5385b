from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from benchmark_cnn.params.params import write_parameters
from benchmark_cnn.params.validation import make_params
from preprocessing import contact_sheet
from preprocessing.images.photos import load
from preprocessing.images.views import train_image
from preprocessing.randomness import example_seed
from preprocessing.records.examples import Example


def test_a_row_for_each_augmentation_and_a_view_in_each_column(tmp_path):
    """Two photos of one color each: only cropped they keep it, and no other row does."""
    colors = [(200, 40, 90), (10, 160, 60)]
    paths = []
    for number, color in enumerate(colors):
        paths.append(str(tmp_path / f"{number}.png"))
        Image.new("RGB", (50, 40), color).save(paths[-1])
    output = tmp_path / "sheet.png"
    code = contact_sheet.main([*paths, f"--output={output}", "--num_views=4", "--image_size=32"])
    assert code == 0
    pixels = np.asarray(Image.open(output).convert("RGB"))
    assert pixels.shape == (32 * len(contact_sheet.ROWS), 100 + 4 * 32, 3)
    rows = pixels[:, 100:].reshape(len(contact_sheet.ROWS), 32, 4, 32, 3).swapaxes(1, 2)
    expected = np.array([colors[column % 2] for column in range(4)])[:, None, None]
    changed = [np.abs(row.astype(int) - expected).max() > 4 for row in rows]
    unchanged = [
        name for name, is_changed in zip(contact_sheet.ROWS, changed, strict=True) if not is_changed
    ]
    # A photo of one color has nothing to rotate or to blur, and AugMix may leave it alone.
    assert {"none", "rotation_degrees", "random_blur"} <= {*unchanged}
    assert {*unchanged} <= {"none", "rotation_degrees", "random_blur", "augmix", "trivialaugment"}
    assert changed.count(True) >= 7


def test_a_sheet_of_a_run_shows_the_views_of_its_training(tmp_path, capsys):
    """The run's parameters, one of them overridden: the views of the data set, and no others."""
    random = np.random.default_rng(0)
    paths = []
    for number in range(2):
        paths.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(random.integers(0, 256, (50, 40, 3), np.uint8)).save(paths[-1])
    flags = {"augment": "augmix", "horizontal_flip": False, "crop_area": "0.5,1", "image_size": 32}
    run = make_params(data_dir=str(tmp_path), data_name="folder", model="lenet", **flags)
    write_parameters(run, tmp_path)
    output = tmp_path / "sheet.png"
    arguments = [*paths, f"--output={output}", "--num_views=3", f"--train_dir={tmp_path}"]
    assert contact_sheet.main([*arguments, "--vertical_flip"]) == 0
    printed = capsys.readouterr().out
    for flag in ("--augment=augmix", "--horizontal_flip=False", "--vertical_flip=True"):
        assert flag in printed
    pixels = np.asarray(Image.open(output).convert("RGB"))
    assert pixels.shape == (2 * 32, 100 + 4 * 32, 3)
    data = dataclasses.replace(run.data, vertical_flip=True)
    for number in range(6):
        example = Example(load(paths[number % 2]), tf.constant(0), tf.zeros([0, 4]))
        position = tf.constant(number, tf.int64)
        seed = example_seed(1, 0, tf.constant(0, tf.int64), position)
        view = train_image(data, example, 32, seed, position).numpy()
        top, left = 32 * (number % 2), 132 + 32 * (number // 2)
        shown = pixels[top : top + 32, left : left + 32].astype(int)
        # The sheet has a palette of 256 colors.
        assert np.abs(shown - view).mean() < 25
        assert np.abs(shown - view[:, ::-1]).mean() > 40


def test_a_missing_photo_is_one_line_and_code_3(tmp_path, capsys):
    assert contact_sheet.main([str(tmp_path / "none.png")]) == 3
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "flag",
    ["--output=sheet", "--output=.foo", "--output=sheet.txt", "--num_views=0", "--image_size=0"],
)
def test_a_flag_that_cannot_be_meant_is_one_line_and_code_2(tmp_path, capsys, flag):
    Image.new("RGB", (50, 40)).save(tmp_path / "a.png")
    with pytest.raises(SystemExit) as caught:
        contact_sheet.main([str(tmp_path / "a.png"), flag])
    assert caught.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert f"error: argument {flag.split('=')[0]}: " in last


@pytest.mark.parametrize("name", ["sheet.jpg", "sheet.eps", "nowhere/sheet.png"])
def test_a_file_that_cannot_be_written_is_one_line_and_code_3(tmp_path, capsys, name):
    """JPEG and EPS have no palettes; Pillow raises a different error for each."""
    Image.new("RGB", (50, 40)).save(tmp_path / "a.png")
    arguments = [str(tmp_path / "a.png"), "--num_views=1", "--image_size=16"]
    assert contact_sheet.main([*arguments, f"--output={tmp_path / name}"]) == 3
    error = capsys.readouterr().err
    assert error.startswith(f"error: cannot write {tmp_path / name}: ")
    assert error.count("\n") == 1
