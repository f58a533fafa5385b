"""Train a network: `python train.py --model=efficientnet_lite0 --num_gpus=8 --data_dir=DIR`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import models.registry
import preprocessing.registry
from benchmark_cnn.flags import command_line
from benchmark_cnn.params import validation
from benchmark_cnn.params.params import TRAIN_CONCERNS, Params
from common import commands, process
from common.errors import UsageError
from models.pretrained import ensure


def main(argv: Sequence[str]) -> int:
    """Run the command line `argv` (without the program's name); returns the exit code."""
    return commands.run(lambda: train(argv), debug=command_line.asks_for_debug(argv))


def train(argv: Sequence[str]) -> None:
    """Parse, open the data, train; TensorFlow is imported once the flags are known to be good."""
    parsed = command_line.parse(
        "train.py",
        argv,
        concerns=TRAIN_CONCERNS,
        choices={
            "model": models.registry.names(),
            "data_name": preprocessing.registry.names(),
        },
        answers={"model": models.registry.answers()},
    )
    params = parsed.params
    data = dataclasses.replace(params.data, data_subset=params.data.data_subset or "train")
    with process.without_chatter():
        dataset = preprocessing.registry.open_dataset(data)
    if dataset.synthetic:
        lines = validation.synthetic_data_problems(params, parsed.typed, parsed.from_files)
        if lines:
            raise UsageError("\n".join(lines))

    if params.checkpoint.pretrained:
        params = _from_published_weights(params)

    with process.without_chatter():
        from benchmark_cnn import training

    training.train(
        params,
        models.registry.get(params.network.model),
        dataset,
        command_line=["train.py", *argv],
        typed=parsed.typed - parsed.from_files,
    )


def _from_published_weights(params: Params) -> Params:
    """`params` with the published weights to start from; a run that is resumed has its own."""
    train_dir = params.checkpoint.train_dir
    if train_dir is not None and any(Path(train_dir).glob("*.index")):
        return params
    prefix = ensure.ensure_in_child(params.network.model)
    checkpoint = dataclasses.replace(params.checkpoint, init_checkpoint=str(prefix))
    return dataclasses.replace(params, checkpoint=checkpoint)


if __name__ == "__main__":
    process.restart_with_defaults()
    sys.exit(main(sys.argv[1:]))
