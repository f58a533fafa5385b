"""The text of `--help`, and the pages about flags.

`python -m benchmark_cnn.flags.help` writes docs/flags.md and the table of docs/migrating.md.
"""

from __future__ import annotations

import pathlib
import shutil
import textwrap
from collections.abc import Iterable

from benchmark_cnn.flags.migration import (
    GONE,
    KEPT,
    RENAMED,
    TF_CNN_BENCHMARKS,
    TF_CNN_BENCHMARKS_ELSEWHERE,
    TF_IMAGENET,
    Renamed,
)
from benchmark_cnn.params.flag import Flag
from benchmark_cnn.params.params import CONCERNS, FLAGS
from common import commands
from common.errors import UsageError

_MOST_COLUMNS = 100
_PLACEHOLDERS = {int: "INT", float: "NUMBER", str: "TEXT"}
_USAGE = """\
usage: {program} [--flag=value ...]

A switch is written --name or --noname, or --name=on, --name=off. --name=None resets a flag that has
no default value. If a flag is given twice, the last value counts.
"""
_GENERAL = """\
general
  --flagfile=FILE
      Read flags from FILE, one per line; # begins a comment.
  --help
      Print this text; with --help=NAME, that of one flag or one group.
  --version
      Print the versions of this program, TensorFlow, Keras and Python.
"""


def help_text(program: str, flags: Iterable[Flag]) -> str:
    """Returns the description of all `flags` of `program`, grouped by concern."""
    columns = min(_MOST_COLUMNS, shutil.get_terminal_size().columns)
    groups: dict[str, list[str]] = {}
    for flag in flags:
        groups.setdefault(flag.concern, []).append(_entry(flag, columns))
    sections = [
        f"{concern.replace('_', ' ')}: {first_line(CONCERNS[concern])}\n" + "".join(entries)
        for concern, entries in groups.items()
    ]
    return "\n".join([_USAGE.format(program=program), *sections, _GENERAL])


def topic_text(program: str, flags: Iterable[Flag], topic: str) -> str:
    """Returns the description of one flag of `program`, or of all flags of one concern.

    Raises:
        UsageError: there is no such concern or flag.
    """
    name = topic.strip().lstrip("-").replace("-", "_").replace(" ", "_")
    own = list(flags)
    found = [flag for flag in own if name in (flag.name, flag.concern)]
    if not found:
        concerns = dict.fromkeys(flag.concern for flag in own)
        hint = commands.did_you_mean(name, [*concerns, *(flag.name for flag in own)])
        raise UsageError(
            f"--help={topic} is no flag of {program} and none of {', '.join(concerns)}{hint}"
        )
    columns = min(_MOST_COLUMNS, shutil.get_terminal_size().columns)
    return "".join(_entry(flag, columns) for flag in found).rstrip()


def syntax(flag: Flag) -> str:
    """Returns how the flag is written, for example `--optimizer={sgd,momentum}`."""
    if flag.kind is bool:
        return f"--[no]{flag.name}"
    if flag.choices:
        return f"--{flag.name}={{{','.join(flag.choices)}}}"
    return f"--{flag.name}={_PLACEHOLDERS[flag.kind]}"


def default_in_words(flag: Flag) -> str:
    """Returns the default as it would be typed, or the description of None."""
    if flag.default is None:
        return flag.when_none
    if flag.kind is bool:
        return "on" if flag.default else "off"
    return f"{flag.default:g}" if flag.kind is float else str(flag.default) or "none"


def first_line(described: type) -> str:
    """Returns the first line of a docstring; "" under python -OO."""
    return (described.__doc__ or "").partition("\n")[0]


def _entry(flag: Flag, columns: int) -> str:
    about = f"{flag.help} (default: {default_in_words(flag)})"
    indent = " " * 6
    written = textwrap.fill(
        syntax(flag).replace(",", ", "),
        columns,
        initial_indent="  ",
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    if "\n" not in written:  # short enough to be shown as it is typed
        written = f"  {syntax(flag)}"
    body = textwrap.fill(about, columns, initial_indent=indent, subsequent_indent=indent)
    return f"{written}\n{body}\n"


DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"
TABLE_BEGINS = "<!-- table: python -m benchmark_cnn.flags.help -->\n"
TABLE_ENDS = "<!-- end of table -->\n"

_HEAD = """\
# Flags

Every flag of `train.py` (T) and `eval.py` (E), with its default. This page is written by
`python -m benchmark_cnn.flags.help` from the declarations in `benchmark_cnn/params/*_params.py`.

Flags are written `--name=value` or `--name value`, switches `--name` or `--noname`, or with
`=on` and `=off`. `--name=None` resets a flag that has no default value. If a flag is given twice,
the last value counts.

`--flagfile=FILE` reads flags from a file, one per line; `#` at the start of a line or after a blank
begins a comment. A recipe of this project, `recipes/NAME`, is found from any directory. A flag
after a flag file overrides the file. `--help=NAME` describes one flag, or the flags of one of the
groups below.

A flag that has no effect is an error, with three exceptions. Its value is "off" (0, false, none).
Or a flag file sets it, and the command line switched off what it belongs to: `momentum` of a file
after `--optimizer=sgd`. Or a flag file sets it, and what it needs is missing here:
`augment` of a file in a try without `--data_dir`, on synthetic images.
"""


def flags_page() -> str:
    """Returns the text of docs/flags.md."""
    sections = [_HEAD]
    for concern, group in CONCERNS.items():
        rows = [_flag_row(flag) for flag in FLAGS.values() if flag.concern == concern]
        title = concern.replace("_", " ").capitalize()
        sections.append(
            f"## {title}\n\n{first_line(group)}\n\n"
            "| flag | default | of | meaning |\n|---|---|---|---|\n" + "".join(rows)
        )
    return "\n".join(sections)


def migration_table() -> str:
    """Returns the table of the flags of the original programs, with their fate."""
    head = "| flag | had by | now | note |\n|---|---|---|---|\n"
    names = sorted(TF_IMAGENET | TF_CNN_BENCHMARKS | TF_CNN_BENCHMARKS_ELSEWHERE)
    return head + "".join(_migration_row(name) for name in names)


def with_table(page: str) -> str:
    """Returns `page`, the text of docs/migrating.md, with a new table."""
    before, begins, rest = page.partition(TABLE_BEGINS)
    _, ends, after = rest.partition(TABLE_ENDS)
    if not begins or not ends:
        raise ValueError("docs/migrating.md lacks the comments around its table")
    return f"{before}{begins}\n{migration_table()}\n{ends}{after}"


def main() -> None:
    """Writes both pages and prints their names."""
    commands.parser("python -m benchmark_cnn.flags.help", main.__doc__).parse_args()
    flags, migrating = DOCS / "flags.md", DOCS / "migrating.md"
    flags.write_text(flags_page())
    migrating.write_text(with_table(migrating.read_text()))
    print(f"written: {flags} and {migrating}")


def _flag_row(flag: Flag) -> str:
    owners = " ".join(program[0].upper() for program in flag.programs)
    meaning = flag.help
    if flag.choices:
        meaning += f" One of {', '.join(f'`{choice}`' for choice in flag.choices)}."
    if flag.range_in_words():
        meaning += f" {flag.range_in_words().capitalize()}."
    written = syntax(flag).partition("=")[0]
    default = default_in_words(flag)
    shown = default if flag.default in (None, "") else f"`{default}`"
    return f"| `{written}` | {shown} | {owners} | {meaning.replace('|', chr(92) + '|')} |\n"


def _migration_row(name: str) -> str:
    owners = [
        word
        for word, names in (
            ("TI", TF_IMAGENET),
            ("TB", TF_CNN_BENCHMARKS),
            ("TB, elsewhere", TF_CNN_BENCHMARKS_ELSEWHERE),
        )
        if name in names
    ]
    fate, note = _fate(name)
    return f"| `{name}` | {', '.join(owners)} | {fate} | {note} |\n"


def _fate(name: str) -> tuple[str, str]:
    if name in GONE:
        return "gone", GONE[name]
    if name in KEPT:
        return "kept", KEPT[name]
    renamed: Renamed = RENAMED[name]
    accepted = "old name accepted" if renamed.accepted else "old name refused"
    note = "; ".join(part for part in (accepted, renamed.note) if part)
    return f"`{renamed.target}`", note


if __name__ == "__main__":
    main()
