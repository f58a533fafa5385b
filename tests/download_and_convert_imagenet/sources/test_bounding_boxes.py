from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile

import pytest

from common.errors import DataError
from download_and_convert_imagenet.records.tf_example import BoundingBox
from download_and_convert_imagenet.sources.bounding_boxes import (
    boxes_of_annotation,
    read_boxes,
)
from tests.download_and_convert_imagenet.fake_imagenet import make_fake_imagenet
from tests.download_and_convert_imagenet.folders_on_disk import folder_too_deep_to_list
from tests.download_and_convert_imagenet.imagenet_layouts import (
    BOX_ARCHIVE,
    write_archives,
    write_folders,
    write_kaggle_folders,
)

NO_TAR = "is not a tar archive"


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
        ((210, 10, 300, 60), None),  # outside of the image
        ((20, -30, 120, 0), None),  # above it
    ],
)
def test_a_box_within_the_image(corners, expected):
    boxes = boxes_of_annotation(annotation(("n01440764", *corners)), "n01440764_10", "a.xml")
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
    boxes = boxes_of_annotation(annotation((name, 20, 10, 120, 60)), stem, "a.xml")
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
def test_an_invalid_annotation(content, message):
    with pytest.raises(DataError, match=message):
        boxes_of_annotation(content, "n01440764_10", "a.xml")


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


def test_csv_of_tf_slim(tmp_path):
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
    with pytest.raises(DataError, match="line 1: not NAME"):
        read_boxes(path)
    path.write_text("ImageId,PredictionString\nn01440764_10,n01440764 1 2 3 4\n")
    with pytest.raises(DataError, match="give the folder ILSVRC/Annotations"):
        read_boxes(path)


def test_what_is_no_utf8_is_no_csv(tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_bytes(b"n01440764_10.JPEG,0,0,1,1\nn01440764_\xe9.JPEG,0,0,1,1\n")
    with pytest.raises(DataError, match=r"boxes\.csv is not a CSV file in UTF-8"):
        read_boxes(path)


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (lambda content: content[: len(content) // 2], "is incomplete or damaged"),
        (lambda content: content[:-1], "is incomplete or damaged"),
        (lambda content: flipped(content, -8), "is incomplete or damaged .CRC"),
        (lambda content: gzip.compress(gzip.decompress(content)[:-10_000]), "is incomplete: it"),
        (lambda content: gzip.compress(gzip.decompress(content)[: 4 * 512]), "is incomplete: it"),
        (lambda content: gzip.compress(gzip.decompress(content)[:1000]), "is incomplete: it"),
        (
            lambda content: gzip.compress(gzip.decompress(content).replace(b"ustar", b"USTAR")),
            NO_TAR,
        ),
        (
            lambda content: gzip.compress(second_header_flipped(gzip.decompress(content))),
            "is damaged",
        ),
        (lambda _: b"<html>not found</html>" * 100, NO_TAR),
        (lambda _: b"", "is empty"),
    ],
)
def test_a_part_of_an_archive_is_no_smaller_archive(fake, tmp_path, damaged, message):
    archive = write_archives(fake, tmp_path) / BOX_ARCHIVE
    archive.write_bytes(damaged(archive.read_bytes()))
    with pytest.raises(DataError, match=f"{archive} {message}"):
        read_boxes(archive)


@pytest.mark.parametrize(("compress", "program"), [(bz2.compress, "bzip2"), (lzma.compress, "xz")])
def test_an_archive_of_another_compression_is_reported(fake, tmp_path, compress, program):
    archive = write_archives(fake, tmp_path) / BOX_ARCHIVE
    archive.write_bytes(compress(gzip.decompress(archive.read_bytes())))
    with pytest.raises(DataError, match=f"is compressed: .* .{program} -d {archive}"):
        read_boxes(archive)


def test_a_plain_archive_that_is_cut_in_a_long_name(tmp_path):
    path = tmp_path / "boxes.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("folder/" * 200 + "n01440764_7.xml"))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match="it ends at byte 1,000, within a file"):
        read_boxes(path)


def second_header_flipped(content: bytes) -> bytes:
    return flipped(content, content.index(b"ustar", 512))


def flipped(content: bytes, position: int) -> bytes:
    changed = bytearray(content)
    changed[position] ^= 1
    return bytes(changed)


def test_an_invalid_annotation_is_named_with_its_archive(tmp_path):
    archive = tmp_path / BOX_ARCHIVE
    (tmp_path / "n01440764_7.xml").write_text("no XML")
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "n01440764_7.xml", "n01440764/n01440764_7.xml")
    with pytest.raises(DataError, match=r"gz: n01440764/n01440764_7\.xml is not an annotation"):
        read_boxes(archive)


def test_a_folder_that_cannot_be_listed_is_reported(tmp_path):
    with folder_too_deep_to_list(tmp_path), pytest.raises(OSError, match="File name too long"):
        read_boxes(tmp_path)
