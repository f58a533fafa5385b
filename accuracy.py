"""Computes the accuracy of predictions: `python accuracy.py -m efficientnet_lite0`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import commands, process
from common.errors import DataError
from inference.accuracy import comparison, flags, page, real_labels, report, scores
from inference.accuracy.scores import Outcomes
from inference.predictions import table
from inference.predictions.table import Predictions


def main(argv: Sequence[str]) -> int:
    """Runs the command line `argv` (without the program's name). Returns the exit code."""
    arguments = flags.parser().parse_args(argv)
    return commands.run(lambda: accuracy(arguments), debug=arguments.debug, broken_pipe_code=0)


def accuracy(arguments: argparse.Namespace) -> None:
    """Reports one artifact, or compares several."""
    directories = flags.artifacts(arguments)
    output = arguments.output_dir or directories[0]
    labels = None if arguments.real_labels is None else real_labels.read(arguments.real_labels)
    names = flags.names_of(directories)
    read = {name: table.read(path) for name, path in zip(names, directories, strict=True)}
    read = comparison.check_comparable(read)
    outcomes: dict[str, Outcomes] = {}
    results: dict[str, dict[str, Any]] = {}
    for directory, (name, predictions) in zip(directories, read.items(), strict=True):
        try:
            outcomes[name] = scores.outcomes_of(predictions, arguments.classes)
            results[name] = _result(directory, predictions, outcomes[name], labels)
        except DataError as error:
            raise DataError(f"{directory}: {error}") from error
    if len(directories) > 1:
        _compare(results, outcomes, output)
        return
    ((name, result),) = results.items()
    _report_one(result, output)
    worst = flags.DEFAULT_WORST if arguments.worst is None else arguments.worst
    if worst:  # at last, since the images of a large data set take a while to find
        with process.quiet_startup():  # TensorFlow reads records
            content = page.page(read[name], outcomes[name], worst)
        _write(output, {page.PAGE_FILE: content})


def _result(
    directory: Path,
    predictions: Predictions,
    outcomes: Outcomes,
    labels: list[list[int]] | None,
) -> dict[str, Any]:
    result = {
        **report.provenance(directory, predictions.manifest, outcomes.num_competing),
        **scores.scores(outcomes, predictions.manifest["class_names"]),
    }
    if labels is not None:
        result["real"] = real_labels.scores(predictions, outcomes, labels)
    return result


def _report_one(result: Mapping[str, Any], output: Path) -> None:
    """Prints the accuracies of one artifact and writes them."""
    print("\n".join(report.lines_of_one(result)), flush=True)
    ailia = "\n".join([*report.ailia_lines(result), ""])
    _write(output, {report.RESULT_FILE: report.as_json(result), report.LINES_FILE: ailia})


def _write(output: Path, contents: Mapping[str, str]) -> None:
    report.write(output, contents)
    print(f"Written: {', '.join(str(output / name) for name in contents)}", flush=True)


def _compare(
    results: Mapping[str, dict[str, Any]], outcomes: Mapping[str, Outcomes], output: Path
) -> None:
    from inference.accuracy import chart

    pairs = comparison.compare(outcomes)
    print("\n".join([*report.table(results), "", *report.comparison_table(pairs), ""]), flush=True)
    content = report.as_json({"artifacts": results, "pairs": pairs})
    _write(output, {report.COMPARISON_FILE: content})
    chart.draw(results, output / report.PICTURE_FILE)
    print(f"Written: {output / report.PICTURE_FILE}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
