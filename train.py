"""Train a network: `python train.py --model=efficientnet_lite0 --num_gpus=8 --data_dir=DIR`."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from common import commands, process

if __name__ == "__main__":  # before the other imports, which take a while
    process.hold_signals()
    process.restart_with_defaults()

import models.registry
import preprocessing.registry
from benchmark_cnn.distribution import parameter_servers
from benchmark_cnn.flags import command_line
from benchmark_cnn.params import validation
from benchmark_cnn.params.params import Params
from inference import class_names, source
from launch import folds
from models.pretrained import ensure
from preprocessing import object_storage
from preprocessing.augmentation import mirrored_classes
from preprocessing.own_photos import recipe
from preprocessing.own_photos import runs as own_photos
from preprocessing.records.shards import SUBSETS


def main(argv: Sequence[str]) -> int:
    """Runs the command line `argv` (without the program's name) and returns the exit code."""

    def run() -> None:
        with process.StopSignal(raises=True) as stop, contextlib.ExitStack() as stack:
            train(argv, stop, stack)

    return commands.run(run, debug=command_line.asks_for_debug(argv))


def train(argv: Sequence[str], stop: process.StopSignal, stack: contextlib.ExitStack) -> None:
    """Reads the flags, opens the data and trains. TensorFlow is imported after the flags."""
    parse = functools.partial(
        command_line.parse,
        "train.py",
        choices={
            **dict.fromkeys(("model", "teacher"), models.registry.names()),
            "data_name": preprocessing.registry.names(),
        },
        answers=dict.fromkeys(("model", "teacher"), models.registry.answers()),
    )
    argv, flags = recipe.with_recipe(argv, parse(argv), parse)
    flags = source.with_default_model(flags)
    servers = parameter_servers.of(flags.params)
    if servers is not None and not servers.is_chief:
        params = own_photos.for_training(flags.params)  # the chief's data have the same path
        with process.quiet_startup():
            from benchmark_cnn import training
        training.serve(params, servers)
        return
    if flags.params.run.folds is not None:
        cross_validate(argv, flags.params)
        return
    params = object_storage.for_training(flags.params, stack, stop.request)
    params = own_photos.for_training(params)
    with process.quiet_startup():
        dataset = preprocessing.registry.open_dataset(params.data, default_subset="train")
    if dataset.synthetic:
        validation.check_synthetic_data(flags)
    mirrors = mirrored_classes.note(dataset, params.data)
    if mirrors is not None:
        commands.write_line(mirrors)
    if params.checkpoint.pretrained:
        params = _from_published_weights(params)
    with process.quiet_startup():
        from benchmark_cnn import training
        from models import cost

        teacher = source.teacher_of(params)
    if params.run.learning_rate_finder:
        from benchmark_cnn.search import learning_rate_finder

        learning_rate_finder.find(
            params,
            models.registry.get(params.network.model),
            dataset,
            check_device=functools.partial(validation.check_device, flags),
            image_bytes=cost.activation_bytes,
            teacher=teacher,
        )
        return
    training.train(
        params,
        models.registry.get(params.network.model),
        dataset,
        command_line=["train.py", *argv],
        check_device=functools.partial(validation.check_device, flags),
        image_bytes=cost.activation_bytes,
        loss=teacher,
        class_names=class_names.class_names(
            params.network.num_classes or dataset.num_classes, None, params.data
        ),
    )


def cross_validate(argv: Sequence[str], params: Params) -> None:
    """Trains a run for each fold of --folds; each is this program with the fold's records."""
    params = object_storage.with_local_data(params, SUBSETS)
    records = own_photos.folds_for_training(params)
    folds.train(
        [sys.executable, __file__, *argv], records, Path(params.checkpoint.train_dir or ".")
    )


def _from_published_weights(params: Params) -> Params:
    """Returns `params` with the published weights to start from; a resumed run has its own."""
    train_dir = params.checkpoint.train_dir
    if train_dir is not None and any(Path(train_dir).glob("*.index")):
        return params
    prefix = ensure.ensure_in_child(params.network.model)
    checkpoint = dataclasses.replace(params.checkpoint, init_checkpoint=str(prefix))
    return dataclasses.replace(params, checkpoint=checkpoint)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
