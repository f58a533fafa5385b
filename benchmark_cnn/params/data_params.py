"""Parameters of what is trained, on which images, and on which devices."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark_cnn.params.flag import flag

# Data flags that have an effect only on ImageNet's views, not on those of small images.
VIEW_FLAGS = (
    "train_crop",
    "eval_method",
    "resize_method",
    "augment",
    "resize_kernels",
    "eval_crop_fraction",
    "randaugment_num_layers",
    "randaugment_magnitude",
)


@dataclass(frozen=True)
class NetworkParams:
    """The network and the numbers it computes with."""

    model: str = flag("trivial", "Name of the network.", inherited=True)
    image_size: int | None = flag(
        None,
        "Height and width in pixels of the images given to the network.",
        lower=1,
        when_none="the model's",
        inherited=True,
    )
    num_classes: int | None = flag(
        None,
        "Number of classes, not counting a background class.",
        lower=2,
        when_none="the data set's",
        inherited=True,
    )
    data_format: str = flag(
        "NHWC",
        "Layout of the activations; NCHW needs a GPU. Images are NHWC until they are there.",
        choices=("NHWC", "NCHW"),
        eval=True,
    )
    dtype: str = flag(
        "float32",
        "Precision of activations and gradients; variables, batch norm, logits and loss stay in "
        "float32, and float16 trains with dynamic loss scaling.",
        choices=("float32", "bfloat16", "float16"),
        inherited=True,
    )
    sync_batch_norm: bool = flag(
        False, "Normalize with the statistics of the batches of all towers instead of each its own."
    )


@dataclass(frozen=True)
class DataParams:
    """The images: where they come from, how they are cropped and in what order they come."""

    data_dir: str | None = flag(
        None,
        "Directory of the data set's files.",
        when_none="synthetic images, or the directory that data_name brings along",
        inherited=True,
    )
    data_name: str | None = flag(
        None,
        "Name of the data set; without data_dir, of the one whose images are imitated.",
        when_none="guessed from data_dir",
        inherited=True,
    )
    data_subset: str | None = flag(
        None,
        "Part of the data set that train.py trains on, or eval.py evaluates on.",
        choices=("train", "validation"),
        when_none="train for train.py, validation for eval.py",
        eval=True,
    )
    batch_size: int | None = flag(
        None,
        "Images of one step PER TOWER (per GPU); the global batch is batch_size x num_gpus x "
        "gradient_accumulation_steps.",
        lower=1,
        when_none="the model's",
        eval=True,
    )
    train_crop: str = flag(
        "inception",
        "How training images are cropped at random.",
        choices=("inception", "efficientnet"),
    )
    eval_method: str = flag(
        "vgg",
        "How evaluation images are resized and cropped.",
        choices=("vgg", "inception", "efficientnet"),
        inherited=True,
    )
    resize_method: str = flag(
        "bilinear",
        "Interpolation that resizes images; round_robin takes the four others in turn by the "
        "position in the batch.",
        choices=("nearest", "bilinear", "bicubic", "area", "round_robin"),
        answers={"crop": "is gone (it failed in both ancestors); use --resize_method=bilinear"},
        inherited=True,
    )
    resize_kernels: str = flag(
        "legacy",
        "Grid and bicubic kernel that resize images: legacy are TensorFlow 1's, of most published "
        "ImageNet figures; tf2 are TensorFlow 2's, with half-pixel centers.",
        choices=("legacy", "tf2"),
        inherited=True,
    )
    eval_crop_fraction: float | None = flag(
        None,
        "Part of the shorter side that eval_method=efficientnet crops, for example 0.875.",
        above=0,
        upper=1,
        when_none="size / (size + 32) of image_size, the published rule",
        inherited=True,
    )
    augment: str = flag(
        "none",
        "Augmentation of training images after crop and flip; color distorts brightness, "
        "saturation, hue and contrast.",
        choices=("none", "color", "autoaugment", "randaugment"),
    )
    randaugment_num_layers: int = flag(
        2, "Operations that augment=randaugment applies to an image, one after the other.", lower=1
    )
    randaugment_magnitude: int = flag(
        10, "Strength of the operations of augment=randaugment.", lower=0, upper=30
    )
    random_erasing: float = flag(
        0.0,
        "Probability that a rectangle of a training image becomes noise, on the device.",
        lower=0,
        upper=1,
    )
    mixup_alpha: float = flag(
        0.0,
        "Mixup of training images on the device, weighted by Beta(alpha, alpha); 0 is off. With "
        "cutmix_alpha, each batch gets one of the two.",
        lower=0,
    )
    cutmix_alpha: float = flag(
        0.0,
        "CutMix of training images on the device, the boxes' area by Beta(alpha, alpha); 0 is off.",
        lower=0,
    )
    datasets_repeat_cached_sample: bool = flag(
        False, "Read 1,024 records, keep them in memory and repeat them, to measure without disk."
    )
    num_data_threads: int | None = flag(
        None,
        "Threads that decode and augment images.",
        lower=1,
        when_none="one per core",
        eval=True,
    )
    shuffle_buffer: int = flag(
        10000, "Examples held in memory to be shuffled, still encoded.", lower=1
    )
    max_corrupt_records: int = flag(
        0,
        "Records that may be lost before the run stops: damaged or cut off, without an Example, "
        "with a label out of range, with no image or one cut off. What else is wrong stops it in "
        "any case.",
        lower=0,
        eval=True,
    )
