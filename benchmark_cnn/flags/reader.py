"""From the words of a command line to values, collecting every mistake instead of the first.

Flags are absl's, in a registry of their own, and follow its syntax: `--name=value`, `--name value`,
`--switch`, `--noswitch`, one or two dashes, and `--flagfile=FILE`, in which `#` begins a comment.
The last one given wins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from absl import flags as absl_flags

from benchmark_cnn.flags import suggestions
from benchmark_cnn.flags.migration import RENAMED
from benchmark_cnn.params.flag import Flag, Value

_NUMBER = re.compile(r"-\.?\d.*")


@dataclass
class CommandLine:
    """What was read.

    `values` holds the flags that were given and could be read, `written_as` their names as typed
    (an ancestor's name, perhaps), `from_files` those that a flag file gave last. `lines` are the
    mistakes, `unsure` the names of flags that a mistake is about, whose values are not known.
    """

    values: dict[str, Value] = field(default_factory=dict)
    written_as: dict[str, str] = field(default_factory=dict)
    from_files: set[str] = field(default_factory=set)
    lines: list[str] = field(default_factory=list)
    unsure: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class _Word:
    text: str
    from_file: bool

    @property
    def is_flag(self) -> bool:
        is_dashes = not self.text.strip("-")
        return self.text.startswith("-") and not is_dashes and not _NUMBER.fullmatch(self.text)


class _Parser(absl_flags.ArgumentParser):
    """absl's view of our flag."""

    def __init__(self, flag: Flag):
        self.flag = flag

    def parse(self, argument: Any) -> Any:
        return self.flag.from_text(argument)


def read(program: str, flags: Iterable[Flag], argv: Sequence[str]) -> CommandLine:
    """Read `argv`, which does not begin with the program's name. Never raises for what is in it."""
    reader = _Reader(program, {flag.name: flag for flag in flags})
    reader.read_all(reader.expand_files(argv))
    return reader.result


class _Reader:
    def __init__(self, program: str, flags: dict[str, Flag]):
        self.program = program
        self.flags = flags
        self.registry = _registry(flags.values())
        self.result = CommandLine()

    def expand_files(self, argv: Sequence[str]) -> list[_Word]:
        """The words of `argv`, with those of a flag file in the place where it is named."""
        words, rest = [], list(argv)
        while rest:
            text = rest.pop(0)
            if text in ("--flagfile", "-flagfile"):
                words += self._words_of_file(rest.pop(0) if rest else "")
            elif re.match("--?flagfile=", text):
                words += self._words_of_file(text.partition("=")[2])
            else:
                words.append(_Word(text, from_file=False))
        return words

    def _words_of_file(self, path: str) -> list[_Word]:
        if not path:
            self.result.lines.append("--flagfile needs the name of a file")
            return []
        try:
            lines = self.registry.read_flags_from_files([f"--flagfile={path}"])
        except absl_flags.CantOpenFlagFileError as error:
            reason = getattr(error.__context__, "strerror", None) or str(error)
            name = getattr(error.__context__, "filename", None) or path
            self.result.lines.append(f"cannot read the flag file {name}: {reason}")
            return []
        except UnicodeDecodeError:
            self.result.lines.append(f"the flag file {path} is not text")
            return []
        return [_Word(line, from_file=True) for line in lines]

    def read_all(self, words: list[_Word]) -> None:
        rest = list(words)
        while rest:
            word = rest.pop(0)
            if not word.is_flag:
                self._refuse_argument(word)
                continue
            written, equals, value = word.text.partition("=")
            name = written.removeprefix("-").removeprefix("-")
            if self._is_switch(name):
                self._set(name, written, value if equals else "true", word)
            elif self._has(name):
                self._read_value(name, written, value if equals else None, word, rest)
            elif name.startswith("no") and self._is_switch(name[2:]):
                self._read_negation(name[2:], word, has_value=bool(equals))
            else:
                self._refuse_flag(written, has_value=bool(equals), rest=rest)

    def _read_value(
        self, name: str, written: str, value: str | None, word: _Word, rest: list[_Word]
    ) -> None:
        if value is None and rest and not rest[0].text.startswith("--"):
            value = rest.pop(0).text
        if value is None:
            self._refuse_value(name, f"{written} needs a value: {written}=VALUE")
            return
        self._set(name, written, value, word)

    def _read_negation(self, name: str, word: _Word, *, has_value: bool) -> None:
        if has_value:
            line = f"{word.text}: --no{name} takes no value; write --{name}=VALUE"
            self._refuse_value(name, line)
            return
        self._set(name, f"--{name}", "false", word)

    def _set(self, name: str, written: str, text: str, word: _Word) -> None:
        """Give flag `name`, perhaps under its old name, the value that `text` means."""
        target = _target(name)
        try:
            self.registry[target].parse(_translated(name, text))
        except ValueError as error:
            self._refuse_value(name, f"{written}={text} {error}")
            return
        except absl_flags.IllegalFlagValueError as error:
            # absl puts words of its own before ours, which it keeps as the context.
            self._refuse_value(name, f"{written}={text} {error.__context__}")
            return
        self.result.values[target] = self.registry[target].value
        self.result.written_as[target] = name
        if word.from_file:
            self.result.from_files.add(target)
        else:
            self.result.from_files.discard(target)

    def _refuse_value(self, name: str, line: str) -> None:
        self.result.lines.append(line)
        self.result.unsure.add(_target(name))

    def _refuse_flag(self, written: str, *, has_value: bool, rest: list[_Word]) -> None:
        line = suggestions.explain(self.program, written, self.flags)
        self.result.lines.append(line)
        self.result.unsure |= {name for name in self.flags if f"--{name}" in line}
        # What follows is its value rather than a second mistake.
        if not has_value and rest and not rest[0].is_flag:
            rest.pop(0)

    def _refuse_argument(self, word: _Word) -> None:
        hint = "flags are written --name=value"
        if word.text.lower() in ("true", "false"):
            hint = "a switch is written --name, --noname or --name=" + word.text.lower()
        self.result.lines.append(f"unexpected argument {word.text!r}; {hint}")

    def _has(self, name: str) -> bool:
        return _target(name) in self.flags

    def _is_switch(self, name: str) -> bool:
        if not self._has(name):
            return False
        became_value = name in RENAMED and bool(RENAMED[name].when_true)
        return became_value or self.flags[_target(name)].kind is bool


def _target(name: str) -> str:
    """The present name of a flag that may be written under an ancestor's name for it."""
    renamed = RENAMED.get(name)
    return renamed.target if renamed and renamed.accepted else name


def _translated(name: str, text: str) -> str:
    """What `text`, written behind the ancestor's switch `name`, is for the flag it has become."""
    renamed = RENAMED.get(name)
    if renamed is None or not renamed.when_true:
        return text
    switch = absl_flags.BooleanParser()
    try:
        return renamed.when_true if switch.parse(text) else renamed.when_false
    except ValueError:
        raise ValueError("is not true or false") from None


def _registry(flags: Iterable[Flag]) -> absl_flags.FlagValues:
    registry = absl_flags.FlagValues()
    for flag in flags:
        defined = absl_flags.Flag(
            _Parser(flag), None, flag.name, None, flag.help, boolean=flag.kind is bool
        )
        absl_flags.DEFINE_flag(defined, flag_values=registry, module_name="benchmark_cnn")
    return registry
