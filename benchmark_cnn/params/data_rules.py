"""Which flags of network, data and hardware go together. Each rule returns lines, one an error."""

from __future__ import annotations

from benchmark_cnn.params import values
from benchmark_cnn.params.given_flags import GivenFlags, syntax_problems
from benchmark_cnn.params.values import parse_gpu_indices
from common.errors import UsageError

_MIXING = ("mixup_alpha", "cutmix_alpha")
_FLAGS_OF_FILES = (
    "data_subset",
    "train_crop",
    "eval_method",
    "resize_method",
    "resize_kernels",
    "eval_crop_fraction",
    "augment",
    "randaugment_num_layers",
    "randaugment_magnitude",
    "datasets_repeat_cached_sample",
    "num_data_threads",
    "shuffle_buffer",
    "max_corrupt_records",
)


def synchronized_batch_norm(given: GivenFlags) -> list[str]:
    if not given.params.network.sync_batch_norm:
        return []
    lines = []
    if given.params.hardware.xla_compile:
        lines.append(
            "--sync_batch_norm cannot be used with --xla_compile, which compiles each tower by "
            "itself; leave one of them out"
        )
    if given.params.hardware.variable_update == "independent":
        lines.append(
            "--sync_batch_norm cannot be used with --variable_update=independent, whose towers "
            "exchange nothing; use --variable_update=replicated"
        )
    return lines


def no_data(given: GivenFlags) -> list[str]:
    """With a name but no directory, the data set itself says whether it is synthetic."""
    data = given.params.data
    if data.data_dir is not None or data.data_name is not None:
        return []
    return with_synthetic_images(given)


def with_synthetic_images(given: GivenFlags) -> list[str]:
    return given.without_effect_unless_from_file(
        _FLAGS_OF_FILES, "without --data_dir: the images are synthetic"
    )


def repeated_sample(given: GivenFlags) -> list[str]:
    if not given.params.data.datasets_repeat_cached_sample:
        return []
    return given.without_effect(
        ("shuffle_buffer", "max_corrupt_records"),
        "with --datasets_repeat_cached_sample, which reads 1,024 records",
        because_of=["datasets_repeat_cached_sample"],
    )


def image_preparation(given: GivenFlags) -> list[str]:
    """Crop and resize; also asked once an evaluation has taken them over from its run."""
    data, lines = given.params.data, []
    if data.eval_method != "efficientnet":
        lines += given.without_effect(
            ["eval_crop_fraction"],
            f"with --eval_method={data.eval_method}; it belongs to --eval_method=efficientnet",
            because_of=["eval_method"],
        )
    if data.resize_method == "area":
        lines += given.without_effect(
            ["resize_kernels"],
            "with --resize_method=area, which has one kernel",
            because_of=["resize_method"],
        )
    return lines


def augmentation(given: GivenFlags) -> list[str]:
    params, lines = given.params, []
    if params.data.augment != "randaugment":
        lines += given.without_effect(
            ["randaugment_num_layers", "randaugment_magnitude"],
            f"with --augment={params.data.augment}; it belongs to --augment=randaugment",
            because_of=["augment"],
        )
    if params.data.batch_size == 1:
        lines += given.without_effect(
            _MIXING,
            "with --batch_size=1: a tower mixes the images of its own batch",
            because_of=["batch_size"],
        )
    if params.run.forward_only:
        lines += given.without_effect(
            ["random_erasing", *_MIXING],
            "with --forward_only, which trains nothing",
            because_of=["forward_only"],
        )
    return lines


def variable_placement(given: GivenFlags) -> list[str]:
    kind = given.params.hardware.variable_update
    lines = []
    if kind != "parameter_server":
        lines += given.without_effect(
            ["local_parameter_device"],
            f"with --variable_update={kind}; it belongs to --variable_update=parameter_server",
            because_of=["variable_update"],
        )
    if kind != "replicated":
        lines += given.without_effect(
            ["all_reduce_spec"],
            f"with --variable_update={kind}; it belongs to --variable_update=replicated",
            because_of=["variable_update"],
        )
    return lines


def gpu_indices(given: GivenFlags) -> list[str]:
    hardware = given.params.hardware
    lines = syntax_problems("gpu_indices", hardware.gpu_indices, parse_gpu_indices)
    if lines or not hardware.gpu_indices:
        return lines
    count = len(parse_gpu_indices(hardware.gpu_indices))
    if count == hardware.num_gpus:
        return []
    return [
        f"--gpu_indices={hardware.gpu_indices} names {count} GPUs but --num_gpus="
        f"{hardware.num_gpus}; make them agree"
    ]


def all_reduce_syntax(given: GivenFlags) -> list[str]:
    spec = given.params.hardware.all_reduce_spec
    return _all_reduce_problems(spec, "gpu")


def on_device(given: GivenFlags, device: str) -> list[str]:
    """What cannot be had on `device` ("gpu" or "cpu")."""
    if device != "cpu":
        return []
    params, lines = given.params, []
    if params.network.data_format == "NCHW":
        lines.append("--data_format=NCHW needs a GPU; with --device=cpu use --data_format=NHWC")
    if params.hardware.local_parameter_device == "gpu":
        lines.append("--local_parameter_device=gpu needs a GPU; with --device=cpu use cpu")
    if not _all_reduce_problems(params.hardware.all_reduce_spec, "gpu"):
        lines += _all_reduce_problems(params.hardware.all_reduce_spec, "cpu")
    return lines + given.without_effect_unless_from_file(
        ["gpu_indices", "allow_memory_growth"], "with --device=cpu"
    )


def _all_reduce_problems(spec: str | None, device: str) -> list[str]:
    try:
        values.parse(spec, device)
    except UsageError as error:
        return [str(error)]
    return []
