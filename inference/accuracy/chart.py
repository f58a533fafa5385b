"""Draws top-1 and top-5 of several artifacts with their 95% intervals."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import files

_COLOR = "#0072B2"
_ROW_INCHES = 0.4


def draw(results: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Draws a row for each artifact into a PNG.

    Args:
        results: Name -> `scores.scores`.

    Raises:
        DataError: The file cannot be written.
    """
    from matplotlib.figure import Figure

    names = list(results)
    figure = Figure(figsize=(9, 1.4 + _ROW_INCHES * len(names)), dpi=120, layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for panel, top, title in zip(panels, ("top_1", "top_5"), ("top-1", "top-5"), strict=True):
        for place, name in enumerate(names):
            _draw_row(panel, place, results[name][top], results[name][f"{top}_interval"])
        panel.set_title(f"{title}, with its 95% interval", loc="left", fontsize=10)
        panel.set_xlabel("% of the images")
        panel.grid(axis="x", color="#e5e5e5")
        panel.margins(x=0.15)
        panel.spines[["top", "right"]].set_visible(False)
    # A dollar sign in a name would begin a formula.
    panels[0].set_yticks(range(len(names)), names, parse_math=False)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    encoded = io.BytesIO()
    figure.savefig(encoded, format="png")
    with files.write_errors(path, "make room, or give another --output_dir=DIR"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.atomic_file(path) as file:
            file.write(encoded.getbuffer())


def _draw_row(panel, place: int, share: float | None, interval) -> None:
    if share is None:
        return
    percent = 100 * share
    below, above = percent - 100 * interval[0], 100 * interval[1] - percent
    panel.errorbar(
        percent, place, xerr=[[max(below, 0)], [max(above, 0)]], fmt="o", color=_COLOR, capsize=3
    )
    panel.annotate(
        f"{percent:.2f}", (percent, place), (0, 6), textcoords="offset points", ha="center",
        fontsize=8,
    )  # fmt: skip
