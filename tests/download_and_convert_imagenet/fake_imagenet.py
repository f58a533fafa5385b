"""A small ImageNet in the layout of the original archives, with everything odd the real one has.

Its labels and names are real, so that the lists of the converter apply; its pixels are patterns in
the color of their class, or photographs that a test hands in. Equal arguments give equal bytes.
"""

from __future__ import annotations

import colorsys
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from download_and_convert_imagenet.records.tf_example import BoundingBox
from download_and_convert_imagenet.sources.synsets import synsets, validation_labels

_SEED = 2012
_ORIENTATION_TAG, _ROTATED_BY_90 = 0x0112, 6
_DEER_HOUND = "Scottish_deerhound"


@dataclass(frozen=True)
class FakeImage:
    """One image as the archives hold it; `width` and `height` are of the stored pixels.

    `kind` is "plain", or what is odd: "png", "cmyk", "grayscale", "progressive", "rotated",
    "truncated".
    """

    name: str
    label: int
    content: bytes
    width: int
    height: int
    kind: str

    @property
    def stem(self) -> str:
        return self.name.rpartition(".")[0]

    @property
    def wnid(self) -> str:
        return synsets()[self.label - 1].wnid


@dataclass(frozen=True)
class FakeImageNet:
    """All images, and the boxes: as XML by the name of its file, and as they should be read."""

    train: tuple[FakeImage, ...]
    validation: tuple[FakeImage, ...]
    box_files: dict[str, str]
    boxes: dict[str, tuple[BoundingBox, ...]]

    def image(self, kind: str) -> FakeImage:
        """The training image of an odd kind."""
        return next(image for image in self.train if image.kind == kind)


def make_fake_imagenet(
    num_classes: int = 50,
    *,
    train_images_per_class: int = 3,
    validation_images_per_class: int = 1,
    truncated: bool = False,
    largest_size: tuple[int, int] = (5000, 3000),
    photos: Sequence[bytes] = (),
) -> FakeImageNet:
    """Make the images of `num_classes` classes, from label 1 to label 1000 in equal steps.

    Args:
        truncated: one training image ends in the middle of its pixels.
        largest_size: width and height of the largest image, the second of the first class.
        photos: JPEG files that stand, in turn, for the patterns of plain images.
    """
    labels = np.linspace(1, 1000, num_classes).round().astype(int).tolist()
    random = np.random.default_rng(_SEED)
    odd = _odd_images(truncated, largest_size)
    train = []
    for label in labels:
        for _ in range(train_images_per_class):
            name = f"{synsets()[label - 1].wnid}_{10 + 7 * len(train)}.JPEG"
            recipe = odd.pop(0) if odd else _plain(random, photos, len(train))
            train.append(_make(name, label, *recipe))
    if odd:
        raise ValueError(f"too few training images for {len(odd)} more odd ones")
    validation = []
    for number in _validation_numbers(labels, validation_images_per_class):
        name = f"ILSVRC2012_val_{number:08d}.JPEG"
        recipe = _plain(random, photos, len(train) + len(validation))
        validation.append(_make(name, validation_labels()[number - 1], *recipe))
    box_files, boxes = _boxes(train)
    return FakeImageNet(tuple(train), tuple(validation), box_files, boxes)


def _validation_numbers(labels: Sequence[int], images_per_class: int) -> list[int]:
    remaining = dict.fromkeys(labels, images_per_class)
    numbers = []
    for number, label in enumerate(validation_labels(), start=1):
        if remaining.get(label, 0):
            remaining[label] -= 1
            numbers.append(number)
    return numbers


_Recipe = tuple[str, tuple[int, int], bytes | None]


def _odd_images(truncated: bool, largest_size: tuple[int, int]) -> list[_Recipe]:
    recipes: list[_Recipe] = [
        ("plain", (1, 1), None),
        ("plain", largest_size, None),
        ("png", (83, 61), None),
        ("cmyk", (97, 73), None),
        ("grayscale", (64, 120), None),
        ("progressive", (150, 99), None),
        ("rotated", (120, 80), None),
        ("plain", (400, 3), None),
        ("plain", (2, 500), None),
        ("plain", (17, 1), None),
    ]
    return [*recipes, ("truncated", (160, 120), None)] if truncated else recipes


def _plain(random: np.random.Generator, photos: Sequence[bytes], number: int) -> _Recipe:
    width, height = random.integers(24, 130, 2).tolist()
    return "plain", (width, height), photos[number % len(photos)] if photos else None


def _make(
    name: str, label: int, kind: str, size: tuple[int, int], photo: bytes | None
) -> FakeImage:
    if photo is not None:
        with Image.open(io.BytesIO(photo)) as image:
            return FakeImage(name, label, photo, image.width, image.height, kind)
    content = _ENCODERS[kind](_pattern(label, *size))
    return FakeImage(name, label, content, *size, kind)


def _pattern(label: int, width: int, height: int) -> Image.Image:
    """A gradient in the hue of the class, with stripes: uint8 RGB."""
    color = np.array(colorsys.hsv_to_rgb(label / 1001, 0.8, 1.0))
    brightness = np.linspace(90, 220, width)[np.newaxis] + np.linspace(-60, 30, height)[:, None]
    brightness[:, ::7] *= 0.9
    pixels = (brightness.clip(0, 255)[..., np.newaxis] * color).astype(np.uint8)
    return Image.fromarray(pixels)


def _jpeg(image: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85, **options)
    return buffer.getvalue()


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _rotated(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[_ORIENTATION_TAG] = _ROTATED_BY_90
    return _jpeg(image, exif=exif)


def _truncated(image: Image.Image) -> bytes:
    content = _jpeg(image)
    return content[: len(content) * 2 // 3]


_ENCODERS: dict[str, Callable[[Image.Image], bytes]] = {
    "plain": _jpeg,
    "png": _png,
    "cmyk": lambda image: _jpeg(image.convert("CMYK")),
    "grayscale": lambda image: _jpeg(image.convert("L")),
    "progressive": lambda image: _jpeg(image, progressive=True),
    "rotated": _rotated,
    "truncated": _truncated,
}


def _boxes(
    train: Sequence[FakeImage],
) -> tuple[dict[str, str], dict[str, tuple[BoundingBox, ...]]]:
    """Boxes of every second image; of the first four also what must be mended or left out.

    All XML files say 200x100 pixels, the size at which the images were shown to annotators.
    """
    files, boxes = {}, {}
    for number, image in enumerate(train[::2]):
        other_class = synsets()[image.label % 1000].wnid
        objects = [(image.wnid, (20, 10, 120, 60))]
        expected = [BoundingBox(0.1, 0.1, 0.6, 0.6)]
        if number == 0:  # outside of the image: cut at its borders
            objects.append((image.wnid, (-30, 50, 260, 101)))
            expected.append(BoundingBox(0.0, 0.5, 1.0, 1.0))
        if number == 1:  # corners exchanged; nothing left of another
            objects += [(image.wnid, (150, 75, 50, 25)), (image.wnid, (40, 30, 40, 80))]
            expected.append(BoundingBox(0.25, 0.25, 0.75, 0.75))
        if number == 2:  # an object of another class, in front
            objects.insert(0, (other_class, (0, 0, 200, 100)))
        if number == 3:  # the name of no class: how ImageNet annotates dogs
            objects.append((_DEER_HOUND, (100, 50, 200, 100)))
            expected.append(BoundingBox(0.5, 0.5, 1.0, 1.0))
        files[f"{image.wnid}/{image.stem}.xml"] = _xml(image, objects)
        boxes[image.stem] = tuple(expected)
    return files, boxes


def _xml(image: FakeImage, objects: Sequence[tuple[str, tuple[int, int, int, int]]]) -> str:
    """An annotation; <filename> holds "%s" in some of the real files."""
    lines = [
        "<annotation>",
        f"\t<folder>{image.wnid}</folder>",
        "\t<filename>%s</filename>",
        "\t<source>\n\t\t<database>ImageNet database</database>\n\t</source>",
        "\t<size>\n\t\t<width>200</width>\n\t\t<height>100</height>\n\t\t<depth>3</depth>\n\t</size>",
        "\t<segmented>0</segmented>",
    ]
    for name, (xmin, ymin, xmax, ymax) in objects:
        lines += [
            f"\t<object>\n\t\t<name>{name}</name>\n\t\t<pose>Unspecified</pose>",
            "\t\t<truncated>0</truncated>\n\t\t<difficult>0</difficult>\n\t\t<bndbox>",
            f"\t\t\t<xmin>{xmin}</xmin>\n\t\t\t<ymin>{ymin}</ymin>",
            f"\t\t\t<xmax>{xmax}</xmax>\n\t\t\t<ymax>{ymax}</ymax>",
            "\t\t</bndbox>\n\t</object>",
        ]
    return "\n".join([*lines, "</annotation>\n"])
