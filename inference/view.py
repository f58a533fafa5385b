"""What the data of a run say of a photo: which part of it the network sees, and the classes' names.

Both are asked of `Params.data` of the run, whose directory may be out of sight.
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from typing import Any

from common.errors import DataError, UsageError
from preprocessing import registry

WHOLE = "whole"
# Networks of these data see whole images.
_DATA_OF_WHOLE_IMAGES = ("digits", "cifar10")


@dataclass(frozen=True)
class View:
    """Which part of a photo the network sees, and how it is resized."""

    eval_method: str = "vgg"
    resize_method: str = "bilinear"
    resize_kernels: str = "legacy"
    eval_crop_fraction: float | None = None

    def but(self, eval_method: str | None, resize_method: str | None) -> View:
        """This view with what is not None; another method has its own crop fraction.

        Raises:
          UsageError: a `resize_method` for whole images, which have one way of resizing.
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


def view_of(data: Any, eval_method: str | None = None, resize_method: str | None = None) -> View:
    """What a network has seen that was trained with these data flags, but for what is not None.

    A run of an earlier version does not name data whose name was guessed. Where its directory does
    not tell either, and no `eval_method` is given, the view is that of ImageNet's images, and
    stderr says so.

    Raises:
      UsageError: see `View.but`.
    """
    if eval_method is None and _name_of(data) in _DATA_OF_WHOLE_IMAGES:
        return View(WHOLE).but(None, resize_method)
    view = View(data.eval_method, data.resize_method, data.resize_kernels, data.eval_crop_fraction)
    return view.but(eval_method, resize_method)


def _name_of(data: Any) -> str | None:
    """The data set's name, guessed as train.py did it where it was not written down."""
    directory = registry.data_directory(data.data_dir, data.data_name)
    if data.data_name is not None or directory is None:
        return data.data_name
    try:
        return registry.guess_name(directory)
    except DataError:
        print(
            f"warning: {data.data_dir} does not tell which data the run was trained on; photos are "
            f"cut by --eval_method={data.eval_method}, but a network of digits or CIFAR-10 needs "
            f"--eval_method={WHOLE}",
            file=sys.stderr,
            flush=True,
        )
        return None
