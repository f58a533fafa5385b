"""The errors that users can cause or meet, each with the exit code of the command.

Every other error is a fault of the program. Errors that one module raises for another to translate
(`CorruptImageError`, `PickleError` and the like) stay where they are raised.
"""

from __future__ import annotations


class RunError(Exception):
    """A command cannot continue; each line of the message is printed.

    Attributes:
        exit_code: what the process returns to the shell.
    """

    exit_code = 1


class UsageError(RunError):
    """The command line contradicts itself, or asks for something that is not available here."""

    exit_code = 2


class DataError(RunError):
    """A data set, checkpoint or directory is missing, damaged, in use or of another model."""

    exit_code = 3


class MissingSplitError(DataError):
    """The data have no such split; whoever asked for it adds what else may be done."""


class NonFiniteError(RunError):
    """The loss or a gradient is not a finite number."""

    exit_code = 4


class ClusterError(RunError):
    """A worker of the cluster is gone, and the others cannot continue without it."""

    exit_code = 69


class Stopped(RunError):
    """The run was asked to stop, has saved its state, and resumes when started again."""

    exit_code = 75
