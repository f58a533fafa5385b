"""The tables of a comparison, in Markdown: every candidate, and ours next to the peers' best."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.peers.candidates import BARE, KERAS, OURS, TIMM, dtype_of
from benchmarks.rounds import ratios, spread, spread_text

# A training step multiplies three times: forward, and for the gradients of inputs and of kernels.
_PASSES = {"train": 3, "infer": 1}

Record = Mapping[str, Any]
"""What `comparison.measure` fills, of one task."""


def lines(results: Mapping[str, Record]) -> Iterator[str]:
    """Yields a table for each task, and one of all tasks."""
    measured = {title: record for title, record in results.items() if record["rounds"]}
    for title, record in measured.items():
        yield from ("", _heading(title, record), "")
        yield "| | images/s | of peak | ours / this |"
        yield "|---|---|---|---|"
        best = _best(record, OURS)
        for name in _names(record):
            cells = (spread_text(_speeds(record, name), 1), _share(title, record, name))
            ratio = _ratio(record, best, name) if best and not name.startswith(OURS) else ""
            yield f"| {name} | {' | '.join(cells)} | {ratio} |"
        for name, reason in record["failed"].items():
            yield f"| {name} | {reason} | | |"
    yield from (
        "",
        "| | ours | of peak | / timm's best | its mode, of peak | float32: / Keras | / bare loop |",
    )
    yield "|---|---|---|---|---|---|---|"
    for title, record in measured.items():
        yield _summary(title, record)


def _heading(title: str, record: Record) -> str:
    about = record["about"]
    versions = ", ".join(
        f"{name} {about['versions'][name]}"
        for name in ("tensorflow", "keras", "torch", "timm")
        if name in about["versions"]
    )
    peaks = ", ".join(
        f"{spread_text([1000 * peak[dtype] for peak in record['peaks']], 0)} GFLOP/s in {dtype}"
        for dtype in record["peaks"][0]
    )
    return (
        f"**{title}**: {len(record['rounds'])} rounds, {about['date']}, {about['processor']}, "
        f"{versions}; peak {peaks}"
    )


def _summary(title: str, record: Record) -> str:
    best, timm = _best(record, OURS), _best(record, TIMM)
    cells = [", ".join(title.split(", ")[:2])]
    if best is None:
        return f"| {cells[0]} | not measured | | | | | |"
    cells += [f"{spread_text(_speeds(record, best), 1)} {dtype_of(best)}"]
    cells += [_share(title, record, best)]
    cells += [_ratio(record, best, timm) if timm else ""]
    cells += [f"{timm.removeprefix(TIMM + ', ')}, {_share(title, record, timm)}" if timm else ""]
    for kind in (KERAS, BARE):
        peer = _best(record, kind)
        cells.append(_ratio(record, f"{OURS}, {dtype_of(peer)}", peer) if peer else "")
    return f"| {' | '.join(cells)} |"


def _names(record: Record) -> list[str]:
    return list(dict.fromkeys(name for speeds in record["rounds"] for name in speeds))


def _best(record: Record, kind: str) -> str | None:
    """Returns the candidate of the highest median among those of ours or of one peer."""
    of_kind = [name for name in _names(record) if name.startswith(kind)]
    return max(of_kind, key=lambda name: spread(_speeds(record, name))[0], default=None)


def _speeds(record: Record, name: str) -> list[float]:
    return [speeds[name] for speeds in record["rounds"] if name in speeds]


def _ratio(record: Record, ours: str, peer: str) -> str:
    """Returns the quotient of the rounds that have both."""
    both = [(s[ours], s[peer]) for s in record["rounds"] if ours in s and peer in s]
    return spread_text(ratios(*zip(*both, strict=True)), 2) if both else ""


def share_of_peak(title: str, record: Record, name: str) -> list[float]:
    """Returns the multiply-adds a second of a candidate, of its precision's peak, by round."""
    flops = 2 * _PASSES[title.split(", ")[1]] * record["macs"]
    dtype = dtype_of(name)
    return [
        flops * speeds[name] / (peak[dtype] * 1e12)
        for speeds, peak in zip(record["rounds"], record["peaks"], strict=True)
        if name in speeds
    ]


def _share(title: str, record: Record, name: str) -> str:
    return f"{spread(share_of_peak(title, record, name))[0]:.0%}"
