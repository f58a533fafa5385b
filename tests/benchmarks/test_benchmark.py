from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import pipeline
from benchmarks.pipelines import pillow_loader
from benchmarks.rounds import Speed
from common.errors import DataError
from tests.preprocessing.image_shards import encode, example, photographs, write_split

MINIMAL = ["minimal / decode", "pipeline / minimal"]
WITHOUT_PIL = ["view / decode", "minimal / decode", "pipeline / decode", "pipeline / minimal"]
WITH_PIL = ["view / PIL", "pipeline / PIL", "pipeline / PIL, files"]


def test_shares_are_differences_between_stages():
    """1,000, 1,250 and 2,000 us with each stage; one round of three was disturbed."""
    disturbed = Speed(1, 10.0)
    stages = {
        "nothing": [Speed(1, 1000.0)] * 3,
        "parse": [Speed(1, 800.0), disturbed, Speed(1, 800.0)],
        "batch": [Speed(1, 500.0)] * 3,
    }
    micros = pipeline.shares([Speed(1, 20_000.0)] * 3, stages)
    assert micros == pytest.approx({"read": 50, "parse": 250, "batch": 750})


@pytest.mark.parametrize(
    ("arguments", "ratios"),
    [
        ([], WITHOUT_PIL + WITH_PIL),
        pytest.param(["--eval"], WITHOUT_PIL + WITH_PIL, marks=pytest.mark.slow),
        pytest.param(["--augment=color"], WITHOUT_PIL, marks=pytest.mark.slow),
    ],
)
def test_a_row_for_every_candidate(tmp_path, capsys, arguments, ratios):
    images = [example(encoded, 1) for encoded in photographs(40)]
    write_split(tmp_path, "train", images, 2)
    write_split(tmp_path, "validation", images, 1)
    code = pipeline.main(
        [
            f"--data_dir={tmp_path}",
            "--data_name=imagenet",
            "--image_size=32",
            "--batch_size=8",
            "--seconds=0.1",
            *arguments,
        ]
    )
    assert code == 0
    heading, _, columns, *rows, last = capsys.readouterr().out.splitlines()
    subset = "validation" if arguments == ["--eval"] else "train"
    assert heading.startswith(f"imagenet, {subset}: 32 px, batch 8")
    assert columns.split() == ["median", "lowest", "highest"] * 2
    names = ["read", "decode", "view", "pipeline"]
    names += ["minimal"] if subset == "train" else []
    names += ["PIL", "PIL, files"] if "view / PIL" in ratios else []
    assert [re.split(r"\s{2,}", row)[0] for row in rows] == names + [
        name for name in ratios if subset == "train" or name not in MINIMAL
    ]
    for row in rows:
        values = [float(word) for word in row.split()[-6:]]
        for median, lowest, highest in (values[:3], values[3:]):
            assert 0 <= lowest <= median <= highest
    shares = dict(re.findall(r"([a-z, ]+?) (\d+)%", last.split(": ")[1]))
    assert {name.strip(" ,") for name in shares} >= {"read", "parse", "decode", "batch"}
    assert sum(map(int, shares.values())) == pytest.approx(100, abs=4)


def test_views_by_pillow():
    """A window of a lossless image, enlarged twice, center-cropped and mirrored."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    view = pillow_loader.View(encode(pixels, "PNG"), (5, 7, 8, 10), (16, 20), flipped=True)
    part = Image.fromarray(pixels[5:13, 7:17]).resize((20, 16), Image.Resampling.BILINEAR)
    expected = np.asarray(part)[2:14, 4:16][:, ::-1]
    np.testing.assert_array_equal(pillow_loader.make(view, 12), expected)


def test_a_jpeg_by_pillow_is_decoded_as_it_is():
    (encoded,) = photographs(1)
    pixels = np.asarray(Image.open(io.BytesIO(encoded)))
    view = pillow_loader.View(encoded, (0, 0, 48, 64), (48, 64), flipped=False)
    np.testing.assert_array_equal(pillow_loader.make(view, 40), pixels[4:44, 12:52])


def test_the_same_view_from_a_file(tmp_path):
    views = [pillow_loader.View(e, (4, 8, 30, 30), (20, 20), flipped=True) for e in photographs(3)]
    for in_memory, in_file in zip(views, pillow_loader.in_files(views, tmp_path), strict=True):
        assert isinstance(in_file.encoded, Path)
        np.testing.assert_array_equal(
            pillow_loader.make(in_file, 20), pillow_loader.make(in_memory, 20)
        )


def test_missing_data(capsys):
    assert pipeline.main(["--data_dir=/nowhere"]) == 3
    assert "error: data directory /nowhere does not exist" in capsys.readouterr().err


def cut_a_record(path):
    path.write_bytes(path.read_bytes()[:-5])
    return "record 9 at byte "


def break_an_image(path):
    """A PNG whose ends are right and a checksum within is not."""
    png = encode(np.zeros([20, 30, 3], np.uint8), "PNG")
    broken = png[:-20] + bytes([png[-20] ^ 1]) + png[-19:]
    examples = [example(broken if number == 3 else png, 1) for number in range(10)]
    write_split(path.parent, "train", examples, 1)
    return "record 3: its image cannot be decoded\n"


@pytest.mark.parametrize("damage", [cut_a_record, break_an_image])
def test_damaged_data_is_named_in_one_line(tmp_path, capsys, damage):
    (path,) = write_split(tmp_path, "train", [example(p, 1) for p in photographs(10)], 1)
    message = damage(path)
    arguments = [f"--data_dir={tmp_path}", "--data_name=imagenet", "--image_size=32"]
    assert pipeline.main([*arguments, "--batch_size=8", "--seconds=0.1"]) == 3
    errors = capsys.readouterr().err
    assert f"error: {path}: {message}" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon"])
def test_an_invalid_time(capsys, seconds):
    with pytest.raises(SystemExit) as caught:
        pipeline.main(["--data_dir=/nowhere", f"--seconds={seconds}"])
    assert caught.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "error: argument --seconds: " in last


def test_a_process_with_pillow_that_has_ended(capfd):
    """Its own message says why."""
    view = pillow_loader.View(b"no image", (0, 0, 8, 8), (8, 8), flipped=False)
    message = "Pillow cannot decode an image of the sample"
    with pillow_loader.Workers([view], 8, 1, 1) as workers, pytest.raises(DataError, match=message):
        workers.run(0.1)
    assert "UnidentifiedImageError" in capfd.readouterr().err


def test_an_option_that_does_not_exist(tmp_path, capsys):
    write_split(tmp_path, "train", [example(photographs(1)[0], 1)], 1)
    arguments = [f"--data_dir={tmp_path}", "--data_name=imagenet", "--train_crop=none"]
    assert pipeline.main(arguments) == 2
    assert "error: --train_crop=none is not one of inception" in capsys.readouterr().err
