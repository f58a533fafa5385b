"""The blocks of code of the documentation, and what is wrong with one, without running it.

A block of shell commands (of no language, or sh) has command lines that their programs accept. A
block of Python compiles, and its imports exist. A block of text is output, or a formula. Any other
block is said to be "not run here" in the line before it. An HTML comment takes a block out:

    <!-- not checked: the command of another program -->
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import functools
import importlib
import importlib.util
import inspect
import io
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import setup
from benchmark_cnn.flags import command_line
from tensorflow_imagenet.commands import COMMANDS
from tests.conftest import ROOT

PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
# Programs of others, which are not checked.
FOREIGN = frozenset(
    {
        "aws",
        "bazel",
        "cat",
        "docker",
        "jupyter",
        "kubectl",
        "pip",
        "tar",
        "unzip",
        ".",
    }
)
_FENCE = re.compile(r" *```(?P<language>\w*)")
_UNCHECKED = re.compile(r"<!-- not checked: \S.*-->")
_TARGETS = re.compile(r"^([a-z-]+):", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of code of a page, with the number of its first line, and the line of text before."""

    page: Path
    line: int
    language: str
    text: str
    before: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


class _ParsedError(BaseException):
    """Ends a program that has read its command line. No program catches it."""


def blocks(page: Path, text: str) -> Iterator[Block]:
    """Yields the fenced blocks of a page and those that are indented by four spaces."""
    lines = text.splitlines()
    before, in_list, number = "", False, 0
    while number < len(lines):
        start = number
        if fence := _FENCE.fullmatch(lines[number]):
            number = next(n for n in range(start + 1, len(lines)) if lines[n].strip() == "```")
            yield _block(page, start + 1, fence["language"], lines[start + 1 : number], before)
        elif lines[number].startswith("    ") and not in_list and not lines[number - 1].strip():
            while number + 1 < len(lines) and lines[number + 1].startswith("    "):
                number += 1
            language = "" if re.match(r" *(python|make) ", lines[start]) else "text"
            yield _block(page, start, language, lines[start : number + 1], before)
        elif lines[number].strip():
            before = lines[number]
            if not before.startswith(" "):
                in_list = bool(re.match(r"- |\d+\. ", before))
        number += 1


def _block(page: Path, start: int, language: str, lines: list[str], before: str) -> Block:
    return Block(page, start + 1, language, "\n".join(lines) + "\n", before)


def problems(block: Block) -> list[str]:
    """Returns a line for each mistake of a block."""
    if _UNCHECKED.fullmatch(block.before.strip()) or block.language == "text":
        return []
    if block.language in ("", "sh"):
        return [problem for words in commands(block.text) for problem in command_problems(words)]
    if block.language == "python":
        return python_problems(block.text)
    if "not run here" in block.before.lower():
        return []
    return [f"a block of {block.language} that is not said to be not run here"]


def commands(text: str) -> Iterator[list[str]]:
    """Yields the words of each command, without comments, optional brackets and ellipses."""
    values: dict[str, str] = {}
    for line in re.sub(r"\\\n", " ", text).splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word in ("&&", "||", "|", ";"):
                if words:
                    yield words
                words = []
            elif not words and (assigned := re.fullmatch(r"(\w+)=(.*)", word)):
                values[assigned[1]] = assigned[2]
            elif word.startswith("$") and word[1:] in values:
                words += shlex.split(values[word[1:]])
            elif word != "...":
                optional = re.fullmatch(r"\[(--.*)\]", word)
                words.append(optional[1] if optional else word)


def command_problems(words: list[str]) -> list[str]:
    """Returns what is wrong with a command."""
    program, *arguments = words
    if program == "srun" and "python" in arguments:
        return command_problems(arguments[arguments.index("python") :])
    if program == "make":
        targets = _TARGETS.findall((ROOT / "Makefile").read_text("utf-8"))
        return [
            f"make has no {word}" for word in arguments if word not in targets and "=" not in word
        ]
    if program in COMMANDS:
        return _program_problems(COMMANDS[program], arguments)
    if program == "python" and arguments[0] == "-m":
        return _module_problems(arguments[1], arguments[2:])
    if program == "python" or program.endswith(".py"):
        name, *arguments = arguments if program == "python" else words
        if not (ROOT / name).is_file():
            return [f"there is no {name}"]
        return _program_problems(name.removesuffix(".py"), arguments)
    if program in FOREIGN or program.startswith("bazel-bin/"):
        return []
    return [f"no command: {' '.join(words)[:60]} (output is a block of text)"]


def _module_problems(module: str, arguments: list[str]) -> list[str]:
    plain = module.removeprefix(f"{setup.PACKAGE}.")
    if not _exists(plain):
        return [f"there is no module {module}"]
    if plain.split(".")[0] not in setup.ROOMS:
        return []  # pytest, for example
    if _exists(f"{plain}.__main__"):
        plain += ".__main__"
    return _program_problems(plain, arguments)


@functools.cache
def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _program_problems(module: str, arguments: list[str]) -> list[str]:
    """Runs a program until it has read its command line."""
    main = importlib.import_module(module).main
    takes_arguments = bool(inspect.signature(main).parameters)
    errors = io.StringIO()
    with (
        _ends_after_parsing(),
        mock.patch.object(sys, "argv", [module, *arguments]),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(errors),
    ):
        try:
            main(arguments) if takes_arguments else main()
        except _ParsedError:
            # What a launcher starts has a command line, too.
            nested = arguments[arguments.index("--") + 1 :] if "--" in arguments else []
            return command_problems(nested) if nested else []
        except SystemExit as end:
            if not end.code:  # --help
                return []
    return errors.getvalue().splitlines() or [f"{module} did not read its command line"]


@contextlib.contextmanager
def _ends_after_parsing() -> Iterator[None]:
    """Ends programs once their command line is accepted, before they do anything."""

    def ending(parse):
        def parse_and_end(*arguments, **options):
            parse(*arguments, **options)
            raise _ParsedError

        return parse_and_end

    with (
        mock.patch.object(command_line, "parse", ending(command_line.parse)),
        mock.patch.object(
            argparse.ArgumentParser, "parse_args", ending(argparse.ArgumentParser.parse_args)
        ),
    ):
        yield


def python_problems(text: str) -> list[str]:
    """Returns the mistakes of a program: its syntax, and modules and names that do not exist."""
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        return [f"line {error.lineno}: {error.msg}"]
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [f"there is no module {a.name}" for a in node.names if not _exists(a.name)]
        elif isinstance(node, ast.ImportFrom):
            found += _import_problems(str(node.module), [alias.name for alias in node.names])
    return found


def _import_problems(module: str, names: list[str]) -> list[str]:
    if not _exists(module):
        return [f"there is no module {module}"]
    imported = importlib.import_module(module)
    return [
        f"there is no {name} in {module}"
        for name in names
        if not hasattr(imported, name) and not _exists(f"{module}.{name}")
    ]
