"""Data sets that bring their own views of an image, and so take no options of ImageNet's crops."""

from __future__ import annotations

from dataclasses import fields

from preprocessing.errors import DataOptionError
from preprocessing.imagenet_images import ImageOptions


def refuse_imagenet_options(name: str, images: ImageOptions) -> None:
    """Refuse options that would have no effect.

    Raises:
        DataOptionError: an option differs from its default.
    """
    for field in fields(ImageOptions):
        value = getattr(images, field.name)
        if value != field.default:
            raise DataOptionError(
                f"--{field.name}={value} has no effect on {name}, which has its own crop and "
                "resize: leave it out"
            )
