"""The text of `--help`, and the description of a flag that it shares with docs/flags.md."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable

from benchmark_cnn.flag_field import Flag
from benchmark_cnn.params import CONCERNS

_MOST_COLUMNS = 100
_PLACEHOLDERS = {int: "INT", float: "NUMBER", str: "TEXT"}
_USAGE = """\
usage: {program} [--flag=value ...]

A switch is written --name or --noname. --name=None takes a value back. The last one given wins.
"""
_GENERAL = """\
general
  --flagfile=FILE
      Read flags from FILE, one a line; # begins a comment.
  --help
      Print this text.
  --version
      Print the versions of this program, TensorFlow, Keras and Python.
"""


def help_text(program: str, flags: Iterable[Flag]) -> str:
    """All `flags` of `program`, grouped by concern."""
    columns = min(_MOST_COLUMNS, shutil.get_terminal_size().columns)
    groups: dict[str, list[str]] = {}
    for flag in flags:
        groups.setdefault(flag.concern, []).append(_entry(flag, columns))
    sections = [
        f"{concern.replace('_', ' ')}: {first_line(CONCERNS[concern])}\n" + "".join(entries)
        for concern, entries in groups.items()
    ]
    return "\n".join([_USAGE.format(program=program), *sections, _GENERAL])


def syntax(flag: Flag) -> str:
    """How the flag is written, for example `--optimizer={sgd,momentum}`."""
    if flag.kind is bool:
        return f"--[no]{flag.name}"
    if flag.choices:
        return f"--{flag.name}={{{','.join(flag.choices)}}}"
    return f"--{flag.name}={_PLACEHOLDERS[flag.kind]}"


def default_in_words(flag: Flag) -> str:
    """The default as it would be typed, or what leaving the flag out stands for."""
    if flag.default is None:
        return flag.when_none
    if flag.kind is bool:
        return "on" if flag.default else "off"
    return f"{flag.default:g}" if flag.kind is float else str(flag.default) or "none"


def first_line(described: type) -> str:
    """The first line of a docstring, which python -OO leaves out."""
    return (described.__doc__ or "").partition("\n")[0]


def _entry(flag: Flag, columns: int) -> str:
    about = f"{flag.help} (default: {default_in_words(flag)})"
    indent = " " * 6
    body = textwrap.fill(about, columns, initial_indent=indent, subsequent_indent=indent)
    return f"  {syntax(flag)}\n{body}\n"
