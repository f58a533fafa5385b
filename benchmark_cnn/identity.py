"""What a run is: the facts that run.json holds, and what a later start of the run changes.

A start under other settings says what it changes. Another data set is refused: a label would mean
one class to the weights and another to the images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from benchmark_cnn.interfaces import Dataset
from benchmark_cnn.objective.teacher import Teacher
from benchmark_cnn.params.params import Params, read_parameters, recorded
from benchmark_cnn.reporting import console, run_record
from benchmark_cnn.run import TrainingRun, default_rate
from benchmark_cnn.run_directory import RunDirectory
from benchmark_cnn.step import learning_rate
from common import paths
from common.errors import DataError

# Flags of these concerns decide what is trained; the others, where it is saved and what is printed.
_CONCERNS = (
    *("network", "data", "hardware", "run", "learning_rate", "optimization", "fine_tuning"),
    "distillation",
)

# What each worker of a cluster may set for itself; the other flags have to agree.
_FLAGS_OF_A_WORKER = frozenset(
    (
        "worker_hosts", "task_index", "data_dir", "train_dir", "init_checkpoint", "trace_file",
        "gpu_indices", "num_data_threads", "num_intra_threads", "num_inter_threads", "debug",
        "fresh", "keep_checkpoints", "job_name", "ps_hosts", "cache_dir", "teacher_checkpoint",
    )
)  # fmt: skip
_CODE_OF_A_STEP = ("common", "checkpoints", "models", "benchmark_cnn", "preprocessing")


def of_worker(params: Params, dataset: Dataset, teacher: Teacher | None) -> dict[str, Any]:
    """Returns what all workers of a cluster must have in common: name in messages -> value."""
    about = dataset.describe()
    taught = {} if teacher is None else {"the teacher": _teacher_in_words(teacher.identity)}
    return (
        _common_flags(params)
        | taught
        | {
            "the data": f"{about.title}, manifest {about.manifest_sha256}",
            "the code": _hash_of_code(),
            "TensorFlow": tf.__version__,
        }
    )


def of_task(params: Params) -> dict[str, Any]:
    """Returns what all processes of an asynchronous run must have in common, as `of_worker` does.

    The chief describes the pipelines of the workers, so that their data have its path.
    """
    data_dir = params.data.data_dir
    return _common_flags(params) | {
        "--data_dir": None if data_dir is None else paths.absolute(data_dir),
        "the code": _hash_of_code(),
        "TensorFlow": tf.__version__,
    }


def _common_flags(params: Params) -> dict[str, Any]:
    return {
        f"--{name}": value
        for name, value in params.to_dict().items()
        if name not in _FLAGS_OF_A_WORKER
    }


def _hash_of_code() -> str:
    root, digest = Path(__file__).resolve().parents[1], hashlib.sha256()
    for room in _CODE_OF_A_STEP:
        for path in sorted((root / room).rglob("*.py")):
            digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def of_start(run: TrainingRun, teacher: Teacher | None = None) -> dict[str, Any]:
    """Returns the names of the classes, and what identifies data, teacher and decided values."""
    return {
        "class_names": list(run.dataset.describe().class_names),
        "data": of_data(
            run.dataset, {run.settings.subset: run.dataset.num_examples(run.settings.subset)}
        ),
        "run": _of_run(run),
        **({} if teacher is None else {"teacher": teacher.identity}),
    }


def _of_run(run: TrainingRun) -> dict[str, Any]:
    """Returns the decided values of a run: those that its flags leave to model and data."""
    plan, network = run.plan, run.evaluator.network
    return {
        "parameters": sum(
            network.variables[name].shape.num_elements() for name in network.trainable
        ),
        "classes": run.settings.num_classes,
        "image_size": run.settings.image_size,
        **_train_image_sizes(run),
        "batch_per_tower": plan.batch_per_tower,
        "global_batch": plan.global_batch,
        "learning_rate": learning_rate.initial_rate(
            run.params.learning_rate,
            default_rate(run.params, run.spec, plan),
            plan.global_batch,
        ),
        "steps_per_epoch": plan.examples_per_epoch / plan.global_batch,
        "total_steps": plan.total_steps,
        "weights": run.settings.weights,
        "loss": str(run.step.tower.loss),
        "balanced_sampling": run.params.data.balanced_sampling,
        "augmentation_repeats": run.params.data.augmentation_repeats,
        "checkpoint_bytes": sum(
            variable.shape.num_elements() * variable.dtype.size
            for variable in run.state.named_variables().values()
        ),
    }


def _train_image_sizes(run: TrainingRun) -> dict[str, dict[str, int]]:
    """Returns the first step with each size of training images -> the size, if it changes."""
    if run.params.network.image_size_schedule is None:
        return {}
    changes: dict[str, int] = {}
    for first, phase in sorted(run.phases.items()):
        if phase.image_size not in [*changes.values()][-1:]:
            changes[str(first)] = phase.image_size
    return {"train_image_sizes": changes}


def of_data(dataset: Dataset, num_examples: Mapping[str, int]) -> dict[str, Any]:
    """Returns the facts that identify the data, without the names of the classes.

    Args:
        num_examples: of the splits that were counted; a manifest may list more.
    """
    about = dataset.describe()
    return {
        "name": dataset.name,
        "title": about.title,
        "synthetic": dataset.synthetic,
        "classes": dataset.num_classes,
        **({"multi_label": True} if dataset.multi_label else {}),
        "examples": {**about.examples, **num_examples},
        "manifest_sha256": about.manifest_sha256,
    }


def earlier_start(directory: RunDirectory) -> Params | None:
    """Returns the parameters of the run that will be resumed; None if no checkpoint is there.

    Raises:
        DataError: parameters.json is damaged.
    """
    is_resumed = any(directory.path.glob("*.index")) and directory.parameters.exists()
    return read_parameters(directory.path) if is_resumed else None


def check_data(directory: RunDirectory, dataset: Dataset, earlier: Params) -> None:
    """Compares the data with those of the earlier starts, and warns of a changed manifest.

    Raises:
        DataError: they are another data set, or have other classes.
    """
    record = run_record.read(directory.run_info)
    unrecorded: dict[str, Any] = {"name": earlier.data.data_name}  # by an earlier version
    was = run_record.last_start(directory.run_info).get("data", unrecorded)
    now, names = of_data(dataset, {}), [*dataset.describe().class_names]
    names_before = _class_names(record)
    is_same = was["name"] in (None, now["name"])
    is_same &= was.get("synthetic", now["synthetic"]) == now["synthetic"]
    if not (is_same and (names == names_before or not (names and names_before))):
        raise DataError(
            f"the run in {directory.path} was trained on {_title(was, names_before)}, not on "
            f"{_title(now, names)}: give its data with --data_dir, or start another "
            f"--train_dir from its weights with --init_checkpoint={directory.path}"
        )
    if was is unrecorded:
        _warn_of_unrecorded_classes(directory, dataset)
    if was.get("manifest_sha256") not in (None, now["manifest_sha256"]):
        console.log(
            f"Warning: {now['title']} has changed since the last start. There were "
            f"{console.images(was['examples'])}, there are {console.images(now['examples'])}; "
            "their order is another"
        )


def check_teacher(directory: RunDirectory, teacher: Teacher | None, earlier: Params) -> None:
    """Compares the teacher with that of the run's last start.

    Raises:
        DataError: it is another one, one has been added, or it is missing.
    """
    record = run_record.last_start(directory.run_info)
    if not record:
        return
    was, now = record.get("teacher"), None if teacher is None else teacher.identity
    if was == now or (was and now and was["sha256"] == now["sha256"]):
        return
    flags = earlier.distillation
    given = {"teacher": flags.teacher, "teacher_checkpoint": flags.teacher_checkpoint}
    before = " ".join(f"--{name}={value}" for name, value in given.items() if value)
    advice = f"give {before} as before" if before else "leave out --teacher"
    if before and was and now and was["checkpoint"] != now["checkpoint"]:
        advice = f"give the checkpoint {was['checkpoint']} with --teacher_checkpoint"
    raise DataError(
        f"the run in {directory.path} learns from {_teacher_in_words(was)}, not from "
        f"{_teacher_in_words(now)}: {advice}, or start another --train_dir from its weights with "
        f"--init_checkpoint={directory.path}"
    )


def _teacher_in_words(teacher: Mapping[str, Any] | None) -> str:
    if teacher is None:
        return "its labels alone"
    kind = "moving averages" if teacher["averaged"] else "raw weights"
    name = f"the {kind} of {teacher['model']}, {teacher['checkpoint']}"
    return f"{name} (SHA-256 {teacher['sha256'][:12]})"


def other_data(directory: RunDirectory, dataset: Dataset) -> str | None:
    """Returns the title of data that the run in `directory` was not trained on; else None.

    Prints a warning if their classes are others: then an accuracy means nothing.
    """
    record, about = run_record.read(directory.run_info), dataset.describe()
    was = run_record.last_start(directory.run_info).get("data")
    if was is None:
        _warn_of_unrecorded_classes(directory, dataset)
        return None
    if was["manifest_sha256"] == about.manifest_sha256:
        return None
    names_before = _class_names(record)
    names = list(about.class_names)
    if names and names_before and names != names_before:
        console.log(
            f"Warning: the run was trained on {_title(was, names_before)}; the classes of "
            f"{about.title} are others ({console.classes(len(names), names)})"
        )
    return about.title


def _warn_of_unrecorded_classes(directory: RunDirectory, dataset: Dataset) -> None:
    """Says that a label of an earlier version's run may have meant another class.

    Only class folders may be renamed, or have others among them.
    """
    about = dataset.describe()
    if dataset.name == "folder":
        console.log(
            f"Warning: the run in {directory.path} does not say what its classes were (it is an "
            f"earlier version's). The labels are taken for those of {about.title} as it is now: "
            f"{console.classes(len(about.class_names), about.class_names)}"
        )


def log_changes(earlier: Params, params: Params) -> None:
    """Prints the flags that differ from the earlier start's."""
    before, now = (
        # An earlier version recorded the number for a weight decay that was not given.
        recorded(some) | {"weight_decay": some.optimization.decay}
        for some in (earlier, params)
    )
    concerns = [vars(getattr(params, concern)) for concern in _CONCERNS]
    changed = [
        f"--{name}={now[name]} (was {before[name]})"
        for names in concerns
        for name in names
        if before[name] != now[name]
    ]
    if changed:
        console.log(f"Changed since the last start: {', '.join(changed)}")


def _class_names(record: Mapping[str, Any]) -> list[str]:
    """Returns the names in a run.json; an earlier version kept line breaks in them."""
    return [paths.one_line(name) for name in record.get("class_names") or ()]


def _title(data: Mapping[str, Any], class_names: Sequence[str]) -> str:
    title = data.get("title") or data["name"]
    if data.get("synthetic"):
        return "synthetic images"
    return f"{title} ({console.classes(len(class_names), class_names)})" if class_names else title
