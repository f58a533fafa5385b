"""Loads a network with its weights: from a run, from one checkpoint, or the published ones."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import models.registry
from benchmark_cnn.params.data_params import DataParams
from benchmark_cnn.params.fine_tuning_params import PUBLISHED_TEACHER
from benchmark_cnn.params.params import (
    PARAMETERS_FILE,
    ExplicitFlags,
    Params,
    read_parameters,
)
from benchmark_cnn.reporting import run_record
from benchmark_cnn.run_directory import RunDirectory
from common import commands, paths
from common.errors import DataError, UsageError
from inference import class_names
from inference.signature import INDEPENDENT, PROBABILITIES, PUBLISHED, Signature, versions
from inference.view import View, view_of
from models.pretrained import ensure
from preprocessing import object_storage

if TYPE_CHECKING:
    from benchmark_cnn.objective.teacher import Teacher
    from inference.classifier import Classifier

DEFAULT_MODEL = "efficientnet_lite0"  # of --pretrained


@dataclass(frozen=True)
class Request:
    """What a user says about the weights; each command has a flag of the same name.

    Attributes:
        model: A name in models.registry; None for the run's, or DEFAULT_MODEL if pretrained.
        train_dir: A run or one checkpoint, or its URL; None for the published weights.
        weights: "raw", "ema", or None for the averages if there are any.
        weights_dir: Where published weights are kept; None for their home.
        image_size: In pixels; None for the run's or the model's.
        num_classes: The number that the checkpoint must have; None for any.
        eval_method: Replaces that of the run, if given.
        resize_method: Replaces that of the run, if given.
        labels_map_file: Names the classes; None for the names of the run's data set.
    """

    model: str | None = None
    train_dir: Path | str | None = None
    weights: str | None = None
    weights_dir: Path | None = None
    image_size: int | None = None
    num_classes: int | None = None
    eval_method: str | None = None
    resize_method: str | None = None
    labels_map_file: Path | None = None


@dataclass(frozen=True)
class Source:
    """A network with its weights, and what is known about them.

    Attributes:
        signature: Names the network, its classes and its view of a photo.
        prefix: The checkpoint.
        run: The parameters of the run; the defaults for published and foreign weights.
    """

    classifier: Classifier
    signature: Signature
    prefix: Path
    run: Params

    @property
    def view(self) -> View:
        return self.signature.view

    @property
    def data(self) -> DataParams:
        """The data flags of the run."""
        return self.run.data


def load(request: Request) -> Source:
    """Loads what `request` asks for. Starts TensorFlow.

    Raises:
        DataError: There are no such weights, or they are another network's.
        UsageError: The flags contradict each other.
    """
    typed = (request.eval_method, request.resize_method)
    run, directory = Params(), None
    if request.train_dir is None:
        model = request.model or DEFAULT_MODEL
        models.registry.get(model)
        view = View(*ensure.view(model)).override(*typed)
        prefix = ensure.ensure(model, request.weights_dir)
    else:
        prefix, model, run = _run(request.train_dir, request.model)
        view, directory = view_of(run.data, *typed), prefix.parent
    from inference.classifier import Classifier

    independent = directory is not None and _has_several_labels(directory)
    try:
        classifier = Classifier(
            model,
            prefix,
            image_size=request.image_size or run.network.image_size,
            weights=request.weights,
            num_classes=request.num_classes,
            independent=independent,
        )
    except DataError as error:
        trained = run.network.model
        if directory is None or not (directory / PARAMETERS_FILE).exists() or model == trained:
            raise
        raise DataError(f"the run trained {trained}: leave --model out; {error}") from error
    names = class_names.class_names(
        classifier.num_classes, request.labels_map_file, run.data, directory
    )
    signature = Signature(
        model=model,
        image_size=classifier.image_size,
        class_names=tuple(names),
        view=view,
        output=INDEPENDENT if independent else PROBABILITIES,
        weights=PUBLISHED if directory is None else classifier.weights,
        wordnet_ids=class_names.wordnet_ids(names),
        versions=versions(),
    )
    return Source(classifier, signature, prefix, run)


def teacher_of(params: Params) -> Teacher | None:
    """Reads the network that a training learns from; None without --teacher. Starts TensorFlow.

    Raises:
        DataError: There are no such weights, or the run trained another network.
        UsageError: The network is not known.
    """
    flags = params.distillation
    if not flags.has_teacher:
        return None
    given, class_names = flags.teacher_checkpoint or PUBLISHED_TEACHER, ()
    if given == PUBLISHED_TEACHER:
        if flags.teacher is None:
            raise UsageError(f"--teacher_checkpoint={given} needs --teacher=NETWORK")
        model, prefix = flags.teacher, ensure.ensure_in_child(flags.teacher)
    else:
        prefix, model, run = _run(given, flags.teacher, "teacher")
        if run.network.model != model and (prefix.parent / PARAMETERS_FILE).exists():
            raise DataError(
                f"--teacher_checkpoint={given}: the run trained {run.network.model}: leave "
                "--teacher out"
            )
        if _has_several_labels(prefix.parent):
            raise DataError(
                f"--teacher_checkpoint={given} was trained on images of several labels: a teacher "
                "answers with the softmax of one"
            )
        class_names = run_record.read(RunDirectory(prefix.parent).run_info).get("class_names", ())
    from benchmark_cnn.objective import teacher
    from models import cost

    return teacher.read(
        models.registry.get(model),
        str(prefix),
        given,
        class_names=tuple(map(paths.one_line, class_names)),
        multiply_adds=lambda network, size: cost.cost(network, size).macs,
    )


def _has_several_labels(directory: Path) -> bool:
    """Returns whether the images of a run had several labels each, by its run.json."""
    data = run_record.last_start(RunDirectory(directory).run_info).get("data", {})
    return bool(data.get("multi_label"))


def with_default_model(flags: ExplicitFlags) -> ExplicitFlags:
    """Returns the flags with DEFAULT_MODEL, and says so, where --pretrained names no model."""
    if not flags.params.checkpoint.pretrained or "model" in flags.explicit:
        return flags
    commands.write_line(f"Model:       {DEFAULT_MODEL}, the default with --pretrained")
    network = replace(flags.params.network, model=DEFAULT_MODEL)
    return replace(flags, params=replace(flags.params, network=network))


def _run(train_dir: Path | str, model: str | None, flag: str = "model") -> tuple[Path, str, Params]:
    """Returns the checkpoint of a run, its network, and its parameters (defaults if foreign).

    Args:
        flag: That names the network.
    """
    from checkpoints import store

    prefix = Path(store.resolve(object_storage.run_to_read(os.fspath(train_dir))))
    run = Params()
    if (prefix.parent / PARAMETERS_FILE).exists():
        run = read_parameters(prefix.parent)
        model = model or run.network.model
    if model is None:
        raise UsageError(f"the network of {prefix} is not known: give --{flag}=NAME")
    return prefix, model, run
