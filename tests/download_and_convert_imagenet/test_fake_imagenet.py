"""The fake ImageNet is as odd as it says: what other tests rest on, seen by Pillow and tarfile."""

from __future__ import annotations

import hashlib
import io
import tarfile

import pytest
from PIL import Image

from tests.download_and_convert_imagenet.fake_imagenet import make_fake_imagenet
from tests.download_and_convert_imagenet.imagenet_layouts import (
    TRAIN_ARCHIVE,
    VALIDATION_ARCHIVE,
    write_archives,
)


@pytest.fixture(scope="module")
def fake():
    return make_fake_imagenet(truncated=True)


def opened(image):
    return Image.open(io.BytesIO(image.content))


def test_sizes_and_kinds(fake):
    assert len(fake.train) == 150
    assert len(fake.validation) == 50
    assert {image.label for image in fake.validation} == {image.label for image in fake.train}
    assert (fake.train[0].label, fake.train[-1].label) == (1, 1000)
    sizes = {opened(image).size for image in fake.train}
    assert {(1, 1), (5000, 3000), (400, 3), (2, 500), (17, 1)} <= sizes
    for image in (*fake.train, *fake.validation):
        with opened(image) as decoded:
            assert (decoded.width, decoded.height) == (image.width, image.height)
            assert decoded.format == ("PNG" if image.kind == "png" else "JPEG")
    assert opened(fake.image("cmyk")).mode == "CMYK"
    assert opened(fake.image("grayscale")).mode == "L"
    assert opened(fake.image("progressive")).info["progressive"]
    assert opened(fake.image("rotated")).getexif()[0x0112] == 6
    with pytest.raises(OSError, match="truncated"):
        opened(fake.image("truncated")).load()


def test_archives_hold_the_images_and_are_reproducible(fake, tmp_path):
    first, second = (write_archives(fake, tmp_path / name) for name in "ab")
    with tarfile.open(first / TRAIN_ARCHIVE) as outer:
        names = outer.getnames()
        assert len(names) == 50
        content = outer.extractfile(names[0]).read()
    with tarfile.open(fileobj=io.BytesIO(content)) as inner:
        assert names[0] == f"{fake.train[0].wnid}.tar"
        assert inner.getnames() == [image.name for image in fake.train[:3]]
        assert inner.extractfile(fake.train[0].name).read() == fake.train[0].content
    with tarfile.open(first / VALIDATION_ARCHIVE) as archive:
        assert sorted(archive.getnames()) == [image.name for image in fake.validation]
    for path in first.iterdir():
        assert hashlib.sha256(path.read_bytes()).digest() == (
            hashlib.sha256((second / path.name).read_bytes()).digest()
        )


def test_photographs_stand_for_patterns(fake):
    photo = fake.image("progressive").content
    small = make_fake_imagenet(5, largest_size=(60, 40), photos=[photo])
    assert {image.content for image in small.validation} == {photo}
    assert {(image.width, image.height) for image in small.validation} == {(150, 99)}
