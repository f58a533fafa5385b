"""The loaders of photos that first_step compares, and its command, on a few small photos."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.own_photos import first_step, loaders

ROOT = Path(__file__).resolve().parents[2]
NUM_PHOTOS, EPOCHS = 20, 2


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own") / "photos"
    first_step.write_photos(folder, NUM_PHOTOS)
    return folder


def test_photos_are_of_the_usual_size_in_ten_classes(photos):
    files = sorted(photos.rglob("*.jpg"))
    sizes = [Image.open(file).size for file in files]
    assert len(files) == NUM_PHOTOS
    assert len({file.parent for file in files}) == 10
    assert {max(size) for size in sizes} == {500}
    assert all(file.stat().st_size <= 64_000 for file in files)


@pytest.mark.parametrize("name", ["ours", "keras", "keras_cached"])
def test_a_loader_reads_every_photo_in_every_epoch(name, photos):
    task = loaders.Task(str(photos), 32, 4, EPOCHS, 0)
    assert loaders.LOADERS[name](task)() == NUM_PHOTOS * EPOCHS


@pytest.mark.slow
def test_the_command_prints_seconds_and_speeds(photos):
    command = [sys.executable, "-m", "benchmarks.own_photos.first_step", f"--data_dir={photos}"]
    done = subprocess.run(
        [*command, "--image_size=32", "--batch_size=4", "--epochs=1", "--rounds=1"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for state in ("empty", "full"):
        assert re.search(rf"first step, {state} cache: \d+\.\d$", done.stdout, re.MULTILINE)
    names = ["Keras", "Keras, cache()"]
    if first_step.PEERS.exists():
        names += [f"{peer}, 0 workers" for peer in ("torchvision", "timm")]
    else:
        assert "not measured, without .venv-peers" in done.stdout
    for name in names:
        assert re.search(rf"^ours / {re.escape(name)} +\d+\.\d\d", done.stdout, re.MULTILINE)
