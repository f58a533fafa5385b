"""The data set of letters: how many of each, equal for equal seeds, and readable."""

from __future__ import annotations

import string

import numpy as np
from PIL import Image

from benchmarks.own_photos import letters


def test_letters_are_uneven_and_equal_for_equal_seeds(tmp_path, capsys):
    """The rarest has a third of the images of the most frequent, within rounding."""
    for name in ("one", "two"):
        assert letters.main([str(tmp_path / name), "--num_images=104", "--image_size=32"]) == 0
    assert f"{tmp_path / 'two'}: 104 images (a " in capsys.readouterr().out
    one = sorted((tmp_path / "one").rglob("*.jpg"))
    two = sorted((tmp_path / "two").rglob("*.jpg"))
    assert [file.read_bytes() for file in one] == [file.read_bytes() for file in two]
    assert len(one) == 104
    counts = {folder.name: len(list(folder.iterdir())) for folder in (tmp_path / "one").iterdir()}
    assert sorted(counts) == list(string.ascii_lowercase)
    # Shares 1/3 to 1 of 104 images: 2 to 6.
    assert min(counts.values()) in (1, 2, 3)
    assert max(counts.values()) in (5, 6, 7)
    assert all(np.asarray(Image.open(file)).shape == (32, 32, 3) for file in one)


def test_a_letter_stands_out_from_its_photograph():
    """A black background gets a letter whose pixels are at least 90 levels brighter on average."""
    random = np.random.default_rng(1)
    background = Image.new("RGB", (64, 64))
    font = letters._files(
        {"matplotlib": ["DejaVuSans-Bold.ttf"]}, {"matplotlib": "mpl-data/fonts/ttf"}
    )
    image = np.asarray(letters._with_letter(random, background, "m", font[0]), np.float64)
    assert image.mean(axis=2).max() >= 90
    rows, columns = np.nonzero(image.mean(axis=2) > 45)
    assert 0.3 * 64 <= max(np.ptp(rows), np.ptp(columns)) <= 0.85 * 64


def test_an_existing_directory_is_refused(tmp_path, capsys):
    assert letters.main([str(tmp_path)]) == 2
    assert "exists: remove it" in capsys.readouterr().err
