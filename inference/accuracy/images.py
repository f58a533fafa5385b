"""Reads images of the data set that predictions are of, as long as it is where it was."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from common.errors import RunError
from inference.predictions.sources.dataset import DataSet, Image, encoded
from inference.predictions.sources.opening import open_dataset


class Images:
    """The encoded images of a data set by name. It is opened when the first one is read.

    Args:
        manifest: Of the predictions.
    """

    def __init__(self, manifest: Mapping[str, Any]):
        self._data: Mapping[str, Any] = manifest.get("data") or {}

    def read(self, name: str) -> bytes:
        """Returns the bytes of a JPEG or PNG.

        Raises:
            RunError: The data set or the image is gone or damaged.
        """
        opened = self._opened
        if isinstance(opened, str):
            raise RunError(opened)
        data, by_name = opened
        if name not in by_name:
            raise RunError(f"{name} is not in {data.directory} any more")
        return encoded(by_name[name], data.rule)

    @functools.cached_property
    def _opened(self) -> tuple[DataSet, Mapping[str, Image]] | str:
        """The data set and its images by name, or why there is none."""
        if "directory" not in self._data:
            return "the predictions do not say where the images are"
        try:
            data = open_dataset(self._data["directory"], self._data.get("subset"))
        except RunError as error:
            return str(error)
        return data, {image.name: image for image in data.images}
