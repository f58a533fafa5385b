"""Photos of every kind come out as upright 8-bit RGB."""

from __future__ import annotations

import os
import re
import struct

import numpy as np
import pytest
from PIL import Image

from common.errors import DataError
from preprocessing.images import photos

RED, BLUE = (255, 0, 0), (0, 0, 255)


def _two_colors(mode: str = "RGB") -> Image.Image:
    """Left half red, right half blue, 40 wide and 20 high."""
    pixels = np.zeros([20, 40, 3], np.uint8)
    pixels[:, :20], pixels[:, 20:] = RED, BLUE
    return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("a.png", "RGB"),
        ("a.png", "RGBA"),
        ("a.png", "P"),
        ("a.gif", "P"),
        ("a.bmp", "RGB"),
        ("a.tif", "CMYK"),
        ("a.jpg", "CMYK"),
        ("a.jpg", "RGB"),
        ("a.webp", "RGB"),
    ],
)
def test_colors_survive_formats_and_modes(tmp_path, name, mode):
    path = tmp_path / name
    _two_colors(mode).save(path)
    pixels = photos.read(path)
    assert pixels.shape == (20, 40, 3)
    assert pixels.dtype == np.uint8
    # Away from the edge, JPEG changes a color by a few levels.
    np.testing.assert_allclose(pixels[5, 5], RED, atol=6)
    np.testing.assert_allclose(pixels[5, 35], BLUE, atol=6)


@pytest.mark.parametrize(("bits", "wanted"), [(0, 0), (257, 1), (32768, 128), (65535, 255)])
def test_sixteen_bits(tmp_path, bits, wanted):
    Image.fromarray(np.full([4, 4], bits, np.uint16)).save(tmp_path / "a.png")
    assert (photos.read(tmp_path / "a.png") == wanted).all()


def test_transparent_is_white_and_the_first_frame_counts(tmp_path):
    Image.new("RGBA", (3, 3), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert (photos.read(tmp_path / "a.png") == 255).all()
    frames = [Image.new("RGB", (3, 3), color) for color in (RED, BLUE)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert (photos.read(tmp_path / "a.gif") == RED).all()


def _transparent_palette():
    """Red and blue, and an entry of the palette that is transparent and not used."""
    image = _two_colors("P")
    image.info["transparency"] = 255
    return image


def _sixteen_bits():
    values = np.zeros([20, 40], np.uint16)
    values[:, :20] = 65535
    return Image.fromarray(values)


@pytest.mark.parametrize(
    ("image", "first", "last"),
    [
        (_two_colors("RGB"), RED, BLUE),
        (_two_colors("RGBA"), RED, BLUE),
        (_transparent_palette(), RED, BLUE),
        (_sixteen_bits(), (255, 255, 255), (0, 0, 0)),
    ],
    ids=["RGB", "RGBA", "palette", "16 bits"],
)
def test_orientation_of_a_camera(tmp_path, image, first, last):
    """Orientation 6: the first row of the file is the right side of the picture."""
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as saved:
        assert saved.mode in (image.mode, "I;16")
        assert saved.has_transparency_data == (image.mode in ("RGBA", "P"))
    pixels = photos.read(tmp_path / "a.png")
    assert pixels.shape == (40, 20, 3)
    assert (pixels[0] == first).all()
    assert (pixels[-1] == last).all()


def test_orientation_of_an_image_that_is_averaged_down(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("L", (3300, 2048))
    image.paste(255, (0, 0, 1650, 2048))
    image.save(tmp_path / "a.png", exif=exif)
    pixels = photos.read(tmp_path / "a.png")
    assert pixels.shape == (1650, 1024, 3)
    assert pixels[:800].min() == 255
    assert pixels[-800:].max() == 0


def test_huge_images_are_averaged_down(tmp_path):
    stripes = np.zeros([3072, 3300], np.uint8)
    stripes[:, ::3] = 255
    Image.fromarray(stripes).save(tmp_path / "a.png")
    pixels = photos.read(tmp_path / "a.png")
    assert pixels.shape == (1024, 1100, 3)
    assert (pixels == 85).all()  # 255 / 3


def test_unreadable_files_are_named(tmp_path):
    text, cut = tmp_path / "text.jpg", tmp_path / "cut.png"
    text.write_text("no image")
    _two_colors().save(cut)
    cut.write_bytes(cut.read_bytes()[:60])
    for path in (text, cut, tmp_path / "absent.jpg", tmp_path):
        with pytest.raises(DataError, match=path.name):
            photos.read(path)


def test_more_pixels_than_pillow_takes(tmp_path):
    """A bitmap whose header says 60,000 x 60,000."""
    path = tmp_path / "huge.bmp"
    _two_colors().save(path)
    data = bytearray(path.read_bytes())
    struct.pack_into("<ii", data, 18, 60_000, 60_000)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"huge\.bmp"):
        photos.read(path)


@pytest.mark.parametrize("name", ["cut.png", "cut.webp", "cut.jpg"])
def test_metadata_that_end_too_early(tmp_path, name):
    """Pillow raises struct.error of them; the pixels are as they are stored."""
    _two_colors().save(tmp_path / name, exif=b"Exif\0\0MM\0*")
    assert photos.read(tmp_path / name).shape == (20, 40, 3)


def test_find(tmp_path):
    for name in ("b.JPG", "a.png", "c.avif", "notes.txt", "none", "._a.png", ".DS_Store"):
        (tmp_path / name).touch()
    (tmp_path / "below").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    left_out = []
    found = photos.find([tmp_path / "x.jpg", tmp_path], left_out)
    assert [path.name for path in found] == ["x.jpg", "a.png", "b.JPG", "c.avif"]
    assert {os.path.basename(path): reason for path, reason, _ in left_out} == {
        "notes.txt": ".txt",
        "none": "without a suffix",
        "._a.png": "left by a system",
        ".DS_Store": "left by a system",
        "below": "folders below",
        "pipe.jpg": "neither file nor folder",
    }


def test_a_directory_without_images_is_found_and_described_when_read(tmp_path):
    (tmp_path / "photos" / "empty").mkdir(parents=True)
    (found,) = photos.find([tmp_path / "photos" / "empty"])
    with pytest.raises(DataError, match=r"no images in .*empty .it is empty.$"):
        photos.read(found)
    (tmp_path / "photos" / "a.svg").touch()
    with pytest.raises(DataError, match=r"no images in .*photos .1 .svg, 1 folders below.$"):
        photos.read(tmp_path / "photos")
    for name in ("rose", "tulip"):
        (tmp_path / "photos" / name).mkdir()
        (tmp_path / "photos" / name / "1.jpg").touch()
    for path in (tmp_path, tmp_path / "photos"):
        (found,) = photos.find([path])
        message = f"no images in {path} itself, but 2 in folders below: give those, "
        with pytest.raises(
            DataError, match=re.escape(f"{message}{tmp_path / 'photos' / '*'}") + "$"
        ):
            photos.read(found)
    given = sorted(path for path in (tmp_path / "photos").glob("*") if path.name != "a.svg")
    assert [path.name for path in photos.find(given)] == ["empty", "1.jpg", "1.jpg"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every directory")
def test_a_directory_that_cannot_be_listed(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir()
    (closed / "a.png").touch()
    closed.chmod(0)
    found = photos.find([closed, closed / "a.png"])
    for path in found:
        with pytest.raises(DataError, match=f"{path} cannot be read: Permission denied"):
            photos.read(path)
    closed.chmod(0o700)
    assert found == [closed, closed / "a.png"]
