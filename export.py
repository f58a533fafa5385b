"""Writes networks for phones and servers: `python export.py --pretrained --output_tflite=FILE`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from common import commands, process
from exporters import export_flags


def main(argv: Sequence[str]) -> int:
    """Runs the command line `argv` (without the program's name). Returns the exit code."""
    arguments = export_flags.parser().parse_args(argv)

    def run() -> None:
        # A signal ends the export as an error does: nothing hidden is left between the files.
        with process.StopSignal(raises=True):
            export(arguments)

    return commands.run(run, debug=arguments.debug)


def export(arguments: argparse.Namespace) -> None:
    """Writes the files that the command line asks for, and a line about each."""
    plan, request = export_flags.plan(arguments), export_flags.request(arguments)
    from inference import source

    with process.quiet_startup():
        loaded = source.load(request)
    from exporters import exporting

    with process.quiet_startup():
        exporting.export(loaded, plan)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
