"""Evaluate a run: `python eval.py --train_dir=runs/lite0 --moving_average_decay=0.999`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence

import models.registry
import preprocessing.registry
from benchmark_cnn import waiting
from benchmark_cnn.flags import command_line
from benchmark_cnn.flags.command_line import ParsedFlags
from benchmark_cnn.params.params import EVAL_CONCERNS, Params
from common import commands, process
from models.pretrained import ensure


def main(argv: Sequence[str]) -> int:
    """Run the command line `argv` (without the program's name); returns the exit code."""
    return commands.run(lambda: evaluate(argv), debug=command_line.asks_for_debug(argv))


def evaluate(argv: Sequence[str]) -> None:
    """Model and data come from the run's parameters.json, but for what is typed."""
    parsed = command_line.parse(
        "eval.py",
        argv,
        concerns=EVAL_CONCERNS,
        choices={
            "model": models.registry.names(),
            "data_name": preprocessing.registry.names(),
        },
        answers={"model": models.registry.answers()},
    )
    if parsed.params.checkpoint.pretrained:
        parsed, run = _published(parsed)
    else:
        run = waiting.load_run_params(parsed.params, parsed.typed)
    params = command_line.evaluation_params(parsed, run if run is not None else parsed.params)
    data = dataclasses.replace(params.data, data_subset=params.data.data_subset or "validation")
    with process.without_chatter():
        dataset = preprocessing.registry.open_dataset(data)
        from benchmark_cnn import checkpoint_evaluation

    checkpoint_evaluation.evaluate(
        params,
        models.registry.get(params.network.model),
        dataset,
        typed=parsed.typed - parsed.from_files,
    )


def _published(parsed: ParsedFlags) -> tuple[ParsedFlags, Params]:
    """The directory of the published weights for --train_dir, and how they see images."""
    params = parsed.params
    weights = ensure.ensure_in_child(params.network.model)
    checkpoint = dataclasses.replace(params.checkpoint, train_dir=str(weights.parent))
    params = dataclasses.replace(params, checkpoint=checkpoint)
    eval_method, resize_method = ensure.view(params.network.model)
    data = dataclasses.replace(params.data, eval_method=eval_method, resize_method=resize_method)
    return dataclasses.replace(parsed, params=params), dataclasses.replace(params, data=data)


if __name__ == "__main__":
    process.restart_with_defaults()
    sys.exit(main(sys.argv[1:]))
