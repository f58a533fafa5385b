"""A folder of images with a CSV of their labels: both forms, splits, and what is refused."""

from __future__ import annotations

import pytest
from PIL import Image

from common.errors import DataError
from download_and_convert_imagenet.sources.folders.csv_labels import csv_source

SEPARATED = "image,labels\na.png,cat|dog\nsub/b.png,\nc.png, dog ;emu\nd.png,cat\n"
MARKED = "file,emu,cat,dog\na.png,0,1,1\nsub/b.png,0,,0\nc.png,1,no,yes\nd.png,0,1.0,0\n"


@pytest.fixture
def photos(tmp_path):
    root = tmp_path / "zoo"
    (root / "sub").mkdir(parents=True)
    for name in ("a.png", "sub/b.png", "c.png", "d.png", "unnamed.png"):
        Image.new("RGB", (8, 8)).save(root / name)
    return root


def labels_of(source):
    """Image -> the names of its classes, of all splits."""
    return {
        image.name: {source.class_names[label - 1] for label in image.labels}
        for images in source.splits.values()
        for image in images
    }


@pytest.mark.parametrize(
    ("text", "classes"),
    [(SEPARATED, ("cat", "dog", "emu")), (MARKED, ("emu", "cat", "dog"))],
    ids=["separated", "a column for each class"],
)
def test_both_forms_are_read(photos, text, classes):
    (photos / "labels.csv").write_text(text)
    source = csv_source(photos)
    assert source.class_names == classes
    assert source.multi_label
    assert source.name == "zoo"
    assert labels_of(source) == {
        "a.png": {"cat", "dog"}, "sub/b.png": set(), "c.png": {"dog", "emu"}, "d.png": {"cat"},
    }  # fmt: skip
    (left_out,) = source.left_out
    assert (left_out.path, left_out.reason) == (str(photos / "unnamed.png"), "not in the CSV")


def test_images_are_held_out_by_their_names_alone(photos):
    (photos / "labels.csv").write_text(SEPARATED)
    source = csv_source(photos, validation_fraction=0.5)
    splits = {split: {i.name for i in images} for split, images in source.splits.items()}
    assert {split: len(names) for split, names in splits.items()} == {"train": 2, "validation": 2}
    (photos / "labels.csv").write_text(SEPARATED.replace("cat", "cow"))
    again = csv_source(photos, validation_fraction=0.5)
    assert {split: {i.name for i in images} for split, images in again.splits.items()} == splits


def test_a_column_divides_the_images(photos):
    table = photos.parent / "elsewhere.csv"
    rows = zip(
        SEPARATED.splitlines(), ("Split", "train", "val", "train", "Validation"), strict=True
    )
    table.write_text("\n".join(f"{line},{split}" for line, split in rows))
    source = csv_source(photos, table)
    assert [i.name for i in source.splits["validation"]] == ["sub/b.png", "d.png"]
    assert any("classes without a validation image: 2 of 3 (dog, emu)" in n for n in source.notes)
    with pytest.raises(DataError, match="has a column for the split: leave the fraction out"):
        csv_source(photos, table, 0.5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SEPARATED + "e.png,cat\n", r"line 6: .*zoo/e.png is no image"),
        (SEPARATED.replace("d.png", "D.png"), r"line 5: .*D.png is no image; did you mean d.png"),
        (SEPARATED + "a.png,emu\n", "a.png is in line 2 and in line 6: give its labels in one"),
        (SEPARATED + "unnamed.png,cat,dog\n", "line 6: 3 cells under a header of 2"),
        (MARKED.replace("yes", "maybe"), "line 4: dog is 'maybe'; a column for each class holds"),
        ("image,cat,cat\na.png,0,1\n", "two have the same name"),
        ("a.png\n", "its first line is 'a.png', not a header like image,labels"),
        ("image,labels\n", "has no line below its header"),
        ("image,labels\na.png,cat\n", "has 1 classes: at least two are needed"),
        ("image,labels,split\na.png,cat|dog,test\n", "the split is 'test'; it must be train or"),
        ("", "its first line is '', not a header"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(photos, text, words):
    (photos / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=words) as error:
        csv_source(photos)
    assert "\n" not in str(error.value)


def test_the_csv_has_to_be_found(photos):
    with pytest.raises(DataError, match=r"zoo has no \.csv file: give the one with the labels"):
        csv_source(photos)
    for name in ("a.csv", "b.csv"):
        (photos / name).write_text(SEPARATED)
    with pytest.raises(DataError, match=r"has 2 \.csv files"):
        csv_source(photos)
    (photos / "a.csv").write_bytes(b"image,labels\n\xff\n")
    with pytest.raises(DataError, match="no CSV file in UTF-8"):
        csv_source(photos, photos / "a.csv")
