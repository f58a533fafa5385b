"""How a command ends: exit codes, and the lines that users see."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from common import commands, errors


def run_raising(error, debug=False, **options):
    def fail():
        raise error

    return commands.run(fail, debug=debug, **options)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UsageError("one\ntwo"), 2),
        (errors.DataError("one\ntwo"), 3),
        (errors.NonFiniteError("one\ntwo"), 4),
    ],
)
def test_a_foreseen_error_is_printed_line_by_line(capsys, error, code):
    assert run_raising(error) == code
    assert capsys.readouterr() == ("", "error: one\nerror: two\n")


def test_a_wish_to_stop_is_no_error(capsys):
    assert run_raising(errors.Stopped("stopped by SIGUSR1 at step 7")) == 75
    assert capsys.readouterr() == ("", "stopped by SIGUSR1 at step 7\n")


def test_debug_shows_the_traceback_of_a_foreseen_error(capsys):
    assert run_raising(errors.UsageError("no such flag"), debug=True) == 2
    text = capsys.readouterr().err
    assert text.startswith("Traceback")
    assert text.endswith("error: no such flag\n")


def test_ctrl_c_is_a_line_whatever_an_import_made_of_it(capsys):
    error = ImportError("numpy failed to import")
    error.__context__ = KeyboardInterrupt()
    for interrupt in (KeyboardInterrupt(), error):
        assert run_raising(interrupt) == 130
        assert capsys.readouterr().err == "error: interrupted\n"


def test_an_unexpected_error_is_one_line_unless_debug_or_no_such_flag_exists(capsys):
    error = KeyError("a\nb")
    assert run_raising(error) == 1
    line = capsys.readouterr().err
    assert line.startswith("internal error: KeyError: ")
    assert line.endswith("; run again with --debug for the traceback\n")
    assert line.count("\n") == 1
    for debug in (True, None):
        with pytest.raises(KeyError):
            run_raising(error, debug=debug)


def test_the_exit_code_of_the_command_is_returned():
    assert commands.run(lambda: None) == 0
    assert commands.run(lambda: 3) == 3


@pytest.mark.parametrize("text", ["0", "-1", "x", "1.5", ""])
def test_whole_numbers_have_a_smallest_value(text):
    assert commands.at_least(0)("0") == 0
    with pytest.raises(argparse.ArgumentTypeError, match="is not a whole number of 1 or more"):
        commands.at_least(1)(text)


@pytest.mark.parametrize("text", ["0", "-1", "x", "inf", "nan", ""])
def test_numbers_above_zero(text):
    assert commands.above_zero("0.5") == 0.5
    with pytest.raises(argparse.ArgumentTypeError, match="is not a finite number above 0"):
        commands.above_zero(text)


def run_in_shell(code, redirection, directory):
    """Runs `code` by `commands.run` in a process with redirected streams."""
    script = directory / "script.py"
    lines = ["import os, sys", "from common import commands", "def command():", *code, ""]
    end = "sys.exit(commands.run(command, debug=False))"
    script.write_text("\n".join([*lines, end]))
    root = str(Path(commands.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "PYTHONUNBUFFERED": ""}
    shell = f"cd {directory} && {sys.executable} {script} {redirection}"
    return subprocess.run(
        shell, shell=True, env=environment, capture_output=True, text=True, timeout=300
    )


def test_closed_streams_lead_nowhere_rather_than_into_the_next_file(tmp_path):
    """Without it the first print failed, and a file that was opened took the number of stderr."""
    code = [
        "    with open('file', 'w') as file:",
        "        print('a line')",
        "        print('an error', file=sys.stderr)",
        "        os.write(1, b'from C')",
        "        os.write(2, b'from C')",
        "        os.system('echo of a child; echo of a child >&2')",
        "        file.write(f'{file.fileno() > 2} {sys.stdin.read()!r}')",
    ]
    done = run_in_shell(code, "<&- >&- 2>&-", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "file").read_text() == "True ''"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_a_full_disk_behind_stdout_is_a_line_of_its_own(tmp_path):
    """It was an internal error. Another error keeps its own line."""
    write = "commands.write_line('a line')"
    for line in (write, "print('a line')"):
        done = run_in_shell([f"    {line}"], "> /dev/full", tmp_path)
        error = "error: cannot write to stdout: No space left on device\n"
        assert (done.returncode, done.stderr) == (3, error)
    done = run_in_shell(["    open('/no/file')"], "", tmp_path)
    assert done.returncode == 1
    assert "FileNotFoundError" in done.stderr
