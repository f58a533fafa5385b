"""The check that a network can be built for images of some size."""

from __future__ import annotations


def check_image_size(name: str, image_size: int, minimum: int) -> None:
    """ValueError where images of that many pixels a side are too small for network `name`."""
    if image_size < minimum:
        raise ValueError(
            f"{name} needs images of at least {minimum} x {minimum} pixels, "
            f"got image_size={image_size}"
        )
