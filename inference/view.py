"""The part of a photo that a network sees, by the data flags of the run that trained it."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmark_cnn.params.data_params import DataParams
from common.errors import DataError, UsageError
from preprocessing import registry

WHOLE = "whole"
# Networks of these data sets see whole images.
_DATA_OF_WHOLE_IMAGES = ("digits", "cifar10")


@dataclass(frozen=True)
class View:
    """The part of a photo that the network sees, and how it is resized."""

    eval_method: str = "vgg"
    resize_method: str = "bilinear"
    resize_kernels: str = "legacy"
    eval_crop_fraction: float | None = None

    def override(self, eval_method: str | None, resize_method: str | None) -> View:
        """Returns a copy with the given fields replaced, if they are not None.

        A different `eval_method` drops the crop fraction, which belongs to the old one.

        Raises:
            UsageError: `resize_method` is given for whole images, which are resized in one way.
        """
        is_same = eval_method in (None, self.eval_method)
        eval_method = eval_method or self.eval_method
        if eval_method == WHOLE and resize_method is not None:
            raise UsageError(
                f"--resize_method has no effect with --eval_method={WHOLE}, by which this network "
                "sees photos; give another --eval_method, or leave it out"
            )
        return dataclasses.replace(
            self,
            eval_method=eval_method,
            resize_method=resize_method or self.resize_method,
            eval_crop_fraction=self.eval_crop_fraction if is_same else None,
        )

    def maker(self, image_size: int) -> Callable[[Any, Any], Any]:
        """Returns the function from an encoded image and its position, tensors, to this view."""
        from preprocessing.images import photos  # and Pillow, without which commands start sooner

        return lambda encoded, position: photos.encoded_view(
            encoded, image_size, position=position, **dataclasses.asdict(self)
        )


def view_of(
    data: DataParams, eval_method: str | None = None, resize_method: str | None = None
) -> View:
    """Returns the view of a network that was trained with these data flags.

    Runs of an earlier version do not record a data set whose name was guessed. If the data
    directory does not show it either, the view is that of ImageNet's images, with a warning on
    stderr.

    Args:
        data: The data flags of the run.
        eval_method: Replaces that of the run, if given.
        resize_method: Replaces that of the run, if given.

    Raises:
        UsageError: See `View.override`.
    """
    if eval_method is None and _name_of(data) in _DATA_OF_WHOLE_IMAGES:
        return View(WHOLE).override(None, resize_method)
    view = View(data.eval_method, data.resize_method, data.resize_kernels, data.eval_crop_fraction)
    return view.override(eval_method, resize_method)


def _name_of(data: DataParams) -> str | None:
    """Returns the data set's name, guessed as train.py does it if the run did not record it."""
    directory = registry.data_directory(data.data_dir, data.data_name)
    if data.data_name is not None or directory is None:
        return data.data_name
    try:
        return registry.guess_name(directory)
    except DataError:
        print(
            f"warning: {data.data_dir} does not show which data the run was trained on; photos are "
            f"cropped by --eval_method={data.eval_method}, while a network of digits or CIFAR-10 "
            f"needs --eval_method={WHOLE}",
            file=sys.stderr,
            flush=True,
        )
        return None
