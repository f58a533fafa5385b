"""The commands of docs/accuracy.md, in their order, in an empty directory."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import accuracy
import eval as evaluation
import prediction
import train
from download_and_convert_imagenet.sources.synsets import synsets, validation_labels
from tests.conftest import ROOT
from tests.inference.accuracy.artifacts import manifest, random_predictions, write

PROGRAMS = {
    "train.py": train, "eval.py": evaluation, "prediction.py": prediction, "accuracy.py": accuracy
}  # fmt: skip
PAGE = (ROOT / "docs" / "accuracy.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.S | re.M)
COMMANDS = "".join(text for kind, text in BLOCKS if not kind).splitlines()


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """What each command printed, in a directory with predictions of ImageNet and of a subset."""
    directory = tmp_path_factory.mktemp("page")
    write_imagenet(directory)
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(directory / "cache"))
        patch.chdir(directory)
        for command in COMMANDS:
            python, program, *argv = shlex.split(command)
            assert python == "python"
            with contextlib.redirect_stdout(io.StringIO()) as stdout:
                assert PROGRAMS[program].main(argv) == 0, command
            found[command] = stdout.getvalue().splitlines()
    return directory, found


def write_imagenet(directory: Path) -> None:
    """Random predictions of 100 validation images, and of ten classes; ReaL's are the labels."""
    ids = [synset.wnid for synset in synsets()]
    labels = np.array(validation_labels()) - 1
    for name, chosen in (("imagenet", labels[:100]), ("imagenette2", labels[:100] // 100)):
        found = random_predictions(num_images=100, num_classes=1000, labels=chosen, accuracy=1.0)
        images = [f"ILSVRC2012_val_{number:08}.JPEG" for number in range(1, 101)]
        about = manifest(100, 1000, wordnet_ids=ids)
        found = dataclasses.replace(found, images=np.array(images), manifest=about)
        write(directory / "evaluation" / "efficientnet_lite0" / name, found)
    (directory / "real.json").write_text(json.dumps([[int(label)] for label in labels]))


def test_every_command_works(outputs):
    assert len(COMMANDS) == 10
    assert {command.split()[1] for command in COMMANDS} == set(PROGRAMS)


def test_the_accuracy_is_that_of_eval_py(outputs):
    """The table on disk, and a confusion that was counted on the towers."""
    directory, found = outputs
    here = json.loads((directory / "evaluation/lenet/digits__digits/accuracy.json").read_text())
    there = json.loads((directory / "runs/digits/eval/eval.json").read_text())
    assert here["images"] == there["examples"] == 359
    for entry in ("top_1", "top_5", "macro_f1", "classes", "confused_pairs"):
        assert here[entry] == there[entry]
    words = lines_of_classes(found[COMMANDS[2]])
    assert words == lines_of_classes(found[COMMANDS[-1]])
    assert len(words) > 12


def lines_of_classes(lines):
    start = lines.index("Top-1 of each class, worst first:")
    return [line for line in lines[start:] if line.startswith(("  ", "Most"))]


def test_the_page_shows_what_is_printed(outputs):
    """The forms of the lines; the network learns other digits on another machine."""
    _, found = outputs
    examples = [text.splitlines() for kind, text in BLOCKS if kind == "text"]
    compared = COMMANDS[5]
    for shown, printed in zip(examples, (found[COMMANDS[2]], found[compared]), strict=True):
        assert forms(shown) == forms(printed)


def forms(lines):
    """The lines without numbers and names of classes; how many pairs there are depends on luck."""
    plain = [re.sub(r"[\d.,%:-]+", "", line).split() for line in lines]
    return [
        [word for word in words if word not in CLASSES] for words in plain if "taken" not in words
    ]


CLASSES = {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"}


def test_real_labels_and_a_subset_are_counted(outputs):
    directory, found = outputs
    home = directory / "evaluation" / "efficientnet_lite0"
    real = json.loads((home / "imagenet" / "accuracy.json").read_text())["real"]
    assert (real["top_1"], real["images"], real["unlabeled"]) == (1.0, 100, 0)
    subset = json.loads((home / "imagenette2" / "accuracy.json").read_text())
    assert subset["competing_classes"] == 10
    assert subset["top_1"] == 1.0
    assert any(line.startswith("ReaL top-1: 100.00% ") for line in found[COMMANDS[7]])
