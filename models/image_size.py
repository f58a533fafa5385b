"""The check that a network can be built for images of some size."""

from __future__ import annotations

from models.model_spec import NetworkOptionError


def check_image_size(name: str, image_size: int, minimum: int) -> None:
    """Raises NetworkOptionError where images with sides of so many pixels are too small."""
    if image_size < minimum:
        raise NetworkOptionError(
            f"{name} needs images of at least {minimum} x {minimum} pixels, "
            f"got image_size={image_size}"
        )
