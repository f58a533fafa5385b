"""Reads a command line into values, collecting every mistake instead of the first.

The syntax is absl's: `--name=value`, `--name value`, `--switch`, `--noswitch`, one or two dashes,
and `--flagfile=FILE`, in which `#` begins a comment. The last value of a flag wins.

absl itself stops at the first missing value and at the first word that is not a flag, takes the
next flag for a missing value, and does not report unknown flags and wrong values in the order in
which they were typed. In its flag files a comment needs a line of its own.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from benchmark_cnn.flags import suggestions
from benchmark_cnn.flags.migration import RENAMED
from benchmark_cnn.params.flag import Flag, Value
from common import installation

_NUMBER = re.compile(r"-\.?\d.*")
# As absl has it, a line may also begin with //.
_COMMENT = re.compile(r"(^|\s)#.*|^\s*//.*")
_FLAG_FILE = re.compile(r"--?flagfile[= ]")
# Only a shell takes such quotes away.
_QUOTED = re.compile(r"""(?P<flag>--?\w+=)?(?P<quote>["'])(?P<value>.*)(?P=quote)""")


@dataclass
class CommandLine:
    """The content of a command line.

    `values` holds the flags that were given and are valid, `written_as` their names as typed (an
    old name, perhaps), `from_files` those whose last value came from a flag file. `errors` are the
    mistakes, `unsure` the names of flags that a mistake is about, whose values are not known.
    """

    values: dict[str, Value] = field(default_factory=dict)
    written_as: dict[str, str] = field(default_factory=dict)
    from_files: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)
    unsure: set[str] = field(default_factory=set)


class _Word(NamedTuple):
    text: str
    from_file: bool = False

    @property
    def is_flag(self) -> bool:
        is_dashes = not self.text.strip("-")
        return self.text.startswith("-") and not is_dashes and not _NUMBER.fullmatch(self.text)


def read(program: str, flags: Iterable[Flag], argv: Sequence[str]) -> CommandLine:
    """Reads `argv`, without the program's name. Mistakes are returned, never raised."""
    reader = _Reader(program, {flag.name: flag for flag in flags})
    reader.expand_files(argv)
    while reader.words:
        reader.read_next()
    return reader.result


class _Reader:
    def __init__(self, program: str, flags: dict[str, Flag]):
        self.program = program
        self.flags = flags
        self.words: deque[_Word] = deque()
        self.result = CommandLine()

    def read_next(self) -> None:
        """Reads a flag, with the word after it where that is its value."""
        word = self.words.popleft()
        if not word.is_flag:
            self._refuse_argument(word.text)
            return
        written, equals, value = word.text.partition("=")
        name = written.removeprefix("-").removeprefix("-")
        negated = name.removeprefix("no")
        if self._is_switch(name):
            self._set(name, written, value if equals else "true", word)
        elif self._flag(name):
            if not equals and not (self.words and not self.words[0].text.startswith("--")):
                self._refuse_value(name, f"{written} needs a value: {written}=VALUE")
            else:
                self._set(name, written, value if equals else self.words.popleft().text, word)
        elif negated == name or not self._is_switch(negated):
            self._refuse_flag(written, has_value=bool(equals))
        elif equals:
            line = f"{word.text}: --no{negated} takes no value; write --{negated}=VALUE"
            self._refuse_value(negated, line)
        else:
            self._set(negated, f"--{negated}", "false", word)

    def expand_files(self, argv: Sequence[str]) -> None:
        """Puts the words of each flag file in the place where the file is named."""
        rest = deque(argv)
        while rest:
            text = rest.popleft()
            if text in ("--flagfile", "-flagfile"):
                self._add_words_of_file(rest.popleft() if rest else "")
            elif re.match("--?flagfile=", text):
                self._add_words_of_file(text.partition("=")[2])
            else:
                self.words.append(_Word(text))

    def _add_words_of_file(self, path: str) -> None:
        if not path:
            self.result.errors.append("--flagfile needs the name of a file")
            return
        try:
            lines = _lines_of_file(_place(path), ())
        except OSError as error:
            self.result.errors.append(
                f"cannot read the flag file {error.filename}: {error.strerror}"
            )
        except ValueError as error:
            self.result.errors.append(str(error))
        else:
            self.words += [_Word(line, from_file=True) for line in lines]

    def _set(self, name: str, written: str, text: str, word: _Word) -> None:
        """Gives the flag `name`, perhaps an old name, the value that `text` means."""
        target = _target(name)
        try:
            if name in RENAMED:
                text = RENAMED[name].translate(text)
            self.result.values[target] = self.flags[target].from_text(text)
        except ValueError as error:
            self._refuse_value(name, f"{written}={text} {error}")
            return
        self.result.written_as[target] = name
        if word.from_file:
            self.result.from_files.add(target)
        else:
            self.result.from_files.discard(target)

    def _refuse_value(self, name: str, line: str) -> None:
        self.result.errors.append(line)
        self.result.unsure.add(_target(name))

    def _refuse_flag(self, written: str, *, has_value: bool) -> None:
        line = suggestions.explain(self.program, written, self.flags)
        self.result.errors.append(line)
        self.result.unsure |= {name for name in self.flags if f"--{name}" in line}
        # The next word is its value rather than a second mistake.
        if not has_value and self.words and not self.words[0].is_flag:
            self.words.popleft()

    def _refuse_argument(self, text: str) -> None:
        hint = "flags are written --name=value"
        if text.lower() in ("true", "false"):
            hint = f"a switch is written --name, --noname or --name={text.lower()}"
        self.result.errors.append(f"unexpected argument {text!r}; {hint}")

    def _flag(self, name: str) -> Flag | None:
        return self.flags.get(_target(name))

    def _is_switch(self, name: str) -> bool:
        flag = self._flag(name)
        was_switch = name in RENAMED and bool(RENAMED[name].when_true)
        return flag is not None and (was_switch or flag.kind is bool)


def _lines_of_file(path: str, outer: tuple[str, ...]) -> list[str]:
    """Returns the lines of a flag file without comments, and in place those of files it names.

    Args:
        outer: the files that name this one.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is not text, has a value in quotes, or names itself.
    """
    if os.path.realpath(path) in outer:
        raise ValueError(f"the flag file {path} names itself")
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read()
    except UnicodeDecodeError:
        raise ValueError(f"the flag file {path} is not text") from None
    lines = []
    for line in filter(None, (_COMMENT.sub("", line).strip() for line in text.splitlines())):
        quoted = _QUOTED.fullmatch(line)
        if quoted:
            bare = f"{quoted['flag'] or ''}{quoted['value']}"
            raise ValueError(
                f"the flag file {path}: write {bare} without quotes; no shell reads it"
            )
        named = _FLAG_FILE.match(line)
        if named is None:
            lines.append(line)
        else:
            inner = _place(line[named.end() :].strip())
            lines += _lines_of_file(inner, (*outer, os.path.realpath(path)))
    return lines


def _place(typed: str) -> str:
    """Returns the path of a flag file; a recipe of this project is found from any directory."""
    path = os.path.expanduser(typed)
    own = installation.HOME / path
    is_own = path.startswith("recipes/") and not os.path.exists(path) and own.is_file()
    return str(own) if is_own else path


def _target(name: str) -> str:
    """Returns the present name of a flag that may be written under its old name."""
    renamed = RENAMED.get(name)
    return renamed.target if renamed and renamed.accepted else name
