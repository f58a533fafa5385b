"""AutoAugment's operations once more: Pillow where it has them, else NumPy from the formulas.

Every function takes uint8 [height, width, 3] and an argument, and returns uint8.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageEnhance, ImageOps


def with_pillow(change):
    return lambda pixels, argument=None: np.asarray(change(Image.fromarray(pixels), argument))


def contrast(pixels, factor):
    """Around the number of pixels over 256, as it was published, instead of the mean."""
    gray = min(pixels.shape[0] * pixels.shape[1] // 256, 255)
    around = Image.new("RGB", pixels.shape[1::-1], (gray,) * 3)
    return np.asarray(Image.blend(around, Image.fromarray(pixels), factor))


def solarize_add(pixels, addition):
    raised = np.clip(pixels.astype(int) + addition, 0, 255)
    return np.where(pixels < 128, raised, pixels).astype(np.uint8)


def posterize(pixels, num_bits):
    """One bit at least, which is where TensorFlow's shift of a byte by eight ends up."""
    step = 2 ** (8 - min(max(num_bits, 1), 8))
    return (pixels // step * step).astype(np.uint8)


def solarize(pixels, threshold):
    return np.where(pixels.astype(int) < threshold, pixels, 255 - pixels).astype(np.uint8)


def sample(pixels, x, y, fill=128):
    """The pixels nearest to the coordinates [height, width], `fill` outside of the image."""
    x, y = (np.floor(values + 0.5).astype(int) for values in (x, y))
    height, width = pixels.shape[:2]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    found = pixels[y.clip(0, height - 1), x.clip(0, width - 1)]
    return np.where(inside[..., None], found, fill).astype(np.uint8)


def rotation(shape, degrees):
    """Where the output's pixels come from: x and y [height, width] about the center."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    center_y, center_x = (shape[0] - 1) / 2, (shape[1] - 1) / 2
    rotation = np.exp(1j * np.radians(degrees))
    source = (x - center_x + 1j * (y - center_y)) * rotation
    return source.real + center_x, source.imag + center_y


def coordinates(name, shape, argument):
    """Where the pixels of a geometric operation come from: x, y [height, width]."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    return {
        "ShearX": lambda: (x + argument * y, y),
        "ShearY": lambda: (x, y + argument * x),
        "TranslateX": lambda: (x + argument, y),
        "TranslateY": lambda: (x, y + argument),
        "Rotate": lambda: rotation(shape, argument),
    }[name]()


def geometric(name, fill=128):
    return lambda pixels, argument: sample(pixels, *coordinates(name, pixels.shape, argument), fill)


GEOMETRIC = ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY")
OPERATIONS = {
    "Invert": with_pillow(lambda image, _: ImageOps.invert(image)),
    "AutoContrast": with_pillow(lambda image, _: ImageOps.autocontrast(image)),
    "Equalize": with_pillow(lambda image, _: ImageOps.equalize(image)),
    "Color": with_pillow(lambda image, factor: ImageEnhance.Color(image).enhance(factor)),
    "Brightness": with_pillow(lambda image, factor: ImageEnhance.Brightness(image).enhance(factor)),
    "Sharpness": with_pillow(lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor)),
    "Contrast": contrast,
    "MeanContrast": with_pillow(lambda image, factor: ImageEnhance.Contrast(image).enhance(factor)),
    "Posterize": posterize,
    "Solarize": solarize,
    "SolarizeAdd": solarize_add,
    **{name: geometric(name) for name in GEOMETRIC},
}
# Of TrivialAugment and AugMix, whose code leaves Pillow's fill as it is.
ON_BLACK = {**OPERATIONS, **{name: geometric(name, fill=0) for name in GEOMETRIC}}
