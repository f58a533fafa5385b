"""Checkpoints, weights and class names that do not fit."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import numpy as np
import pytest

import eval as evaluation
from checkpoints import bundle
from download_and_convert_imagenet.__main__ import main as convert
from download_and_convert_imagenet.sources.synsets import synsets
from inference import class_names
from tests.advice.cases import (
    Case,
    Place,
    conversion,
    evaluating,
    flagged,
    follow,
    predicting,
    resuming,
)
from tests.conftest import ROOT
from tests.preprocessing.image_shards import encode


def rewrite(place: Place, change: Callable[[dict], dict]) -> None:
    """Writes the checkpoint of the run with other tensors."""
    path = place.run / "model.ckpt-1"
    values = bundle.read(path)
    for file in place.run.glob("model.ckpt-1*"):
        file.unlink()
    bundle.write(path, change(values))


def prefixed(place: Place) -> None:
    rewrite(place, lambda values: {f"v0/cg/{name}": value for name, value in values.items()})


def without_a_variable(place: Place) -> None:
    rewrite(place, lambda values: {k: v for k, v in values.items() if "head/dense/bias" not in k})


def advised_flag(pattern: str) -> Callable[[Place, str], None]:
    """The flag of the message, as printed."""

    def give(place: Place, message: str) -> None:
        place.flags = [re.findall(pattern, message)[0]]

    return give


def cut_off(place: Place) -> None:
    for path in place.run.glob("model.ckpt-1.data*"):
        path.write_bytes(path.read_bytes()[:1000])


def checkpoints_moved(place: Place, _: str) -> None:
    (place.run / "away").mkdir()
    for path in place.run.glob("model.ckpt-1*"):
        path.rename(place.run / "away" / path.name)


def labels(place: Place, names: list[str]) -> None:
    path = place.run / "labels.json"
    path.write_text(json.dumps(names))
    place.flags = [f"--labels_map_file={path}"]


def init_checkpoint(place: Place, _: str) -> None:
    place.flags = ["--optimizer=rmsprop", f"--init_checkpoint={place.run}/model.ckpt-1"]
    place.run = place.run.with_name("new")


def quantized_from_weights(place: Place, _: str) -> None:
    place.flags = ["--quantization_aware", f"--init_checkpoint={place.run}/model.ckpt-1"]
    place.run = place.run.with_name("new")


def new_directory(place: Place, _: str) -> None:
    place.run = place.run.with_name("new")


CHECKPOINTS = {
    "ranges": Case(
        resuming,
        flagged("--quantization_aware"),
        "leave that out, or start a new --train_dir from its weights with --init_checkpoint",
        quantized_from_weights,
    ),
    "classes": Case(
        evaluating,
        flagged("--num_classes=3"),
        "give the data set it was trained on, or, if the data have no more than these 2, --num",
        advised_flag(r"--num_classes=\d+"),
    ),
    "size": Case(
        evaluating,
        flagged("--image_size=32"),
        "of another model or size; give the --model it was trained with, in its --image_size",
        flagged(),
    ),
    "averages": Case(
        evaluating,
        flagged("--moving_average_decay=0.9"),
        "leave out --moving_average_decay to use its raw weights",
        flagged(),
    ),
    "prefix": Case(
        evaluating, prefixed, "try --ckpt_scope=", advised_flag(r"--ckpt_scope=[^;\s]+")
    ),
    "prefix, resumed": Case(resuming, prefixed, "start a new --train_dir", new_directory),
    "a variable lacks": Case(
        evaluating,
        without_a_variable,
        "or leave them at their initial values with --ignore_missing_vars",
        flagged("--ignore_missing_vars"),
    ),
    "slots": Case(
        resuming,
        flagged("--optimizer=rmsprop"),
        "or start a run with --init_checkpoint",
        init_checkpoint,
    ),
    "slots, as trained": Case(
        resuming,
        flagged("--optimizer=rmsprop"),
        "give the --optimizer, the --moving_average_decay and the --freeze it was",
        flagged(),
    ),
    "damage": Case(
        resuming,
        cut_off,
        "restore one from a copy, or move these away to start from zero",
        checkpoints_moved,
    ),
    "a name too many": Case(
        predicting,
        lambda p: labels(p, ["background", "ant", "bee"]),
        "if the first one is a background class, remove it",
        lambda p, _: labels(p, ["ant", "bee"]),
    ),
    "a name too few": Case(
        predicting,
        lambda p: labels(p, ["ant"]),
        'to name only some classes, write {"0": "label", ...}',
        lambda p, _: labels(p, {"0": "ant"}),  # type: ignore[arg-type]
    ),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_advice_about_checkpoints_helps(place, capsys, name):
    follow(CHECKPOINTS[name], place, capsys)


def test_a_subset_of_imagenet_for_the_published_weights(tmp_path, capsys):
    """Converted as classes of its own it is refused; converted as advised it is not."""
    wnids = [synset.wnid for synset in synsets()[281:283]]
    for split, count in (("train", 4), ("val", 2)):
        for wnid in wnids:
            folder = tmp_path / "photos" / split / wnid
            folder.mkdir(parents=True)
            for number in range(count):
                (folder / f"{number}.jpg").write_bytes(
                    encode(np.full([30, 40, 3], number, np.uint8))
                )
    weights = tmp_path / "weights"
    weights.mkdir()
    entry = json.loads((ROOT / "models/pretrained/manifest.json").read_text())["efficientnet_lite0"]
    origin = {"model": "efficientnet_lite0", "sha256": entry["sha256"]}
    (weights / "weights.json").write_text(json.dumps(origin))
    own, imagenet = tmp_path / "own", tmp_path / "as_imagenet"
    assert convert(conversion(tmp_path / "photos", own)) == 0
    argv = ["--device=cpu", "--model=efficientnet_lite0", f"--train_dir={weights}"]
    capsys.readouterr()
    assert evaluation.main([*argv, f"--data_dir={own}", "--num_classes=1000"]) == 3
    error = capsys.readouterr().err
    assert f"label 1 in {own} is " in error
    assert "--source=imagenet (the default), which keeps ImageNet's labels" in error
    advised = [word for word in conversion(tmp_path / "photos", imagenet) if "source" not in word]
    assert convert([*advised, "--bounding_boxes=none"]) == 0
    capsys.readouterr()
    assert evaluation.main([*argv, f"--data_dir={imagenet}"]) == 3  # there are no weights
    assert "label 1" not in capsys.readouterr().err
    assert class_names.imagenet()[281].startswith("tabby")
