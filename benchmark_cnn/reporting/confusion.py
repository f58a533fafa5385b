"""What an evaluation mistakes for what: confusion.png, and classes.json of a training run.

The picture has a matrix of the true against the predicted classes, the classes with the lowest
top-1, and the most confused pairs. It stays readable with a thousand classes, whose matrix shows
its errors as dots.
"""

from __future__ import annotations

import gc
import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from benchmark_cnn import class_report
from benchmark_cnn.class_report import NO_CLASS, Confusion
from common import files

CLASSES_FILE, PICTURE = "classes.json", "confusion.png"
_CLASSES_AT_END = 5
_MOST_WITH_COUNTS, _MOST_WITH_NAMES = 30, 100
_MOST_BARS = 15
_MOST_LETTERS = 24
_RIGHT, _WRONG = "#0072B2", "#D55E00"


class ClassLog:
    """Keeps the classes of a run's last evaluation, in its directory if it has one."""

    def __init__(self, directory: Path | None, names: Sequence[str]):
        self._directory, self._names = directory, names
        self._last: Confusion | None = None

    def write(self, step: int, confusion: Confusion) -> None:
        """Writes classes.json; a file that cannot be written is logged."""
        if self._directory is None:
            return
        self._last = confusion
        path = self._directory / CLASSES_FILE
        content = {"global_step": step, **class_report.entries(confusion, self._names)}
        try:
            files.write_text(path, json.dumps(content, indent=2) + "\n")
        except OSError as error:
            logging.warning("%s was not written: %s", path, error)

    def draw(self, about: str) -> None:
        """Draws the picture of the last evaluation, if this start has made one; see `draw`."""
        if self._directory is not None and self._last is not None:
            draw(self._last, self._names, self._directory / PICTURE, about)

    def lines(self, step: int) -> list[str]:
        """Returns the worst classes and the most confused pairs of the evaluation at `step`.

        There are none if that evaluation counted no classes, or its file cannot be read.
        """
        if self._directory is None:
            return []
        try:
            content = json.loads((self._directory / CLASSES_FILE).read_text(encoding="utf-8"))
            if content["global_step"] != step:
                return []
            return class_report.lines(content, CLASSES_FILE, most=_CLASSES_AT_END)
        except (OSError, ValueError, KeyError, TypeError):
            return []


def draw(confusion: Confusion, names: Sequence[str], path: Path, about: str) -> bool:
    """Draws the picture and returns whether it succeeded; failures are logged.

    Args:
        names: of the classes, in the order of their numbers.
        about: what was evaluated, for the title.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of letters that the font lacks
            _draw(confusion, [_short(name) for name in names], path, about)
    except Exception as error:
        logging.warning("%s was not drawn: %s", path, error)
        return False
    finally:
        gc.collect()  # see curves.draw
    return True


def _draw(confusion: Confusion, names: list[str], path: Path, about: str) -> None:
    from matplotlib.figure import Figure

    number = confusion.num_classes
    side = min(max(4.5, (0.32 if number <= _MOST_WITH_COUNTS else 0.14) * number), 14)
    side = side if number <= _MOST_WITH_NAMES else 9
    figure = Figure(figsize=(side + 6, side + 0.8), dpi=120, layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(side, 4.2), height_ratios=(2, 3))
    matrix = figure.add_subplot(grid[:, 0])
    if number <= _MOST_WITH_NAMES:
        _draw_cells(matrix, confusion, names)
    else:
        _draw_dots(matrix, confusion)
    matrix.set_xlabel("predicted class")
    matrix.set_ylabel("true class")
    entries = class_report.entries(confusion, names)
    worst = [
        (entry["name"], entry["top_1"], f"{entry['correct']} of {entry['examples']}")
        for entry in entries["classes"][:_MOST_BARS]
    ]
    pairs = [
        (
            f"{pair['true_name']} → {pair['predicted_name']}",
            pair["count"] / pair["examples"],
            f"{pair['count']} of {pair['examples']}",
        )
        for pair in entries["confused_pairs"][:_MOST_BARS]
    ]
    _draw_bars(figure.add_subplot(grid[0, 1]), "Top-1, worst first", worst, _RIGHT)
    _draw_bars(figure.add_subplot(grid[1, 1]), "Most confused: true → predicted", pairs, _WRONG)
    top_1 = confusion.correct.sum() / max(1, confusion.examples.sum())
    title = f"{about}  ·  top-1 {top_1:.2%} of {confusion.examples.sum():,} images"
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, parse_math=False)
    with files.atomic_file(path) as file:
        figure.savefig(file, format="png")


def _draw_cells(panel: Any, confusion: Confusion, names: list[str]) -> None:
    """Draws every cell in the color of its share of the true class, and the name of each class."""
    from matplotlib.colors import PowerNorm

    number = confusion.num_classes
    counts = np.zeros((number, number), np.int64)
    known = confusion.predicted != NO_CLASS
    counts[confusion.true[known], confusion.predicted[known]] = confusion.counts[known]
    shares = counts / np.maximum(confusion.examples, 1)[:, np.newaxis]
    is_right = np.eye(number, dtype=bool)
    scale = PowerNorm(0.6, 0, 1)  # a few errors are seen as well
    for is_shown, colors in ((is_right, "Blues"), (~is_right, "Oranges")):
        cells = np.ma.masked_where(~is_shown | (counts == 0), shares)
        panel.imshow(cells, cmap=colors, norm=scale, interpolation="nearest")
    panel.set_xlim(-0.5, number - 0.5)
    panel.set_ylim(number - 0.5, -0.5)
    size = 8 if number <= _MOST_WITH_COUNTS else 6
    ticks = {"fontsize": size, "parse_math": False}
    panel.set_xticks(range(number), names, rotation=90, **ticks)
    panel.set_yticks(range(number), names, **ticks)
    edges = np.arange(number + 1) - 0.5
    for lines in (panel.hlines, panel.vlines):
        lines(edges, -0.5, number - 0.5, color="#eeeeee", lw=0.5)
    if number > _MOST_WITH_COUNTS:
        return
    for row, column in np.argwhere(counts):
        color = "white" if shares[row, column] > 0.5 else "black"
        text = f"{counts[row, column]}"
        panel.text(column, row, text, color=color, ha="center", va="center", fontsize=7)


def _draw_dots(panel: Any, confusion: Confusion) -> None:
    """Draws each error as a dot, large if it is a large share of its class."""
    wrong = (confusion.true != confusion.predicted) & (confusion.predicted != NO_CLASS)
    true, predicted = confusion.true[wrong], confusion.predicted[wrong]
    shares = confusion.counts[wrong] / confusion.examples[true]
    panel.plot([0, confusion.num_classes], [0, confusion.num_classes], color="#cccccc", lw=0.8)
    panel.scatter(predicted, true, s=3 + 120 * shares, color=_WRONG, alpha=0.5, lw=0)
    panel.set_xlim(-1, confusion.num_classes)
    panel.set_ylim(confusion.num_classes, -1)
    panel.set_aspect("equal")
    panel.grid(color="#eeeeee")
    panel.set_axisbelow(True)
    panel.set_title("errors; the size is the share of the true class", loc="left", fontsize=9)


def _draw_bars(panel: Any, title: str, bars: list[tuple[str, float, str]], color: str) -> None:
    """Draws a bar for each (name, share, label), the first on top."""
    panel.set_title(title, loc="left", fontsize=10)
    panel.spines[["top", "right", "bottom"]].set_visible(False)
    panel.set_xticks([])
    panel.set_xlim(0, 1.3)
    panel.set_ylim(max(len(bars), 6) - 0.4, -0.6)
    panel.set_yticks(range(len(bars)), [bar[0] for bar in bars], fontsize=8, parse_math=False)
    panel.barh(range(len(bars)), [bar[1] for bar in bars], color=color, height=0.7)
    for place, (_, share, label) in enumerate(bars):
        panel.text(share + 0.02, place, label, va="center", fontsize=8)
    if not bars:
        panel.text(0.02, 0, "none", va="center", fontsize=8)


def _short(name: str) -> str:
    text = os.fsencode(name).decode("utf-8", "replace")
    return text if len(text) <= _MOST_LETTERS else f"{text[: _MOST_LETTERS - 1]}…"
