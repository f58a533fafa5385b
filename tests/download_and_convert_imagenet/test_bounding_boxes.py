from __future__ import annotations

import gzip
import tarfile

import pytest

from download_and_convert_imagenet.bounding_boxes import (
    BoxError,
    boxes_of_annotation,
    read_boxes,
)
from download_and_convert_imagenet.image_source import SourceError
from download_and_convert_imagenet.tf_example import BoundingBox
from tests.download_and_convert_imagenet.fake_imagenet import make_fake_imagenet
from tests.download_and_convert_imagenet.imagenet_layouts import (
    BOX_ARCHIVE,
    write_archives,
    write_folders,
    write_kaggle_folders,
)


@pytest.fixture(scope="module")
def fake():
    return make_fake_imagenet(5, largest_size=(60, 40))


def annotation(*objects, width="200", height="100"):
    parts = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin>"
        f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for name, x0, y0, x1, y1 in objects
    )
    size = f"<size><width>{width}</width><height>{height}</height></size>"
    return f"<annotation><filename>%s</filename>{size}{parts}</annotation>".encode()


@pytest.mark.parametrize(
    ("corners", "expected"),
    [
        ((20, 10, 120, 60), (0.1, 0.1, 0.6, 0.6)),
        ((0, 0, 200, 100), (0, 0, 1, 1)),
        ((-50, -1, 250, 50), (0, 0, 1, 0.5)),  # cut off
        ((120, 60, 20, 10), (0.1, 0.1, 0.6, 0.6)),  # exchanged
        ((120, 10, 20, 60), (0.1, 0.1, 0.6, 0.6)),
        ((20, 10, 20, 60), None),  # without width
        ((20, 60, 120, 60), None),
        ((210, 10, 300, 60), None),  # beside the image
        ((20, -30, 120, 0), None),  # above it
    ],
)
def test_a_box_within_the_image(corners, expected):
    boxes = boxes_of_annotation(annotation(("n01440764", *corners)), "n01440764_10")
    assert boxes == (() if expected is None else (BoundingBox(*expected),))


@pytest.mark.parametrize(
    ("name", "stem", "is_kept"),
    [
        ("n01440764", "n01440764_10", True),
        ("n01443537", "n01440764_10", False),  # another of the 1,000 classes
        ("n00007846", "n01440764_10", True),  # none of them
        ("Scottish_deerhound", "n02092002_3", True),
        ("n01443537", "ILSVRC2012_val_00000007", True),
    ],
)
def test_a_box_of_another_class_is_dropped(name, stem, is_kept):
    boxes = boxes_of_annotation(annotation((name, 20, 10, 120, 60)), stem)
    assert len(boxes) == is_kept


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no element found"),
        (b"<annotation>", "no element found"),
        (b"<html></html>", "no width, height"),
        (annotation(("n01440764", "x", 1, 2, 3)), "could not convert"),
        (annotation(width="0"), "0x100 pixels"),
    ],
)
def test_an_annotation_that_is_none(content, message):
    with pytest.raises(BoxError, match=message):
        boxes_of_annotation(content, "n01440764_10")


def test_all_forms_of_the_same_boxes(fake, tmp_path):
    archive = write_archives(fake, tmp_path / "archives") / BOX_ARCHIVE
    folder = write_folders(fake, tmp_path / "folders") / "bounding_boxes"
    kaggle = write_kaggle_folders(fake, tmp_path / "kaggle") / "ILSVRC" / "Annotations"
    plain = tmp_path / "boxes.tar"
    plain.write_bytes(gzip.decompress(archive.read_bytes()))
    for path in (archive, plain, folder, kaggle):
        assert read_boxes(path) == fake.boxes, path
    assert len(fake.boxes) == 8
    assert sum(len(boxes) for boxes in fake.boxes.values()) == 11


def test_images_of_other_classes_are_left_out(tmp_path):
    for stem in ("n00007846_64193", "n01440764_10"):
        (tmp_path / f"{stem}.xml").write_bytes(annotation((stem[:9], 20, 10, 120, 60)))
    assert list(read_boxes(tmp_path)) == ["n01440764_10"]


def test_csv_of_the_ancestors(tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_text(
        "n00007846_64193.JPEG,0.0060,0.2620,0.7545,0.9940\n"
        "n00007846_64193.JPEG,0.5,0.5,0.5,0.9\n"
        "n01440764_10.JPEG,0.75,0.25,0.5,1.5\n"
        "n01440764_10.JPEG,0,0,1,1\n"
    )
    assert read_boxes(path) == {
        "n00007846_64193": (BoundingBox(0.006, 0.262, 0.7545, 0.994),),
        "n01440764_10": (BoundingBox(0.5, 0.25, 0.75, 1), BoundingBox(0, 0, 1, 1)),
    }
    path.write_text("n01440764_10.JPEG,0,0,1\n")
    with pytest.raises(SourceError, match="line 1: not NAME"):
        read_boxes(path)
    path.write_text("ImageId,PredictionString\nn01440764_10,n01440764 1 2 3 4\n")
    with pytest.raises(SourceError, match="give the folder ILSVRC/Annotations"):
        read_boxes(path)


def test_damage_names_the_file(fake, tmp_path):
    archive = write_archives(fake, tmp_path) / BOX_ARCHIVE
    content = archive.read_bytes()
    for damaged in (content[: len(content) // 2], b"<html>not found</html>", b""):
        archive.write_bytes(damaged)
        with pytest.raises(SourceError, match="not a whole tar archive") as caught:
            read_boxes(archive)
        assert str(archive) in str(caught.value)
    (tmp_path / "n01440764_7.xml").write_text("no XML")
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "n01440764_7.xml", "n01440764/n01440764_7.xml")
    with pytest.raises(SourceError, match=r"gz: n01440764/n01440764_7\.xml is no annotation"):
        read_boxes(archive)
