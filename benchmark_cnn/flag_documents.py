"""Writes docs/flags.md, and the table of docs/migrating.md, from the declarations.

python -m benchmark_cnn.flag_documents
"""

from __future__ import annotations

import pathlib

from benchmark_cnn.flag_field import Flag
from benchmark_cnn.flag_help import default_in_words, first_line, syntax
from benchmark_cnn.flags import EVAL_CONCERNS, TRAIN_CONCERNS, select
from benchmark_cnn.params import CONCERNS, FLAGS
from benchmark_cnn.removed_flags import (
    GONE,
    KEPT,
    RENAMED,
    TF_CNN_BENCHMARKS,
    TF_CNN_BENCHMARKS_ELSEWHERE,
    TF_IMAGENET,
    Renamed,
)

DOCS = pathlib.Path(__file__).resolve().parent.parent / "docs"
TABLE_BEGINS = "<!-- table: python -m benchmark_cnn.flag_documents -->\n"
TABLE_ENDS = "<!-- end of table -->\n"

_HEAD = """\
# Flags

Every flag of `train.py` (T) and `eval.py` (E), with its default. This page is written by
`python -m benchmark_cnn.flag_documents` from the declarations in `benchmark_cnn/*_params.py`.

Flags are written `--name=value` or `--name value`, switches `--name` or `--noname`. `--name=None`
takes a value back. `--flagfile=FILE` reads flags from a file, one a line. The last one given wins,
so what is typed behind a flag file overrides it.

A flag without effect beside the others is an error, unless it asks for nothing (0, false, none), or
comes from a flag file of which the command line has taken a part back, or that lacks only data, a
run directory or a GPU.
"""


def flags_page() -> str:
    """The text of docs/flags.md."""
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
    """Every flag of the ancestors: who had it, and what became of it."""
    head = "| flag | had by | now | note |\n|---|---|---|---|\n"
    names = sorted(TF_IMAGENET | TF_CNN_BENCHMARKS | TF_CNN_BENCHMARKS_ELSEWHERE)
    return head + "".join(_migration_row(name) for name in names)


def with_table(page: str) -> str:
    """`page`, the text of docs/migrating.md, with its table renewed."""
    before, begins, rest = page.partition(TABLE_BEGINS)
    _, ends, after = rest.partition(TABLE_ENDS)
    if not begins or not ends:
        raise ValueError("docs/migrating.md has lost the comments around its table")
    return f"{before}{begins}\n{migration_table()}\n{ends}{after}"


def main() -> None:
    """Write both pages."""
    (DOCS / "flags.md").write_text(flags_page())
    migrating = DOCS / "migrating.md"
    migrating.write_text(with_table(migrating.read_text()))


def _flag_row(flag: Flag) -> str:
    programs = [("T", TRAIN_CONCERNS), ("E", EVAL_CONCERNS)]
    owners = " ".join(letter for letter, concerns in programs if flag in select(concerns, {}))
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
