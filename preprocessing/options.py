"""The options of data sets, checked when they are given; nothing here imports TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass, fields

from preprocessing.errors import DataOptionError

TRAIN_CROPS = ("inception", "efficientnet")
EVAL_METHODS = ("vgg", "inception", "efficientnet")
RESIZE_METHODS = ("nearest", "bilinear", "bicubic", "area", "round_robin")
AUGMENTATIONS = ("none", "color")


@dataclass(frozen=True)
class ImageOptions:
    """How images are cut and changed; see the flags of the same names.

    `half_pixel_centers` is off because the published recipes were made with TensorFlow 1's grid
    (see `preprocessing.resize`); weights from elsewhere may want it on.

    Raises:
        DataOptionError: a value that is not among the choices.
    """

    train_crop: str = "inception"
    eval_method: str = "vgg"
    resize_method: str = "bilinear"
    augment: str = "none"
    half_pixel_centers: bool = False

    def __post_init__(self) -> None:
        _require_choice("train_crop", self.train_crop, TRAIN_CROPS)
        _require_choice("eval_method", self.eval_method, EVAL_METHODS)
        _require_choice("resize_method", self.resize_method, RESIZE_METHODS)
        _require_choice("augment", self.augment, AUGMENTATIONS)


@dataclass(frozen=True)
class ReadingOptions:
    """How records are read; see the flags of the same names.

    `shuffle_buffer` counts examples (of ImageNet, 10,000 take 1.1 GB). `num_data_threads` gives the
    pipeline its own threads. `repeat_cached_sample` reads a sample once and then repeats it, to
    measure the pipeline without the disk.

    Raises:
        DataOptionError: a number out of range.
    """

    shuffle_buffer: int = 10_000
    max_corrupt_records: int = 0
    num_data_threads: int | None = None
    repeat_cached_sample: bool = False

    def __post_init__(self) -> None:
        _require_at_least("shuffle_buffer", self.shuffle_buffer, 1)
        _require_at_least("max_corrupt_records", self.max_corrupt_records, 0)
        if self.num_data_threads is not None:
            _require_at_least("num_data_threads", self.num_data_threads, 1)


def refuse_image_options(name: str, images: ImageOptions) -> None:
    """Refuse options of ImageNet's views for a data set that brings its own views.

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


def _require_choice(flag: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise DataOptionError(f"--{flag}={value}: choose from {', '.join(choices)}")


def _require_at_least(flag: str, value: int, smallest: int) -> None:
    if value < smallest:
        raise DataOptionError(f"--{flag}={value}: must be {smallest} or more")
