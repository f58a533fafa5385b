"""The options of data sets, checked when they are given; nothing here imports TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass, fields

from common.errors import UsageError

TRAIN_CROPS = ("inception", "efficientnet")
EVAL_METHODS = ("vgg", "inception", "efficientnet")
RESIZE_METHODS = ("nearest", "bilinear", "bicubic", "area", "round_robin")
RESIZE_KERNELS = ("legacy", "tf2")
AUGMENTATIONS = ("none", "color", "autoaugment", "randaugment")


@dataclass(frozen=True)
class ImageOptions:
    """How images are cut and changed; see the flags of the same names.

    `resize_kernels` are TensorFlow 1's by default because the published recipes were made with them
    (see `preprocessing.images.resize`); weights from elsewhere may want TensorFlow 2's.

    Raises:
        UsageError: a value that is not among the choices, or out of range.
    """

    train_crop: str = "inception"
    eval_method: str = "vgg"
    resize_method: str = "bilinear"
    augment: str = "none"
    resize_kernels: str = "legacy"
    eval_crop_fraction: float | None = None
    randaugment_num_layers: int = 2
    randaugment_magnitude: int = 10

    def __post_init__(self) -> None:
        _require_choice("train_crop", self.train_crop, TRAIN_CROPS)
        _require_choice("eval_method", self.eval_method, EVAL_METHODS)
        _require_choice("resize_method", self.resize_method, RESIZE_METHODS)
        _require_choice("augment", self.augment, AUGMENTATIONS)
        _require_choice("resize_kernels", self.resize_kernels, RESIZE_KERNELS)
        fraction = self.eval_crop_fraction
        if fraction is not None and not 0 < fraction <= 1:
            raise UsageError(f"--eval_crop_fraction={fraction}: must be above 0 and at most 1")
        _require_at_least("randaugment_num_layers", self.randaugment_num_layers, 1)
        _require_at_least("randaugment_magnitude", self.randaugment_magnitude, 0)

    @property
    def half_pixel_centers(self) -> bool:
        """Whether resizing samples at the centers of pixels."""
        return self.resize_kernels == "tf2"


@dataclass(frozen=True)
class ReadingOptions:
    """How records are read; see the flags of the same names.

    `shuffle_buffer` counts examples (of ImageNet, 10,000 take 1.1 GB). `num_data_threads` is how
    many images are made at a time, on as many threads of the pipeline's own; one a core when left
    out. `repeat_cached_sample` reads a sample once and then repeats it, to measure the pipeline
    without the disk.

    Raises:
        UsageError: a number out of range.
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


@dataclass(frozen=True)
class BatchOptions:
    """How whole batches are augmented on their device; see the flags of the same names.

    Zero is off.

    Raises:
        UsageError: a number out of range.
    """

    random_erasing: float = 0.0
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0

    def __post_init__(self) -> None:
        _require_at_least("random_erasing", self.random_erasing, 0)
        _require_at_least("mixup_alpha", self.mixup_alpha, 0)
        _require_at_least("cutmix_alpha", self.cutmix_alpha, 0)
        if self.random_erasing > 1:
            raise UsageError(f"--random_erasing={self.random_erasing}: must be at most 1")

    @property
    def change_nothing(self) -> bool:
        """Whether none of them was asked for."""
        return not (self.random_erasing or self.mixup_alpha or self.cutmix_alpha)


def refuse_image_options(name: str, images: ImageOptions) -> None:
    """Refuse options of ImageNet's views for a data set that brings its own views.

    Raises:
        UsageError: an option differs from its default.
    """
    for field in fields(ImageOptions):
        value = getattr(images, field.name)
        if value != field.default:
            raise UsageError(
                f"--{field.name}={value} has no effect on {name}, which has its own crop and "
                "resize: leave it out"
            )


def _require_choice(flag: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"--{flag}={value}: choose from {', '.join(choices)}")


def _require_at_least(flag: str, value: float, smallest: int) -> None:
    if value < smallest:
        raise UsageError(f"--{flag}={value}: must be {smallest} or more")
