"""Draws metrics.csv: loss, top-1 and learning rate over epochs, of one run or of several.

python -m benchmark_cnn.reporting.curves runs/lite0
python -m benchmark_cnn.reporting.curves runs/lite0 runs/lite1 --output=compared.png
"""

from __future__ import annotations

import functools
import gc
import itertools
import math
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from benchmark_cnn.params.params import PARAMETERS_FILE, read_parameters
from benchmark_cnn.reporting import metrics_log, run_record
from common import commands, files, paths
from common.errors import DataError

# The smoothed curve averages over about this share of the run.
_SMOOTHING_SHARE = 0.02
# Okabe and Ito's palette for color-blind readers.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555")
_TRAINING_COLOR, _EVALUATION_COLOR = _COLORS[:2]
_EVALUATION_STYLE: dict[str, Any] = {"lw": 1.2, "marker": "o", "ms": 2.8}
_LEGEND_WIDTH_CHARACTERS = 100
_STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e5e5",
    "axes.axisbelow": True,
    "axes.edgecolor": "#888888",
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "legend.frameon": False,
    "lines.solid_capstyle": "round",
}

Rows = Sequence[Mapping[str, float]]
Points = tuple[list[float], list[float]]
Style = dict[str, Any]


def draw(train_dir: str | os.PathLike[str]) -> bool:
    """Draws `train_dir`/curves.png and returns whether it succeeded.

    Failures are logged: plotting must not stop a run.
    """
    directory = Path(train_dir)
    try:
        compare([directory], directory / "curves.png")
    except Exception as error:
        logging.warning("no curves of %s were drawn: %s", directory, error)
        return False
    finally:
        # A figure is a cycle of references that holds megabytes of pixels; a long run draws many.
        gc.collect()
    return True


def compare(train_dirs: Sequence[str | os.PathLike[str]], output: str | os.PathLike[str]) -> None:
    """Draws the curves of all `train_dirs` into the picture `output`.

    Raises:
        DataError: a metrics.csv is empty, missing or damaged.
    """
    import matplotlib
    from matplotlib.figure import Figure

    runs = {_name(path, train_dirs): _rows_of(Path(path)) for path in train_dirs}
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9, 9.5), dpi=120, layout="constrained")
        panels = figure.subplots(3, 1, sharex=True, height_ratios=(4, 4, 2))
        _label(panels)
        if len(runs) == 1:
            ((name, rows),) = runs.items()
            heights = _draw_only_run(panels, rows, Path(train_dirs[0]))
            figure.suptitle(_summary(name, rows), x=0.01, ha="left", fontsize=12)
        else:
            heights = _draw_runs(panels, runs)
            _add_legend_of_runs(figure, list(runs))
        _set_limits(panels, heights)
        for rows, color in zip(runs.values(), itertools.cycle(_COLORS), strict=False):
            color = _EVALUATION_COLOR if len(runs) == 1 else color
            _mark_above(panels[0], _points(rows, "eval_loss"), color)
        figure.align_ylabels(panels)
        _save(figure, Path(output))


def smoothed(values: Sequence[float], share: float = _SMOOTHING_SHARE) -> list[float]:
    """Computes the bias-corrected exponential moving average over about `share` of the values.

    m_t = a * m_{t-1} + (1 - a) * v_t, divided by 1 - a^t (Kingma and Ba 2015, section 3).
    """
    span = max(len(values) * share, 1.0)
    decay = (span - 1) / (span + 1)
    mean, weight, result = 0.0, 0.0, []
    for value in values:
        mean = decay * mean + (1 - decay) * value
        weight = decay * weight + (1 - decay)
        result.append(mean / weight)
    return result


def _draw_only_run(panels, rows: Rows, path: Path) -> list[float]:
    """Draws one run with raw values and total loss; returns the heights of its loss curves."""
    losses, accuracies, _ = panels
    labels = _labels_of(rows, path)
    training: Style = {"color": _TRAINING_COLOR, "lw": 1.8, "label": labels[0]}
    evaluation: Style = {"color": _EVALUATION_COLOR, "label": labels[1], **_EVALUATION_STYLE}
    decayed: Style = {"color": "#777777", "lw": 1.2, "ls": ":", "label": "with weight decay"}
    for panel, column, scale in ((losses, "cross_entropy", 1), (accuracies, "top_1", 100)):
        epochs, values = _points(rows, column, scale)
        if smoothed(values) != values:
            panel.plot(epochs, values, color=_TRAINING_COLOR, lw=0.6, alpha=0.2)
    heights = _draw_curves(panels, rows, training, evaluation)
    epochs, total_loss = _points(rows, "total_loss")
    heights += _draw_line(losses, (epochs, smoothed(total_loss)), decayed)
    _mark_resumes(panels, rows, path)
    for panel in (losses, accuracies):
        if panel.get_legend_handles_labels()[0]:
            panel.legend()
    return heights


def _labels_of(rows: Rows, path: Path) -> tuple[str, str]:
    """Returns the legend of training and evaluation: what was smoothed, and which weights."""
    training, evaluation = "training", "evaluation"
    _, values = _points(rows, "cross_entropy")
    if smoothed(values) != values:
        training += ", smoothed"
    if (path / PARAMETERS_FILE).exists():
        flags = read_parameters(path).optimization
        if flags.label_smoothing:
            training += f" (labels smoothed by {flags.label_smoothing:g})"
        evaluation += f" of the {'averaged' if flags.moving_average_decay else 'raw'} weights"
    return training, evaluation


def _mark_resumes(panels, rows: Rows, path: Path) -> None:
    """Draws a line where a later start took over."""
    starts = run_record.read(path / "run.json").get("starts", [])
    resumed = {start.get("start_step") for start in starts} - {0}
    epochs = {row["epoch"] for row in rows if row["global_step"] in resumed and "epoch" in row}
    for number, epoch in enumerate(sorted(epochs)):
        for panel in panels:
            label = "resumed" if number == 0 and panel is panels[0] else None
            panel.axvline(epoch, color="#999999", lw=0.9, ls=(0, (1, 3)), label=label)


def _mark_above(panel, points: Points, color: str) -> None:
    """Marks the values that lie above the panel, such as the first evaluations of averages."""
    top = panel.get_ylim()[1]
    for epoch, value in zip(*points, strict=True):
        if value > top:
            panel.plot(epoch, top, color=color, marker="^", ms=6, ls="", clip_on=False)
            panel.annotate(
                f"{value:.3g}", (epoch, top), (6, -3), textcoords="offset points",
                color=color, fontsize=8, va="top",
            )  # fmt: skip


def _draw_runs(panels, runs: Mapping[str, Rows]) -> list[float]:
    """Draws every run in its color; returns the heights of the loss curves."""
    heights = []
    for rows, color in zip(runs.values(), itertools.cycle(_COLORS), strict=False):
        evaluation: Style = {"color": color, "ls": "--", **_EVALUATION_STYLE}
        heights += _draw_curves(panels, rows, {"color": color, "lw": 1.6}, evaluation)
    return heights


def _draw_curves(panels, rows: Rows, training: Style, evaluation: Style) -> list[float]:
    losses, accuracies, learning_rates = panels
    epochs, values = _points(rows, "cross_entropy")
    heights = _draw_line(losses, (epochs, smoothed(values)), training)
    heights += _draw_line(losses, _points(rows, "eval_loss"), evaluation)
    epochs, values = _points(rows, "top_1", scale=100)
    _draw_line(accuracies, (epochs, smoothed(values)), training)
    _draw_line(accuracies, _points(rows, "eval_top_1", scale=100), evaluation)
    _draw_line(learning_rates, _points(rows, "learning_rate"), training)
    return heights


def _draw_line(panel, points: Points, style: Style) -> list[float]:
    epochs, values = points
    if epochs:
        # A single point would be an invisible line.
        dot = {"marker": "o", "ms": 4} if len(epochs) == 1 else {}
        panel.plot(epochs, values, **{**dot, **style})
    return values


def _label(panels) -> None:
    losses, accuracies, learning_rates = panels
    losses.set_title("Cross entropy")
    losses.set_ylabel("nats")
    accuracies.set_title("Top-1 accuracy")
    accuracies.set_ylabel("%")
    learning_rates.set_title("Learning rate")
    learning_rates.set_xlabel("epoch")


def _set_limits(panels, loss_heights: Sequence[float]) -> None:
    losses, accuracies, learning_rates = panels
    if loss_heights:
        low, high = _range_without_spikes(loss_heights)
        margin = 0.06 * (high - low) or 0.5
        losses.set_ylim(low - margin, high + margin)
    accuracies.set_ylim(bottom=0)
    learning_rates.set_ylim(bottom=0)
    learning_rates.margins(x=0.01)
    learning_rates.set_xlim(left=0)


def _range_without_spikes(values: Sequence[float]) -> tuple[float, float]:
    """Returns the lowest and highest value, without outliers that would flatten the others."""
    quartiles = (0, 0, 0)
    if len(values) > 1:
        quartiles = statistics.quantiles(values, n=4)
    reach = 10 * (quartiles[2] - quartiles[0])
    near = [value for value in values if abs(value - quartiles[1]) <= reach] or values
    return min(near), max(near)


def _add_legend_of_runs(figure, names: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=color, lw=2.5, label=name)
        for name, color in zip(names, itertools.cycle(_COLORS), strict=False)
    ]
    handles += [
        Line2D([], [], color="#777777", lw=1.6, label="training"),
        Line2D([], [], color="#777777", ls="--", label="evaluation", **_EVALUATION_STYLE),
    ]
    # As many columns as fit; 8 characters are the width of an entry's line and gaps.
    columns = _LEGEND_WIDTH_CHARACTERS // (max(map(len, [*names, "evaluation"])) + 8)
    figure.legend(handles=handles, loc="outside upper left", ncols=max(1, min(columns, 4)))


def _summary(name: str, rows: Rows) -> str:
    """Returns the title: step, epoch and best accuracy of the run."""
    last = rows[-1]
    parts = [name, f"step {last['global_step']:.0f}", f"epoch {last.get('epoch', math.nan):.2f}"]
    epochs, accuracies = _points(rows, "eval_top_1", scale=100)
    if accuracies:
        best = max(accuracies)
        parts.append(f"best top-1 {best:.2f}% at epoch {epochs[accuracies.index(best)]:.2f}")
    return "  ·  ".join(parts)


def _points(rows: Rows, column: str, scale: float = 1.0) -> Points:
    """Returns epochs and values of the rows in which `column` is finite."""
    pairs = [(row["epoch"], row[column] * scale) for row in rows if _is_finite(row, column)]
    return [epoch for epoch, _ in pairs], [value for _, value in pairs]


def _is_finite(row: Mapping[str, float], column: str) -> bool:
    return all(math.isfinite(row.get(name, math.nan)) for name in ("epoch", column))


def _rows_of(path: Path) -> Rows:
    table = path / "metrics.csv"
    rows = metrics_log.read_rows(table)
    if not rows:
        raise DataError(f"{table} is missing or empty: give the --train_dir of a run")
    return rows


def _name(path: str | os.PathLike[str], others: Sequence[str | os.PathLike[str]]) -> str:
    """Returns the directory's name, or the path as given if two have the same name."""
    name = Path(path).resolve().name
    is_unique = sum(Path(other).resolve().name == name for other in others) == 1
    name = name if is_unique else str(path)
    return os.fsencode(name).decode("utf-8", "replace")


def _save(figure, path: Path) -> None:
    """Replaces the picture atomically: a viewer sees the old one until then."""
    with files.atomic_file(path) as file:
        figure.savefig(file, format="png")


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws the runs that the command line names; returns the exit code."""
    parser = commands.parser("python -m benchmark_cnn.reporting.curves", __doc__)
    add = functools.partial(parser.add_argument, type=paths.argument)
    add("train_dir", nargs="+", help="directory of a run, with its metrics.csv")
    add("--output", help="the picture (default: curves.png in train_dir, or here for several)")
    options = parser.parse_args(arguments)
    directory = Path(options.train_dir[0] if len(options.train_dir) == 1 else ".")
    output = Path(options.output or directory / "curves.png")
    return commands.run(lambda: _compare_and_name(options.train_dir, output))


def _compare_and_name(train_dirs: Sequence[Path], output: Path) -> None:
    with files.write_errors(output, "give another file with --output"):
        compare(train_dirs, output)
    print(output)


if __name__ == "__main__":
    sys.exit(main())
