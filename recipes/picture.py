"""Draws learning rates over the epochs: the program's, on top of the published ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import files
from recipes.published import PUBLISHED
from recipes.schedules import Rate

_MOST_COLUMNS = 4
_PANEL_INCHES = (3.1, 2.1)
_OURS, _THEIRS = "#0072B2", "#E69F00"  # Okabe and Ito's palette for color-blind readers
_STYLE: Any = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e5e5",
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "legend.frameon": False,
}
# Published formulas are drawn at so many points an epoch, to show where in it they change.
_POINTS_PER_EPOCH = 10


def draw(rates: Mapping[str, Sequence[Rate]], path: Path) -> None:
    """Draws a panel for each recipe into the picture `path`.

    Args:
        rates: name of a recipe -> its rates.
    """
    import matplotlib
    from matplotlib.figure import Figure

    columns = min(_MOST_COLUMNS, len(rates))
    rows = math.ceil(len(rates) / columns)
    width, height = _PANEL_INCHES if len(rates) > 1 else (7, 4)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(columns * width, rows * height), dpi=110, layout="constrained")
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        for panel, (name, values) in zip(panels, rates.items(), strict=False):
            _draw_one(panel, name, values)
        for panel in panels[len(rates) :]:
            panel.set_visible(False)
        fullest = max(panels, key=lambda panel: len(panel.lines))
        handles, labels = fullest.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
        with files.atomic_file(path) as file:
            figure.savefig(file, format="png")


def _draw_one(panel: Any, name: str, rates: Sequence[Rate]) -> None:
    published = PUBLISHED.get(name)
    if published is not None:
        last = rates[-1].epoch
        points = round(last * _POINTS_PER_EPOCH)
        epochs = [last * point / points for point in range(points + 1)]
        values = [published.rate(epoch) for epoch in epochs]
        panel.plot(epochs, values, color=_THEIRS, lw=4, alpha=0.6, label="published")
    panel.plot(
        [rate.epoch for rate in rates],
        [rate.rate for rate in rates],
        color=_OURS,
        lw=1.1,
        label="of the recipe, at the first update of each epoch",
    )
    panel.set_title(name)
    panel.set_xlim(left=0)
    panel.set_ylim(bottom=0)
