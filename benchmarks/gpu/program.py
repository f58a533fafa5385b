"""A candidate of a comparison that is a program of another interpreter, such as timm's."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.rounds import CandidateFailed, CandidateProcess

PYTHON = Path(__file__).resolve().parents[2] / ".venv-peers" / "bin" / "python"
"""The interpreter of `make venv-peers`."""


class ProgramCandidate(CandidateProcess):
    """A program that prints a line of JSON when it is ready, then answers lines with lines.

    Args:
        directory: where it starts; None for that of this process.
    """

    def __init__(self, command: Sequence[str], directory: Path | None = None):
        # Closed by `stop`.
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._program = subprocess.Popen(
            command,
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self._is_ready = False

    def begin(self) -> None:
        """Starts a run; the first one is the start of the program."""
        if self._is_ready:
            assert self._program.stdin is not None
            try:
                self._program.stdin.write("\n")
                self._program.stdin.flush()
            except OSError:  # `end` reports a program that has ended
                pass

    def end(self) -> Any:
        """Waits for the run; returns what the program says of itself after the first one.

        Raises:
            CandidateFailed: with the program's last line on stderr.
        """
        assert self._program.stdout is not None
        line = self._program.stdout.readline()
        if not line:
            self._program.wait()
            self._errors.seek(0)
            ended = f"ended with exit code {self._program.returncode}"
            raise CandidateFailed((self._errors.read().strip().splitlines() or [ended])[-1])
        self._is_ready = True
        return json.loads(line) if line.strip() else None

    def stop(self) -> None:
        """Ends the program and waits until its memory is free."""
        self._program.kill()
        self._program.communicate()
        self._errors.close()
