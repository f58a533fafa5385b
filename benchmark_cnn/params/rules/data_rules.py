"""Rules for flags of network, data and hardware. Each returns a line for every contradiction."""

from __future__ import annotations

from benchmark_cnn.params.data_params import AUTOMATIC, FLIP_FLAGS, VIEW_FLAGS
from benchmark_cnn.params.params import ExplicitFlags
from benchmark_cnn.params.values import parse_all_reduce_spec, parse_gpu_indices

_MIXING = ("mixup_alpha", "cutmix_alpha")
_FLAGS_OF_FILES = (
    "data_subset",
    "validation_fraction",
    "test_fraction",
    "cache_dir",
    *VIEW_FLAGS,
    *FLIP_FLAGS,
    "datasets_repeat_cached_sample",
    "num_data_threads",
    "shuffle_buffer",
    "max_corrupt_records",
    "class_weights",
    "balanced_sampling",
    "augmentation_repeats",
)


def synchronized_batch_norm(given: ExplicitFlags) -> list[str]:
    if not given.params.network.sync_batch_norm:
        return []
    lines = []
    xla = given.params.hardware.xla
    if xla != "off":
        lines.append(
            f"--sync_batch_norm cannot be used with --xla={xla}, which compiles each tower by "
            "itself; leave one of them out"
        )
    if given.params.hardware.variable_update == "independent":
        lines.append(
            "--sync_batch_norm cannot be used with --variable_update=independent, whose towers "
            "exchange nothing; use --variable_update=replicated"
        )
    return lines


def compiled_step(given: ExplicitFlags) -> list[str]:
    params = given.params
    if params.hardware.xla != "step":
        return []
    kind = params.hardware.variable_update
    refused = {
        f"--variable_update={kind}: each tower updates its own copies, which is replicated or "
        "collective_all_reduce": kind in ("parameter_server", "independent"),
        f"--summary_verbosity={params.report.summary_verbosity}: histograms and images are written "
        "within the step; use 1": params.report.summary_verbosity > 1,
        "--forward_only; use --xla=towers": params.run.forward_only,
    }
    return [f"--xla=step cannot be used with {line}" for line, is_so in refused.items() if is_so]


def no_data(given: ExplicitFlags) -> list[str]:
    """Without data_dir, a data set with a name may still bring its own directory."""
    data = given.params.data
    if data.data_dir is not None or data.data_name is not None:
        return []
    return with_synthetic_images(given)


def test_images(given: ExplicitFlags) -> list[str]:
    if given.params.data.data_subset != "test":
        return []
    return ["--data_subset=test is for eval.py: test images are never trained on"]


def with_synthetic_images(given: ExplicitFlags) -> list[str]:
    return given.unused_flag_errors(_FLAGS_OF_FILES, "without --data_dir: the images are synthetic")


def repeated_sample(given: ExplicitFlags) -> list[str]:
    if not given.params.data.datasets_repeat_cached_sample:
        return []
    return given.unused_flag_errors(
        ("shuffle_buffer", "max_corrupt_records", "balanced_sampling"),
        "with --datasets_repeat_cached_sample, which reads 1,024 records",
        because_of=["datasets_repeat_cached_sample"],
    )


def automatic_batch(given: ExplicitFlags) -> list[str]:
    params = given.params
    if params.data.batch_size != AUTOMATIC:
        return []
    if params.hardware.variable_update == "collective_all_reduce":
        return [
            "--batch_size=auto cannot be used with --variable_update=collective_all_reduce, whose "
            "workers need the same number: find it on one machine, and give it"
        ]
    if params.run.forward_only:
        return ["--batch_size=auto cannot be used with --forward_only: give a number"]
    return []


def batch_of_evaluation(given: ExplicitFlags) -> list[str]:
    if given.params.data.batch_size != AUTOMATIC:
        return []
    return ["--batch_size=auto is for train.py: give a number, which changes no result"]


def class_balance(given: ExplicitFlags) -> list[str]:
    params = given.params
    uses = {
        f"--class_weights={params.optimization.class_weights}": (
            params.optimization.class_weights != "none"
        ),
        "--balanced_sampling": params.data.balanced_sampling,
    }
    lines = [
        f"{flag} cannot be used with --max_corrupt_records, which skips records: the images of a "
        "class cannot be counted"
        for flag, is_on in uses.items()
        if is_on and params.data.max_corrupt_records
    ]
    if params.optimization.class_weights == "balanced" and params.data.balanced_sampling:
        lines.append(
            "--class_weights=balanced and --balanced_sampling exclude each other: both balance "
            "the classes, and together they would favor the rare ones; give one of them"
        )
    if params.data.augmentation_repeats > 1 and params.data.balanced_sampling:
        lines.append(
            f"--augmentation_repeats={params.data.augmentation_repeats} and --balanced_sampling "
            "exclude each other: an epoch of repeated images is not balanced; give one of them"
        )
    return lines


def image_preparation(given: ExplicitFlags) -> list[str]:
    """Crop and resize; checked again after an evaluation has inherited them from its run."""
    lines = given.errors_unless("eval_method", "efficientnet", ["eval_crop_fraction"])
    if given.params.data.resize_method == "area":
        lines += given.unused_flag_errors(
            ["resize_kernels"],
            "with --resize_method=area, which has one kernel",
            because_of=["resize_method"],
        )
    return lines


def augmentation(given: ExplicitFlags) -> list[str]:
    layers_and_magnitude = ("randaugment_num_layers", "randaugment_magnitude")
    lines = given.errors_unless("augment", "randaugment", layers_and_magnitude)
    if given.params.data.batch_size == 1:
        lines += given.unused_flag_errors(
            _MIXING,
            "with --batch_size=1: a tower mixes the images of its own batch",
            because_of=["batch_size"],
        )
    if given.params.run.forward_only:
        lines += given.unused_flag_errors(
            ["random_erasing", *_MIXING],
            "with --forward_only, which trains nothing",
            because_of=["forward_only"],
        )
    return lines


def variable_placement(given: ExplicitFlags) -> list[str]:
    placement = given.errors_unless(
        "variable_update", "parameter_server", ["local_parameter_device"]
    )
    kind = given.params.hardware.variable_update
    if kind == "collective_all_reduce":
        return placement
    if given.params.hardware.ps_hosts:
        return placement  # asynchronous_rules.py
    cluster = given.unused_flag_errors(
        ["worker_hosts", "task_index"],
        f"with --variable_update={kind}, which trains on one machine; "
        "use --variable_update=collective_all_reduce",
    )
    if kind == "replicated":
        return placement + cluster
    return (
        placement
        + cluster
        + given.errors_unless("variable_update", "replicated", ["all_reduce_spec"])
    )


def gpu_indices(given: ExplicitFlags) -> list[str]:
    hardware = given.params.hardware
    count = len(parse_gpu_indices(hardware.gpu_indices))
    if count in (0, hardware.num_gpus):
        return []
    return [
        f"--gpu_indices={hardware.gpu_indices} names {count} GPUs but --num_gpus="
        f"{hardware.num_gpus}; make them agree"
    ]


def on_device(given: ExplicitFlags, device: str) -> list[str]:
    """Flags that `device`, "gpu" or "cpu", does not support."""
    if device != "cpu":
        return _on_gpus(given)
    params, lines = given.params, []
    if params.network.data_format == "NCHW":
        lines.append("--data_format=NCHW needs a GPU; with --device=cpu use --data_format=NHWC")
    if params.hardware.local_parameter_device == "gpu":
        lines.append("--local_parameter_device=gpu needs a GPU; with --device=cpu use cpu")
    try:
        parse_all_reduce_spec(
            params.hardware.all_reduce_spec,
            device,
            between_machines=params.hardware.variable_update == "collective_all_reduce",
        )
    except ValueError as error:
        lines.append(f"--all_reduce_spec={params.hardware.all_reduce_spec} {error}")
    return lines + given.unused_flag_errors(
        ["gpu_indices", "allow_memory_growth", "tf32"], "with --device=cpu"
    )


def _on_gpus(given: ExplicitFlags) -> list[str]:
    hardware = given.params.hardware
    algorithm = (hardware.all_reduce_spec or "").partition(":")[0]
    if algorithm == "hierarchical_copy" and hardware.num_gpus > 1 and hardware.num_gpus % 2:
        return [
            f"--all_reduce_spec=hierarchical_copy halves the GPUs, and --num_gpus="
            f"{hardware.num_gpus} is odd: TensorFlow would leave the last one out; use nccl"
        ]
    return []
