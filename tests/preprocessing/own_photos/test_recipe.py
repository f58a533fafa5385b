"""A folder and --pretrained are enough: the recipe says the rest, unless the command does."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from PIL import Image

from benchmark_cnn.flags import command_line
from preprocessing.own_photos import recipe

parse = functools.partial(command_line.parse, "train.py")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    for name in ("cat", "dog"):
        (root / name).mkdir()
        pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(root / name / "0.png")
    return root


def test_the_recipe_says_what_the_command_does_not(photos, capsys):
    given = [f"--data_dir={photos}", "--pretrained", "--image_size=64", "--nohorizontal_flip"]
    argv, flags = recipe.with_recipe(given, parse(given), parse)
    assert argv == [f"--flagfile={recipe.RECIPE}", *given]
    params = flags.params
    assert (params.network.model, params.network.image_size) == ("efficientnet_lite0", 64)
    assert (params.run.num_batches, params.optimization.optimizer) == (1500, "adam")
    assert params.fine_tuning.freeze_epochs == 1
    assert capsys.readouterr().out.startswith("Flags:       recipes/fine_tune.flags")


@pytest.mark.parametrize(
    "more",
    [
        ["--pretrained", "--num_epochs=3"],
        ["--pretrained", "--learning_rate=0.1"],
        ["--pretrained", f"--flagfile={recipe.RECIPE}"],
        [],
    ],
    ids=["length", "rate", "the recipe itself", "random weights"],
)
def test_a_command_that_says_something_is_left_alone(photos, more, capsys):
    given = [f"--data_dir={photos}", *more]
    flags = parse(given)
    assert recipe.with_recipe(given, flags, parse) == (given, flags)
    told = capsys.readouterr().out
    if more and "--flagfile" not in more[-1]:
        flag = more[-1].partition("=")[0]
        assert told.startswith(f"Flags:       without recipes/fine_tune.flags, because of {flag};")
    else:
        assert told == ""


def test_records_and_synthetic_images_have_no_recipe():
    given = ["--pretrained", "--data_name=digits"]
    flags = parse(given)
    assert recipe.with_recipe(given, flags, parse) == (given, flags)


def test_the_recipe_says_nothing_that_the_check_overlooks():
    """A new flag in the recipe has to be one whose presence keeps the recipe away."""
    words = [line for line in recipe.RECIPE.read_text().splitlines() if line.startswith("--")]
    names = {word.strip("-").partition("=")[0] for word in words}
    assert names - recipe._OF_TRAINING == {"model", "pretrained", "display_every"}
