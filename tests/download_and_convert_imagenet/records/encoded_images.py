"""Encoded images of every kind, by Pillow."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def picture(width: int, height: int) -> Image.Image:
    """A smooth colored picture: RGB."""
    coarse = np.random.default_rng(width * 10_000 + height).integers(0, 256, (4, 5, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encode(image: Image.Image, image_format: str = "JPEG", **options) -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def decode(encoded: bytes) -> np.ndarray:
    """Pillow's pixels in RGB: int [height, width, 3]."""
    with Image.open(io.BytesIO(encoded)) as image:
        return np.asarray(image.convert("RGB")).astype(int)
