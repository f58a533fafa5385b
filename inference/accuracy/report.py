"""Writes accuracies: tables for the console, JSON, and the lines of the ailia tool."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark_cnn import class_report
from common import files

RESULT_FILE, LINES_FILE = "accuracy.json", "results.txt"
COMPARISON_FILE, PICTURE_FILE = "comparison.json", "comparison.png"
_UNKNOWN = "-"


def lines_of_one(result: Mapping[str, Any]) -> list[str]:
    """Returns what the console says about one artifact; the lines of the ailia tool are last."""
    if result["top_5"] is None:
        top_5 = ["Top-5: the predictions hold too few classes of an image (prediction.py --top=5)"]
    else:
        top_5 = [_with_interval("Top-5", result["top_5"], result["top_5_interval"])]
    lines = [
        *_about_images(result),
        *class_report.lines(dict(result), RESULT_FILE),
        _with_interval("Top-1", result["top_1"], result["top_1_interval"]),
        *top_5,
        f"Macro-F1: {result['macro_f1']:.4f}",
    ]
    if "real" in result:
        lines += _about_real_labels(result["real"])
    return [*lines, *ailia_lines(result)]


def ailia_lines(result: Mapping[str, Any]) -> list[str]:
    """Returns the four lines that accuracy.py of the ailia tool prints; other programs read them.

    Its DATA CNT leaves out missing predictions; this one counts them, as wrong.
    """
    top_5 = float("nan") if result["top_5"] is None else result["top_5"]
    return [
        "Accuracy",
        f"DATA CNT : {result['images']}",
        f"TOP1 : {result['top_1']:f}",
        f"TOP5 : {top_5:f}",
    ]


def table(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns a line for each artifact, under a line with the names of the columns."""
    rows = [["artifact", "images", "missing", "top-1", "95%", "top-5", "95%", "macro-F1"]]
    has_real = any("real" in result for result in results.values())
    if has_real:
        rows[0] += ["ReaL top-1", "ReaL top-5"]
    for name, result in results.items():
        row = [name, f"{result['images']:,}", f"{result['missing']:,}"]
        for top in ("top_1", "top_5"):
            row += [_percent(result[top]), _interval(result[f"{top}_interval"])]
        row.append(f"{result['macro_f1']:.4f}")
        if has_real:
            row += [_percent(result["real"]["top_1"]), _percent(result["real"]["top_5"])]
        rows.append(row)
    return _aligned(rows)


def comparison_table(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns a line for each two artifacts, see `comparison.compare`."""
    rows = [["first", "second", "same class", "only first", "only second", "McNemar's p"]]
    for entry in entries:
        rows.append(
            [
                entry["first"],
                entry["second"],
                _percent(entry["agreement"]),
                f"{entry['only_first_correct']:,}",
                f"{entry['only_second_correct']:,}",
                f"{entry['mcnemar']['p_value']:.3g}",
            ]
        )
    return _aligned(rows, num_names=2)


def write(directory: Path, contents: Mapping[str, str]) -> None:
    """Writes text files into the directory, each whole or not at all.

    Raises:
        DataError: One cannot be written.
    """
    for name, text in contents.items():
        with files.write_errors(directory / name, "make room, or give another --output_dir=DIR"):
            directory.mkdir(parents=True, exist_ok=True)
            files.write_text(directory / name, text)


def as_json(result: Mapping[str, Any]) -> str:
    """Returns the content of a JSON file."""
    return json.dumps(result, indent=2, ensure_ascii=False) + "\n"


def provenance(directory: Path, manifest: Mapping[str, Any], num_competing: int) -> dict[str, Any]:
    """Returns the entries that say of what an accuracy is: all of the manifest but the names."""
    about = {key: manifest[key] for key in manifest if key not in ("class_names", "wordnet_ids")}
    return {"artifact": str(directory), "competing_classes": num_competing, "predictions": about}


def _about_images(result: Mapping[str, Any]) -> list[str]:
    classes = f"{result['competing_classes']:,} classes compete"
    lines = [f"Images: {result['images']:,}; {classes}"]
    if result["unlabeled"]:
        lines.append(f"Images without a known class: {result['unlabeled']:,}, not counted")
    if result["missing"]:
        first = result["missing_images"][0]
        lines.append(f"Missing predictions: {result['missing']:,}, counted as wrong; first {first}")
    return lines


def _about_real_labels(real: Mapping[str, Any]) -> list[str]:
    missing = f", {real['missing']:,} of them missing" if real["missing"] else ""
    lines = [
        f"ReaL: {real['images']:,} images{missing}; {real['unlabeled']:,} without a label left out",
        _with_interval("ReaL top-1", real["top_1"], real["top_1_interval"]),
    ]
    if real["top_5"] is not None:
        lines.append(_with_interval("ReaL top-5", real["top_5"], real["top_5_interval"]))
    return lines


def _with_interval(name: str, share: float, interval: Sequence[float]) -> str:
    return f"{name}: {_percent(share)} (95% interval {_interval(interval)})"


def _percent(share: float | None) -> str:
    return _UNKNOWN if share is None else f"{100 * share:.2f}%"


def _interval(bounds: Sequence[float] | None) -> str:
    return _UNKNOWN if bounds is None else f"{100 * bounds[0]:.2f}-{100 * bounds[1]:.2f}"


def _aligned(rows: Sequence[Sequence[str]], num_names: int = 1) -> list[str]:
    """Pads the cells of each column: names on the right, numbers on the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < num_names else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
