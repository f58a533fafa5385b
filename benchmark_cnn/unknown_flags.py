"""The answer to a flag that the program does not have, whatever it was meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from benchmark_cnn import removed_flags
from benchmark_cnn.params import FLAGS
from benchmark_cnn.peer_vocabulary import OURS_BY_PEERS_WORD

_SIMILARITY = 0.7


def explain(program: str, written: str, known: Iterable[str]) -> str:
    """One line on the unknown flag `written` (as typed, with its dashes, without a value).

    Args:
      known: names of the flags that `program` has.
    """
    name = written.lstrip("-")
    if " " in name:
        flag, _, value = name.partition(" ")
        return f"unknown flag {written}; on a line of a flag file write --{flag}={value.strip()}"
    plain = _without_no(name.replace("-", "_"))
    known = set(known)
    removed = removed_flags.answer(plain)
    if removed:
        return removed
    if plain in FLAGS and plain not in known:
        return f"--{plain} is a flag of {_owner(plain)}; {program} does not have it"
    meant = meaning(name, known)
    if meant is None:
        return f"unknown flag {written}; {program} --help lists all flags"
    target = meant.partition("=")[0]
    elsewhere = "" if target in known else f" (of {_owner(target)})"
    return f"unknown flag {written}; did you mean --{meant}{elsewhere}?"


def meaning(name: str, known: Iterable[str]) -> str | None:
    """The flag, perhaps with a value ("dtype=float16"), that `name` (without dashes) stands for."""
    plain = name.replace("-", "_").lower()
    candidates = {flag: flag for flag in known}
    candidates |= {word: ours for word, ours in OURS_BY_PEERS_WORD.items()}
    candidates |= {old: new.target for old, new in removed_flags.RENAMED.items()}
    for form in (plain, _without_no(plain)):
        if form in candidates:
            return candidates[form]
    # Peers' words are short, and nearly every short word resembles one: only whole flags here.
    near = difflib.get_close_matches(plain, list(known), n=1, cutoff=_SIMILARITY)
    return near[0] if near else None


def _without_no(name: str) -> str:
    """`name` of a switch that was written --noname; others unchanged."""
    positive = name.removeprefix("no").removeprefix("_")
    everything = FLAGS.keys() | removed_flags.GONE.keys() | removed_flags.RENAMED.keys()
    is_negated = name.startswith("no") and positive in everything | OURS_BY_PEERS_WORD.keys()
    return positive if is_negated else name


def _owner(name: str) -> str:
    return "eval.py" if FLAGS[name].concern == "evaluation" else "train.py"
