"""Convert raw images to TFRecord shards: `python -m download_and_convert_imagenet DATA_DIR`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from download_and_convert_imagenet import standard_streams
from download_and_convert_imagenet.conversion_options import parse_options

INTERRUPTED = 130  # 128 + SIGINT, as shells have it
NOBODY_READS = 1  # rich, which writes all lines but the last ones, ends with it, too


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit code."""
    options = parse_options(arguments, _program())
    standard_streams.escape_what_is_no_text()
    try:
        return _convert(options)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on where this one was", file=sys.stderr)
        return INTERRUPTED


def _convert(options: argparse.Namespace) -> int:
    try:
        from download_and_convert_imagenet import conversion_command
    except ImportError as error:
        print(f"error: {error}: install pillow, numpy and rich", file=sys.stderr)
        return 3
    try:
        code = conversion_command.run(options)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `| head` has seen enough
        standard_streams.leave_to_nobody()
        return NOBODY_READS
    except conversion_command.ERRORS as error:
        print(f"error: {conversion_command.describe(error)}", file=sys.stderr)
        return 3


def _program() -> str:
    """How it was called: as a module, or as one file."""
    name = Path(sys.argv[0]).name
    return "python -m download_and_convert_imagenet" if name == "__main__.py" else name


if __name__ == "__main__":
    sys.exit(main())
