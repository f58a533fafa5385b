"""Flags of the network and of the data."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark_cnn.params.flag import flag
from benchmark_cnn.params.values import parse_area, parse_image_sizes, parse_range

AUTOMATIC = -2  # --batch_size=auto, before a number is found; a mistaken -1 stays an error
# Data flags that affect only ImageNet's views, not those of CIFAR-10 and digits.
VIEW_FLAGS = (
    "train_crop",
    "crop_area",
    "crop_ratio",
    "eval_method",
    "resize_method",
    "resize_kernels",
    "eval_crop_fraction",
    "augment",
    "randaugment_num_layers",
    "randaugment_magnitude",
    "rotation_degrees",
    "random_grayscale",
    "random_blur",
)
# Data flags that change training views of files, of every data set.
FLIP_FLAGS = ("horizontal_flip", "vertical_flip")


@dataclass(frozen=True)
class NetworkParams:
    """The network and its numerical precision."""

    model: str = flag("trivial", "Name of the network.", inherited=True)
    image_size: int | None = flag(
        None,
        "Height and width of the network's input, in pixels.",
        lower=1,
        when_none="the model's",
        inherited=True,
    )
    image_size_schedule: str | None = flag(
        None,
        "Progressive resizing: sizes of the training images and the epochs at which they begin, "
        '"SIZE:EPOCH,SIZE:EPOCH,...", for example "128:0,160:6,192:12". Evaluations keep '
        "image_size.",
        when_none="image_size, from the first to the last epoch",
        syntax=parse_image_sizes,
    )
    num_classes: int | None = flag(
        None,
        "Number of classes, without the background class.",
        lower=2,
        when_none="the data set's",
        inherited=True,
    )
    data_format: str = flag(
        "NHWC",
        "Layout of the activations; NCHW needs a GPU, and in 16 bits is transposed there: NHWC is "
        "what tensor cores take. The input pipeline is always NHWC.",
        choices=("NHWC", "NCHW"),
        eval=True,
    )
    dtype: str = flag(
        "float32",
        "Precision of activations and gradients. Variables, batch norm, logits and loss stay in "
        "float32; float16 uses dynamic loss scaling.",
        choices=("float32", "bfloat16", "float16"),
        inherited=True,
    )
    sync_batch_norm: bool = flag(
        False, "Compute batch-norm statistics over the batches of all towers, not of each tower."
    )
    dropout_rate: float | None = flag(
        None,
        "Share of the units before the classifier that are dropped in training.",
        lower=0,
        below=1,
        when_none="the model's",
    )
    drop_path_rate: float | None = flag(
        None,
        "Stochastic depth: share of the examples for which the last residual branch is dropped in "
        "training; earlier branches are dropped in proportion to their depth.",
        lower=0,
        below=1,
        when_none="the model's",
    )
    recompute: bool = flag(
        False,
        "Gradient checkpointing: compute most activations again in the backward pass instead of "
        "keeping them. A step takes less memory and more time, and has the same result.",
    )
    quantization_aware: bool = flag(
        False,
        "Quantization-aware training: round weights and activations to 8 bits, as an exported INT8 "
        "file does, in evaluations, too. Start from trained weights.",
        inherited=True,
    )


@dataclass(frozen=True)
class DataParams:
    """The data set, and how its images are read, cropped and augmented."""

    data_dir: str | None = flag(
        None,
        "Directory of the data set's files, or of photos in a folder for each class, which are "
        "converted once. From s3://BUCKET/NAME and gs://BUCKET/NAME they are copied to this "
        "machine first.",
        when_none="synthetic images, except for digits, which has a default directory",
        inherited=True,
        is_path=True,
        may_be_remote=True,
    )
    data_name: str | None = flag(
        None,
        "Name of the data set. Without --data_dir, synthetic images with its classes and size are "
        "used.",
        when_none="guessed from data_dir",
        inherited=True,
    )
    data_subset: str | None = flag(
        None,
        "Split to train on (train.py) or to evaluate (eval.py).",
        choices=("train", "validation", "test"),
        when_none="train for train.py, validation for eval.py",
        eval=True,
    )
    validation_fraction: float | None = flag(
        None,
        "Share of each class of a folder of photos to hold out for evaluations during training.",
        lower=0,
        below=1,
        when_none="0.1, unless the folder has validation photos",
    )
    test_fraction: float | None = flag(
        None,
        "Share of each class of a folder of photos to hold out for one test at the end of a run.",
        lower=0,
        below=1,
        when_none="0.1, unless the folder has test photos",
    )
    cache_dir: str | None = flag(
        None,
        "Directory for what folders of photos are converted into.",
        when_none="~/.cache/tensorflow_imagenet/photo_cache, or photo_cache where there is one",
        eval=True,
        is_path=True,
    )
    batch_size: int | None = flag(
        None,
        "Images per step PER TOWER (per GPU). The global batch is batch_size x num_gpus x "
        "gradient_accumulation_steps. The default is at most 32 on a CPU; auto: the largest power "
        "of two that fits.",
        lower=1,
        named={"auto": AUTOMATIC},
        when_none="the model's",
        eval=True,
    )
    train_crop: str = flag(
        "inception",
        "Random crop of training images.",
        choices=("inception", "efficientnet"),
    )
    crop_area: str | None = flag(
        None,
        "Smallest and largest part of the image's area that a training crop has, for example "
        '"0.25,1"; "1,1" takes the whole image.',
        when_none="0.05,1 for inception, 0.08,1 for efficientnet, in effect from 0.1",
        syntax=parse_area,
    )
    crop_ratio: str | None = flag(
        None,
        'Smallest and largest width over height of a training crop, for example "1,1".',
        when_none="0.75,1.33",
        syntax=parse_range,
    )
    eval_method: str = flag(
        "vgg",
        "Resize and crop of evaluation images.",
        choices=("vgg", "inception", "efficientnet"),
        inherited=True,
    )
    resize_method: str = flag(
        "bilinear",
        "Interpolation for resizing images; round_robin cycles through the four others by position "
        "in the batch.",
        choices=("nearest", "bilinear", "bicubic", "area", "round_robin"),
        answers={
            "crop": "is gone (it failed in the original programs); use --resize_method=bilinear"
        },
        inherited=True,
    )
    resize_kernels: str = flag(
        "legacy",
        "Sampling grid and bicubic kernel: legacy is TensorFlow 1's, used for most published "
        "ImageNet results; tf2 is TensorFlow 2's, with half-pixel centers.",
        choices=("legacy", "tf2"),
        inherited=True,
    )
    eval_crop_fraction: float | None = flag(
        None,
        "Fraction of the shorter side that eval_method=efficientnet crops, for example 0.875.",
        above=0,
        upper=1,
        when_none="size / (size + 32) of image_size, the published rule",
        inherited=True,
    )
    horizontal_flip: bool | None = flag(
        None,
        "Mirror every other training image, left to right. Off where left and right differ: "
        "letters, signs, hands.",
        when_none="on, but for digits",
    )
    vertical_flip: bool = flag(
        False, "Turn every other training image upside down, for photos without an up and down."
    )
    rotation_degrees: float = flag(
        0.0,
        "Rotate training images by up to this many degrees, in either direction.",
        lower=0,
        upper=180,
    )
    augment: str = flag(
        "none",
        "Augmentation of training images after crop, flips and rotation; color changes "
        "brightness, saturation, hue and contrast.",
        choices=("none", "color", "autoaugment", "randaugment", "trivialaugment", "augmix"),
    )
    randaugment_num_layers: int = flag(
        2, "Operations per image of augment=randaugment, applied in sequence.", lower=1
    )
    randaugment_magnitude: int = flag(
        10, "Magnitude of the operations of augment=randaugment.", lower=0, upper=30
    )
    random_grayscale: float = flag(
        0.0, "Probability that a training image loses its colors.", lower=0, upper=1
    )
    random_blur: float = flag(
        0.0,
        "Probability that a training image is blurred, by a Gaussian of 0.1 to 2 pixels.",
        lower=0,
        upper=1,
    )
    random_erasing: float = flag(
        0.0,
        "Probability of replacing a rectangle of a training image by noise, on the device.",
        lower=0,
        upper=1,
    )
    mixup_alpha: float = flag(
        0.0,
        "Mixup of training images on the device, with weights from Beta(alpha, alpha); 0 is off. "
        "With cutmix_alpha, each batch gets one of the two.",
        lower=0,
    )
    cutmix_alpha: float = flag(
        0.0,
        "CutMix of training images on the device, with box areas by Beta(alpha, alpha); 0 is off.",
        lower=0,
    )
    datasets_repeat_cached_sample: bool = flag(
        False, "Read 1,024 records once and repeat them from memory, to benchmark without the disk."
    )
    num_data_threads: int | None = flag(
        None,
        "Threads that decode and augment images.",
        lower=1,
        when_none="one per core",
        eval=True,
    )
    shuffle_buffer: int = flag(10000, "Size of the shuffle buffer, in encoded examples.", lower=1)
    balanced_sampling: bool = flag(
        False,
        "Draw equally many training images of each class in every epoch: those of rare classes "
        "several times, those of frequent ones in turn.",
    )
    augmentation_repeats: int = flag(
        1,
        "Repeated augmentation: copies of each training image in a row, each with its own crop and "
        "augmentation. An epoch keeps its number of images, and shows so many times fewer "
        "different ones.",
        lower=1,
    )
    max_corrupt_records: int = flag(
        0,
        "Damaged records to skip before the run stops: a bad checksum, a truncated record or "
        "image, no Example or image, a label out of range. Any other damage stops it at once.",
        lower=0,
        eval=True,
    )
