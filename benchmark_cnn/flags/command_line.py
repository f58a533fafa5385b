"""The command line of a program: argv in, checked parameters out.

    flags = command_line.parse("train.py", sys.argv[1:])

Every mistake of a command line is reported at once, one line each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from benchmark_cnn.flags import help, reader
from benchmark_cnn.flags.reader import CommandLine
from benchmark_cnn.params import validation
from benchmark_cnn.params.params import FLAGS, ExplicitFlags, Params, assemble
from benchmark_cnn.params.rules.training_rules import ALTERNATIVES
from common.errors import UsageError
from common.version import version_line

_HELP = frozenset({"-h", "-help", "--help", "--helpfull", "--helpshort"})


def parse(
    program: str,
    argv: Sequence[str],
    *,
    choices: Mapping[str, Sequence[str]] | None = None,
    answers: Mapping[str, Mapping[str, str]] | None = None,
) -> ExplicitFlags:
    """Reads and checks a command line. `--help` and `--version` print and exit with 0.

    `--help=data` describes the flags of one concern, `--help=batch_size` one flag.

    Args:
        program: "train.py" or "eval.py".
        argv: the words after the program's name.
        choices: flag name -> the values that it takes, where the engine does not know them, for
            example the names of all models.
        answers: flag name -> value -> the sentence that refuses it, for values that users know
            from other programs.

    Raises:
        UsageError: its text has a line for each mistake.
    """
    flags = [
        dataclasses.replace(
            flag,
            choices=tuple((choices or {}).get(flag.name, flag.choices)),
            answers={**flag.answers, **(answers or {}).get(flag.name, {})},
        )
        for flag in FLAGS.values()
        if program in flag.programs
    ]
    if _HELP & set(argv):
        print(help.help_text(program, flags))
        raise SystemExit(0)
    if topic := next((word for word in argv if word.startswith("--help=")), None):
        print(help.topic_text(program, flags, topic.partition("=")[2]))
        raise SystemExit(0)
    if "--version" in argv:
        print(version_line())
        raise SystemExit(0)
    read = reader.read(program, flags, argv)
    _drop_replaced_alternatives(read)
    params = assemble(read.values, Params())
    given = ExplicitFlags(
        params, frozenset(read.values), frozenset(read.from_files), frozenset(read.unsure)
    )
    lines = validation.errors(given, validation.RULES[program])
    certain = [_with_old_name(line, read) for line in lines if not _mentions(line, read.unsure)]
    if read.errors or certain:
        raise UsageError("\n".join(dict.fromkeys(read.errors + certain)))
    return given


def asks_for_debug(argv: Sequence[str]) -> bool:
    """Returns whether `argv`, or a flag file in it, has --debug; other flags may be wrong."""
    return bool(reader.read("", FLAGS.values(), argv).values.get("debug"))


def _drop_replaced_alternatives(read: CommandLine) -> None:
    """Removes a flag file's --num_epochs where --num_batches was typed, and the like."""
    for pair in ALTERNATIVES:
        for typed, other in (pair, pair[::-1]):
            is_typed = read.values.get(typed) is not None and typed not in read.from_files
            if is_typed and other in read.from_files:
                read.from_files.discard(other)
                del read.values[other]


def _with_old_name(line: str, read: CommandLine) -> str:
    """Returns `line`, which begins with a flag, with the old name under which it was given."""
    name = line.split()[0].removeprefix("--").partition("=")[0]
    written = read.written_as.get(name, name)
    return line if written == name else f"{line} (given as --{written})"


def _mentions(line: str, names: Iterable[str]) -> bool:
    """Returns whether `line` is about one of the flags, whose true value is not known."""
    words = {word.strip(",;:.?").partition("=")[0] for word in line.split()}
    return any(f"--{name}" in words for name in names)
