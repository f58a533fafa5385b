"""Errors a person can cause or meet, each with the exit code of its entry point."""

from __future__ import annotations


class RunError(Exception):
    """A run that cannot go on. `exit_code` is what the process returns to the shell."""

    exit_code = 1


class UsageError(RunError):
    """The command line asks for something that cannot be meant or cannot be had."""

    exit_code = 2


class DataError(RunError):
    """A data set, checkpoint or run directory that is missing, damaged or of another model."""

    exit_code = 3


class NonFiniteError(RunError):
    """The loss or a gradient is not a finite number."""

    exit_code = 4


class Stopped(RunError):
    """The run was asked to stop, has saved its state, and resumes when started again."""

    exit_code = 75
