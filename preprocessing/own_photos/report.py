"""The lines about a folder of photos, before anything is trained: counts, and what may be wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from common.paths import one_line
from preprocessing.own_photos.division import (
    FEWEST_TO_DIVIDE,
    NOT_DECODED,
    NOT_USED,
    Photo,
    in_several_classes,
    numbers_of_contents,
    ordered,
)

_FEW = 10  # different photos of a class
_MOST_CLASSES = 30
_SHOWN = 3


def table(photos: Sequence[Photo], parts: Mapping[str, str], split_file: str) -> list[str]:
    """Returns the number of photos of each class in each part.

    Args:
        split_file: where a reader finds what is left out.
    """
    # With folds, a part and its share for validation.
    parts = {file: part.removesuffix("_validation") for file, part in parts.items()}
    columns = ordered(parts.values())
    counts = Counter((photo.class_name, parts[photo.file]) for photo in photos)
    classes = list(dict.fromkeys(p.class_name for p in sorted(photos, key=lambda p: p.label)))
    names = [one_line(name) for name in classes]
    width = max(len(name) for name in (*names[:_MOST_CLASSES], "all classes"))
    lines = [_row("class", columns, width)]
    for name, shown in list(zip(classes, names, strict=True))[:_MOST_CLASSES]:
        lines.append(_row(shown, [f"{counts[name, part]:,}" for part in columns], width))
    if len(classes) > _MOST_CLASSES:
        lines.append(f"{len(classes) - _MOST_CLASSES:,} more classes are in {split_file}")
    totals = Counter(parts.values())
    return [*lines, _row("all classes", [f"{totals[part]:,}" for part in columns], width)]


def warnings(photos: Sequence[Photo], parts: Mapping[str, str]) -> list[str]:
    """Returns a line for each thing that makes the results doubtful."""
    lines = []
    for copies in in_several_classes(photos)[:_SHOWN]:
        names = " and ".join(one_line(copy.file) for copy in copies[:_SHOWN])
        lines.append(f"warning: one photo is in several classes: {names}: remove it from the wrong")
    more = len(in_several_classes(photos)) - _SHOWN
    if more > 0:
        lines.append(f"warning: {more:,} more photos are in several classes")
    unused = [photo for photo in photos if parts[photo.file] == NOT_USED]
    if unused:
        lines.append(
            f"warning: not used, since a part that evaluates holds a copy: {listed(unused)}"
        )
    undecoded = [photo for photo in photos if parts[photo.file] == NOT_DECODED]
    if undecoded:
        lines.append(f"warning: left out, since they cannot be decoded: {listed(undecoded)}")
    left_out = (NOT_USED, NOT_DECODED)
    numbers = numbers_of_contents(p for p in photos if parts[p.file] not in left_out)
    alone = [name for name, number in numbers.items() if number < FEWEST_TO_DIVIDE]
    few = [name for name, number in numbers.items() if FEWEST_TO_DIVIDE <= number < _FEW]
    if alone:
        lines.append(
            f"warning: classes of fewer than {FEWEST_TO_DIVIDE} different photos are not divided: "
            f"{_with_numbers(alone, numbers)}"
        )
    if few:
        lines.append(f"warning: classes of very few photos: {_with_numbers(few, numbers)}")
    return lines


def listed(photos: Iterable[Photo]) -> str:
    """Returns "3 photos (a.jpg, b.jpg, c.jpg)"."""
    names = [one_line(photo.file) for photo in photos]
    more = ", ..." if len(names) > _SHOWN else ""
    plural = "" if len(names) == 1 else "s"
    return f"{len(names):,} photo{plural} ({', '.join(names[:_SHOWN])}{more})"


def changes(found: Mapping[str, Sequence[str]]) -> str:
    """Returns "2 added (a.jpg, b.jpg), 1 removed (c.jpg)"."""
    parts = []
    for what, names in found.items():
        shown = ", ".join(map(one_line, names[:_SHOWN]))
        more = ", ..." if len(names) > _SHOWN else ""
        parts.append(f"{len(names):,} {what} ({shown}{more})")
    return ", ".join(parts)


def _row(first: str, cells: Sequence[str], width: int) -> str:
    return f"{first:<{width}}" + "".join(f"  {cell:>10}" for cell in cells)


def _with_numbers(names: Sequence[str], numbers: Mapping[str, int]) -> str:
    shown = ", ".join(f"{one_line(name)} ({numbers[name]:,})" for name in names[:_SHOWN])
    return f"{shown}{', ...' if len(names) > _SHOWN else ''}"
