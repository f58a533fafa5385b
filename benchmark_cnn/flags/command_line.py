"""The command line of an entry point: argv in, checked parameters out.

    parsed = flags.parse("train.py", sys.argv[1:], concerns=flags.TRAIN_CONCERNS)

Every mistake of a command line is told at once, one line each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from benchmark_cnn.flags import help, reader
from benchmark_cnn.flags.reader import CommandLine
from benchmark_cnn.params import validation
from benchmark_cnn.params.params import FLAGS, Params, assemble, inherit, select
from benchmark_cnn.params.training_rules import ALTERNATIVES
from common.errors import UsageError
from common.version import version_line

_HELP = frozenset({"-h", "-help", "--help", "--helpfull", "--helpshort"})


@dataclasses.dataclass(frozen=True)
class ParsedFlags:
    """`typed` names the flags that were given; `from_files` those of them from a flag file."""

    params: Params
    typed: frozenset[str]
    from_files: frozenset[str] = frozenset()


def parse(
    program: str,
    argv: Sequence[str],
    *,
    concerns: Sequence[str],
    choices: Mapping[str, Sequence[str]] | None = None,
    answers: Mapping[str, Mapping[str, str]] | None = None,
) -> ParsedFlags:
    """Read and check a command line. `--help` and `--version` print and exit with 0.

    Args:
      program: its name as it is called, for example "train.py".
      argv: the words behind the name.
      concerns: which flags there are: a concern ("network") or one flag of it ("network.model").
      choices: flag name -> the values it may have, where these are not known to the engine, for
        example the names of all models.
      answers: flag name -> value -> the sentence that refuses it, where people know a value of that
        flag from elsewhere.

    Raises:
      UsageError: its text has a line for each mistake.
    """
    flags = [
        dataclasses.replace(flag, answers={**flag.answers, **(answers or {}).get(flag.name, {})})
        for flag in select(concerns, choices or {})
    ]
    if _HELP & set(argv):
        print(help.help_text(program, flags))
        raise SystemExit(0)
    if "--version" in argv:
        print(version_line())
        raise SystemExit(0)
    read = reader.read(program, flags, argv)
    _drop_replaced_alternatives(read)
    params = assemble(read.values, Params())
    parsed = ParsedFlags(params, frozenset(read.values), frozenset(read.from_files))
    lines = validation.problems(params, parsed.typed, parsed.from_files, _rules(concerns))
    told = [_told(line, read) for line in lines if not _mentions(line, read.unsure)]
    if read.lines or told:
        raise UsageError("\n".join(dict.fromkeys(read.lines + told)))
    return parsed


def evaluation_params(parsed: ParsedFlags, run: Params) -> Params:
    """The parameters of an evaluation of `run`: model and data are the run's unless typed.

    Raises:
      UsageError: neither the run nor the user names any data.
    """
    params = inherit(parsed.params, run, parsed.typed)
    lines = validation.problems(params, parsed.typed, parsed.from_files, validation.INHERITED_RULES)
    if lines:
        raise UsageError("\n".join(lines))
    return params


def asks_for_debug(argv: Sequence[str]) -> bool:
    """Whether `argv`, or a flag file in it, has --debug; other flags may be wrong."""
    return bool(reader.read("", FLAGS.values(), argv).values.get("debug"))


def _rules(concerns: Sequence[str]) -> Iterable[validation.Rule]:
    if "evaluation" in concerns:
        return validation.EVALUATION_RULES
    return validation.TRAINING_RULES if "run" in concerns else validation.SHARED_RULES


def _drop_replaced_alternatives(read: CommandLine) -> None:
    """Forget a flag file's --num_epochs when --num_batches was typed, and the like."""
    for pair in ALTERNATIVES:
        for typed, other in (pair, pair[::-1]):
            is_typed = read.values.get(typed) is not None and typed not in read.from_files
            if is_typed and other in read.from_files:
                read.from_files.discard(other)
                del read.values[other]


def _told(line: str, read: CommandLine) -> str:
    """`line`, with a word on an ancestor's name under which its flag was given."""
    name = line.split()[0].removeprefix("--").partition("=")[0]
    written = read.written_as.get(name, name)
    return line if written == name else f"{line} (given as --{written})"


def _mentions(line: str, names: Iterable[str]) -> bool:
    """Whether `line` is about one of the flags, whose true value is not known."""
    words = {word.strip(",;:.?").partition("=")[0] for word in line.split()}
    return any(f"--{name}" in words for name in names)
