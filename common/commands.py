"""What every command shares: how it ends, what its output may hold, and types of its numbers.

Standard library only; `check_shards` runs it on a bare Python.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import math
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn

from common.errors import DataError, RunError, Stopped
from common.paths import one_line

_FEWEST_LETTERS = 5  # a shorter part of a name is in many by chance
# As shells report a process that a signal ended.
EXIT_INTERRUPTED = 128 + signal.SIGINT
EXIT_BROKEN_PIPE = 128 + 13  # SIGPIPE, which Windows does not have


def run(
    command: Callable[[], int | None],
    *,
    debug: bool | None = None,
    interrupted: str = "interrupted",
    broken_pipe_code: int = EXIT_BROKEN_PIPE,
) -> int:
    """Runs a command and returns the exit code of the process.

    A `RunError` and Ctrl-C are printed as `error: ` lines on stderr, `Stopped` as it is. A reader
    of stdout that has gone, as with `| head`, ends the command silently. Standard streams that were
    closed when the process started lead to /dev/null.

    Args:
        command: returns an exit code; None stands for 0.
        debug: the command's --debug. True prints the traceback of every error. False prints an
            unexpected error as one line. None, for commands without the flag, lets it pass.
        interrupted: the message after Ctrl-C.
        broken_pipe_code: the exit code when the reader of stdout has gone.
    """
    _open_closed_streams()
    escape_undecodable_output()
    try:
        exit_code = command() or 0
        with stdout_errors():
            sys.stdout.flush()
        return exit_code
    except BrokenPipeError:
        discard_stdout()
        return broken_pipe_code
    except (Exception, KeyboardInterrupt) as error:
        return _report(_of_stdout(error) or error, debug, interrupted)


def write_line(line: str) -> None:
    """Prints a line that is seen at once.

    Raises:
        DataError: stdout cannot be written, as on a full disk.
    """
    with stdout_errors():
        print(line, flush=True)


@contextlib.contextmanager
def stdout_errors() -> Iterator[None]:
    """Turns an OSError of the block, which writes to stdout, into one line; not a closed pipe."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_stdout()
        raise DataError(f"cannot write to stdout: {error.strerror}") from error


def _open_closed_streams() -> None:
    """Opens /dev/null in place of closed streams.

    The next files that the process opens would get their numbers, and messages of C code with them.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number
        if getattr(sys, name) is None:
            mode = "w" if number else "r"
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def escape_undecodable_output() -> None:
    """Escapes bytes that are not valid text instead of raising UnicodeEncodeError."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def discard_stdout() -> None:
    """Redirects stdout to /dev/null, so that the interpreter's final flush succeeds.

    For use after a BrokenPipeError.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class OneLineParser(argparse.ArgumentParser):
    """A parser that reports a mistake in one line, without the list of options."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} (--help lists the options)\n")


def parser(program: str, doc: str | None, **settings) -> OneLineParser:
    """Returns a parser whose help is a module's docstring.

    Its first paragraph comes before the flags, the rest after them, line by line as it is written.
    """
    summary, _, details = (doc or "").partition("\n\n")
    settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
    return OneLineParser(program, description=summary, epilog=details, **settings)


def at_least(smallest: int) -> Callable[[str], int]:
    """Returns an argparse type for whole numbers of `smallest` or more."""

    def whole_number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = smallest - 1
        if value < smallest:
            message = f"{text!r} is not a whole number of {smallest} or more"
            raise argparse.ArgumentTypeError(message)
        return value

    return whole_number


def share(text: str) -> float:
    """Reads a number from 0 to 1, as an argparse type."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def above_zero(text: str) -> float:
    """Returns the number that `text` stands for: an argparse type for finite ones above zero."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number above 0")
    return value


def _of_stdout(error: BaseException) -> DataError | None:
    """Returns the error of a `print` that could not write, as on a full disk; None for others.

    The stream still holds the text that it could not write, so that flushing fails again.
    """
    if not isinstance(error, OSError) or error.filename is not None:
        return None
    try:
        with stdout_errors():
            sys.stdout.flush()
    except (DataError, BrokenPipeError) as again:
        return again if isinstance(again, DataError) else None
    return None


def _report(error: BaseException, debug: bool | None, interrupted: str) -> int:
    request = _request_behind(error)
    if isinstance(request, Stopped):
        print(request, file=sys.stderr)
        return request.exit_code
    if request is not None:
        exit_code, text = EXIT_INTERRUPTED, interrupted
    elif isinstance(error, RunError):
        exit_code, text = error.exit_code, str(error) or type(error).__name__
    elif debug is False:
        line = f"{type(error).__name__}: {' '.join(str(error).split())}"
        hint = "run again with --debug for the traceback"
        print(f"internal error: {line}; {hint}", file=sys.stderr)
        return 1
    else:
        raise error
    if debug:
        traceback.print_exception(type(error), error, error.__traceback__, file=sys.stderr)
    for line in text.split("\n"):
        print(f"error: {one_line(line)}", file=sys.stderr)
    return exit_code


def _request_behind(error: BaseException | None) -> KeyboardInterrupt | Stopped | None:
    """Returns the user's wish to stop that caused it: C code can turn one into an ImportError."""
    while error is not None and not isinstance(error, KeyboardInterrupt | Stopped):
        error = error.__cause__ or error.__context__
    return error


def did_you_mean(name: str, names: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Returns the end of an error message that suggests the nearest name; "" if none is near."""
    near = nearest(name, names, cutoff=cutoff)
    return f"; did you mean {near}?" if near else ""


def nearest(name: str, names: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Returns the name that `name` most likely stands for; None if none is similar.

    Capitals and separators do not count. A name that ends in the one that was typed, or contains
    it, is likelier than one that merely resembles it by `cutoff`: the shortest of these is meant.
    """
    typed = _letters(name)
    plain = {_letters(known): known for known in sorted(names, reverse=True)}
    likely = (
        [known for known in plain if known.endswith(typed)]
        or [known for known in plain if typed in known]
        or [known for known in plain if typed.endswith(known)]
    )
    if likely and len(typed) >= _FEWEST_LETTERS:
        return plain[min(likely, key=lambda known: (len(known), known))]
    close = difflib.get_close_matches(typed, list(plain), n=1, cutoff=cutoff)
    return plain[close[0]] if close else None


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))
