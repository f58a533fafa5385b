"""Errors of data sets, each with the exit code of an entry point that it stops."""

from __future__ import annotations


class DataError(Exception):
    """Data that is missing, damaged or not what was asked for; the message is one line."""

    exit_code = 3


class DataOptionError(DataError):
    """An option that cannot be meant for this data set."""

    exit_code = 2
