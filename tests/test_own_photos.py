"""Photos stored upright and in all eight orientations: one accuracy, whoever reads them."""

from __future__ import annotations

import contextlib
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

import eval as evaluation
import prediction
import train
from download_and_convert_imagenet.__main__ import main as convert
from tests.preprocessing.images.pixel_zoo import UPRIGHT, oriented

CLASSES = ("left", "up")
NUM_TRAIN, NUM_VALIDATION = 40, 10


def photo(random, name):
    """Red on the left, or above, as one sees it; a fifth of them is not what its name says."""
    pixels = np.full((48, 64, 3), 30)
    is_left = (name == "left") != (random.random() < 0.2)
    pixels[: 48 if is_left else 24, : 32 if is_left else 64, 0] = 200
    noise = random.integers(-20, 20, pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Folders: `upright`, `turned` with the same photos, `all` with each in every orientation."""
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for split, count in (("train", NUM_TRAIN), ("val", NUM_VALIDATION)):
        for name in CLASSES:
            for kind in ("upright", "all"):
                (root / kind / split / name).mkdir(parents=True)
            for number in range(count):
                image = photo(random, name)
                numbers = UPRIGHT if split == "val" else (6,)
                for one in numbers:
                    encoded = oriented(image, one, "JPEG", quality=95)
                    (root / "all" / split / name / f"{number}_{one}.jpg").write_bytes(encoded)
                encoded = oriented(image, 1, "JPEG", quality=95)
                (root / "upright" / split / name / f"{number}.jpg").write_bytes(encoded)
    for kind in ("upright", "all"):
        argv = [str(root / f"{kind}_data"), "--source=folder", f"--raw_dir={root / kind}"]
        assert convert([*argv, "--num_processes=1"]) == 0
    argv = [
        "--model=lenet", "--device=cpu", "--image_size=32", "--batch_size=16", "--num_epochs=8",
        "--distortions=false", f"--data_dir={root}/all_data", f"--train_dir={root}/run",
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        assert train.main(argv) == 0
    return root


def evaluated(root, kind, capsys):
    capsys.readouterr()
    argv = [f"--train_dir={root}/run", f"--data_dir={root}/{kind}_data", "--device=cpu"]
    assert evaluation.main(argv) == 0
    (found,) = re.findall(r"Accuracy @ 1 = ([\d.]+)", capsys.readouterr().out)
    return float(found)


def predicted(root, kind, capsys):
    right = total = 0
    for name in CLASSES:
        capsys.readouterr()
        assert (
            prediction.main([f"{root}/{kind}/val/{name}", f"--train_dir={root}/run", "--json"]) == 0
        )
        answers = json.loads(capsys.readouterr().out)
        right += sum(answer["predictions"][0]["label"] == name for answer in answers)
        total += len(answers)
    assert total == 2 * NUM_VALIDATION * (len(UPRIGHT) if kind == "all" else 1)
    return right / total


def test_all_orientations_are_equally_right(sets, capsys):
    accuracies = [evaluated(sets, kind, capsys) for kind in ("upright", "all")]
    accuracies += [predicted(sets, "upright", capsys), predicted(sets, "all", capsys)]
    assert accuracies == pytest.approx([accuracies[0]] * 4, abs=1e-4)
    assert 0.6 < accuracies[0] < 1
