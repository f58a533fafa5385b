"""The table of answers: what was written is read bit by bit, and damage is named in one line."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from common.errors import DataError
from inference.predictions import table
from inference.predictions.table import Predictions

_IMAGES = np.array(['tulip/"a", b.jpg', "line\nbreak.png", "käse.jpg", "d.jpg", "NA"])


def predictions(format: str = "parquet") -> Predictions:
    """Five images of four classes; the fourth has no prediction."""
    scores = np.random.default_rng(0).random((5, 4)).astype(np.float32) ** 9
    scores[0] = [1e-41, 0.1, 1 / 3, np.float32(np.nextafter(np.float32(0.1), np.float32(1)))]
    classes = np.argsort(-scores, axis=1, kind="stable")[:, :3].astype(np.int32)
    probabilities = np.take_along_axis(scores, classes, axis=1)
    classes[3], probabilities[3] = -1, np.nan
    manifest = {
        "model": "lenet", "expected": 5, "top": 3, "format": format, "class_names": list("abcd"),
        "data": {"name": "größe"},
    }  # fmt: skip
    return Predictions(
        manifest, _IMAGES, np.array([0, 1, 2, 3, -1], np.int32), classes, probabilities
    )


@pytest.mark.parametrize("format", table.FORMATS)
def test_what_is_read_is_what_was_written_bit_by_bit(tmp_path, format):
    written = predictions(format)
    table.write(tmp_path / "a/b", written)
    read = table.read(tmp_path / "a/b")
    assert read.manifest == written.manifest
    for name in ("images", "labels", "classes", "probabilities"):
        array = getattr(written, name)
        assert getattr(read, name).dtype == array.dtype
        assert getattr(read, name).tobytes() == array.tobytes()
    assert read.missing.tolist() == [False, False, False, True, False]
    names = sorted(path.name for path in (tmp_path / "a/b").iterdir())
    assert names == ["images.parquet", "manifest.json", f"predictions.{format}"]


def test_other_programs_read_the_table(tmp_path):
    for format in table.FORMATS:
        table.write(tmp_path / format, predictions(format))
    columns = ["image", "class_0", "probability_0", "class_1", "probability_1", "class_2",
               "probability_2"]  # fmt: skip
    from_parquet = parquet.read_table(tmp_path / "parquet/predictions.parquet")
    assert from_parquet.column_names == columns
    assert from_parquet["class_0"].type == pyarrow.int32()
    text = (tmp_path / "csv/predictions.csv").read_text("utf-8")
    assert text.splitlines()[0] == ",".join(f'"{name}"' for name in columns)
    assert from_parquet["image"].to_pylist() == [*_IMAGES[:3], _IMAGES[4]]


def test_a_deleted_row_is_a_missing_prediction(tmp_path):
    table.write(tmp_path, predictions("csv"))
    path = tmp_path / "predictions.csv"
    lines = path.read_text("utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith('"käse')), "utf-8")
    read = table.read(tmp_path)
    assert read.missing.tolist() == [False, False, True, True, False]
    assert read.classes[2].tolist() == [-1, -1, -1]
    assert np.isnan(read.probabilities[2]).all()
    assert read.classes[4].tolist() == predictions().classes[4].tolist()


def test_no_prediction_at_all_is_read(tmp_path):
    nothing = predictions()
    nothing.classes[:], nothing.probabilities[:] = -1, np.nan
    table.write(tmp_path, nothing)
    assert table.read(tmp_path).missing.all()


def _change(name, change):
    def apply(directory):
        path = directory / name
        content = parquet.read_table(path).to_pydict()
        change(content)
        parquet.write_table(pyarrow.table(content), path)

    return apply


def _manifest(**entries):
    def apply(directory):
        path = directory / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | entries))

    return apply


def _set(column, row, value):
    return lambda content: content[column].__setitem__(row, value)


def _repeat(content):
    for values in content.values():
        values.append(values[0])


_TABLE = "predictions.parquet"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "manifest.json").unlink(), "holds no predictions (no manifest.json)"),
        (lambda d: (d / "manifest.json").write_text("{"), "manifest.json cannot be read"),
        (lambda d: (d / "manifest.json").write_text("[]"), "not a manifest of predictions: model"),
        (_manifest(top="3"), "not a manifest of predictions: top"),
        (_manifest(top=10**12), "not a manifest of predictions: top"),
        (_manifest(expected=None), "not a manifest of predictions: expected"),
        (_manifest(class_names=[1, 2, 3, 4]), "not a manifest of predictions: class_names"),
        (_manifest(format=["csv"]), "not a manifest of predictions: format"),
        (_manifest(data=["x"]), "not a manifest of predictions: data"),
        (_manifest(data={"directory": 5}), "not a manifest of predictions: data"),
        (_manifest(classes="some"), "not a manifest of predictions: classes"),
        (lambda d: (d / "manifest.json").write_text("[" * 9999), "manifest.json cannot be read"),
        (lambda d: (d / _TABLE).unlink(), "is not finished (predictions.parquet is missing)"),
        (lambda d: (d / _TABLE).write_bytes(b"PAR1"), "predictions.parquet is damaged"),
        (lambda d: (d / "images.parquet").unlink(), "images.parquet cannot be read: No such file"),
        (_change(_TABLE, _set("image", 0, "x.jpg")), "a row of x.jpg, which images.parquet does"),
        (_change(_TABLE, _repeat), "lists tulip/"),
        (_change(_TABLE, lambda c: c.update(class_1=c["class_0"])), "to 3, each once"),
        (_change(_TABLE, _set("class_1", 1, 4)), "no classes from 0 to 3"),
        (_change(_TABLE, _set("class_1", 1, -1)), "no classes from 0 to 3"),
        (_change(_TABLE, _set("probability_1", 1, 2.0)), "no classes from 0 to 3"),
        (_change(_TABLE, _set("probability_2", 1, 1.0)), "best first"),
        (_change(_TABLE, _set("probability_0", 1, float("nan"))), "best first"),
        (_change(_TABLE, _set("class_0", 1, None)), "an empty cell in the column class_0"),
        (_change(_TABLE, lambda c: c.pop("class_2")), "has the columns image, class_0"),
        (_change("images.parquet", lambda c: [v.pop() for v in c.values()]), "lists 4 images, man"),
        (_change("images.parquet", _set("image", 0, "d.jpg")), "lists d.jpg twice"),
        (_change("images.parquet", _set("label", 0, 4)), "a label that is no class of lenet"),
    ],
)  # fmt: skip
def test_damage_is_one_line(tmp_path, damage, message):
    table.write(tmp_path, predictions())
    damage(tmp_path)
    with pytest.raises(DataError) as raised:
        table.read(tmp_path)
    assert message in str(raised.value)
    assert str(tmp_path) in str(raised.value)
    assert len(re.sub("line\nbreak", "", str(raised.value)).splitlines()) == 1


def test_bytes_that_are_no_text_are_one_line(tmp_path):
    table.write(tmp_path, predictions("csv"))
    content = (tmp_path / "predictions.csv").read_bytes()
    (tmp_path / "predictions.csv").write_bytes(b"\xc8\xff" + content)
    with pytest.raises(DataError, match=r"predictions\.csv is damaged: "):
        table.read(tmp_path)


def test_an_image_that_is_listed_twice_is_refused_before_anything_is_written(tmp_path):
    twice = dataclasses.replace(predictions(), images=np.array(["a", "b", "a", "c", "d"]))
    with pytest.raises(DataError, match="lists a twice"):
        table.write(tmp_path / "new", twice)
    assert not (tmp_path / "new").exists()


def test_a_full_disk_leaves_the_old_file(tmp_path):
    table.write(tmp_path, predictions())
    before = (tmp_path / _TABLE).read_bytes()
    rows = table.read_rows(tmp_path / _TABLE, 3, 4)
    # The hidden file is on a full disk.
    (tmp_path / f".{_TABLE}.partial").symlink_to("/dev/full")
    with pytest.raises(DataError, match="No space left on device; make room, and run the same"):
        table.write_rows(tmp_path / _TABLE, rows)
    assert (tmp_path / _TABLE).read_bytes() == before
    assert not (tmp_path / f".{_TABLE}.partial").is_symlink()


def test_an_artifact_that_is_written_again_is_never_a_mixture(tmp_path, monkeypatch):
    """It is interrupted before its table is written: the old table is gone."""
    table.write(tmp_path, predictions("csv"))

    def interrupted(path, rows):
        raise KeyboardInterrupt

    monkeypatch.setattr(table, "write_rows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        table.write(tmp_path, predictions())
    with pytest.raises(DataError, match="is not finished"):
        table.read(tmp_path)
