"""The networks of a bulk evaluation: what was typed or listed, as command lines of eval.py."""

from __future__ import annotations

import fnmatch
import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import models.registry
import preprocessing.registry
from benchmark_cnn.flags import command_line
from common import paths
from common.commands import did_you_mean
from common.errors import DataError, UsageError
from models.pretrained import ensure, published

_PRETRAINED = "--pretrained"
_WILD = "*?["
# What the program says for each network, or what no row of a table can be.
_OWN_FLAGS = ("train_dir", "batch_size", "saved_model", "all_checkpoints", "eval_interval_secs")


@dataclass(frozen=True)
class Entry:
    """One network: a run, a checkpoint or published weights.

    Attributes:
        source: as the user wrote it, a pattern replaced by the name; with `flags`, it identifies
            a row.
        flags: of eval.py, without the batch size.
    """

    source: str
    flags: tuple[str, ...]

    @property
    def argv(self) -> list[str]:
        """The command line of eval.py."""
        if _PRETRAINED in self.flags:
            return [f"--model={self.source}", *self.flags]
        return [f"--train_dir={self.source}", *self.flags]

    @property
    def words(self) -> str:
        """The flags as one text, for a cell of the table."""
        return shlex.join(self.flags)


def entries(items: Iterable[str], listed: Path | None, flags: Sequence[str]) -> list[Entry]:
    """Returns the networks to evaluate, each once, in order.

    Args:
        items: runs, checkpoints, and names of published networks, which may be patterns.
        listed: a file with an item in each line, and flags of its own after it.
        flags: of eval.py, for all networks; those of a line come after them.

    Raises:
        UsageError: there is none, or flags are wrong.
        DataError: the file cannot be read, or an item is no run, checkpoint or network.
    """
    # Before any path is looked at: a mistake in a flag is not hidden by one in a path.
    _check([f"--train_dir={Path.cwd()}", *(flag for flag in flags if flag != _PRETRAINED)])
    lines = [*([item] for item in items), *(_lines(listed) if listed is not None else [])]
    found = [entry for item, *own in lines for entry in _entries(item, [*flags, *own])]
    if not found:
        raise UsageError("no network to evaluate: give runs, checkpoints, names or --list=FILE")
    found = list(dict.fromkeys(found))
    for entry in found:
        _check(entry.argv)
    return found


def _lines(path: Path) -> list[list[str]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        split = [shlex.split(line, comments=True) for line in lines]
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path} is no list of networks: {error}") from error
    return [words for words in split if words]


def _entries(item: str, flags: list[str]) -> list[Entry]:
    if item.startswith("-"):
        raise UsageError(f"{item} stands where a run, a checkpoint or a network's name is expected")
    if _PRETRAINED in flags:
        if any(letter in item for letter in _WILD):
            names = fnmatch.filter(_available(), item)
            if not names:
                raise UsageError(f"{item} matches none of the networks whose weights are here")
            return [Entry(name, tuple(flags)) for name in names]
        if item in models.registry.names():
            return [Entry(item, tuple(flags))]
    flags = [flag for flag in flags if flag != _PRETRAINED]
    path = paths.local_or_remote(item)
    if "://" not in path and not (os.path.isdir(path) or os.path.exists(f"{path}.index")):
        near = did_you_mean(item, models.registry.names())
        if item in models.registry.names():
            near = f"; the published weights of the network need {_PRETRAINED}"
        raise DataError(f"{item} is no run and no checkpoint{near}")
    return [Entry(path, tuple(flags))]


def _available() -> list[str]:
    """Returns the networks whose published weights are here, or in a package to install."""
    return [
        name
        for name, entry in published.entries().items()
        if entry.package is not None or ensure.prefix(name).with_suffix(".ckpt.index").exists()
    ]


def _check(argv: Sequence[str]) -> None:
    """Checks the flags as eval.py will do it, before the first of many evaluations begins."""
    for word in argv[1:]:
        name = word.lstrip("-").partition("=")[0]
        if not word.startswith("--"):
            raise UsageError(f"{word} is no flag; write --NAME=VALUE")
        if name in _OWN_FLAGS:
            raise UsageError(f"--{name} has no effect here: it is said for each network")
    command_line.parse(
        "eval.py",
        argv,
        choices={"model": models.registry.names(), "data_name": preprocessing.registry.names()},
        answers={"model": models.registry.answers()},
    )
