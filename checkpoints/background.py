"""Saves checkpoints in a thread, so that training does not wait for the disk."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Mapping

import numpy as np
from absl import logging

from checkpoints import store
from common.errors import RunError

# The thread gives way to training where all cores are busy, and still gets a share of them.
_NICENESS = 10
_THREAD = "checkpoint"


def is_saving() -> bool:
    """Returns whether a checkpoint is being saved in this process."""
    return any(thread.name == _THREAD for thread in threading.enumerate())


class BackgroundSaver(contextlib.AbstractContextManager):
    """A context that saves checkpoints to `directory` and waits for the last one at its end.

    An error of the thread is raised by the next call; behind another error it is a warning.

    Args:
        keep: see `store.save`.
    """

    def __init__(self, directory: str | os.PathLike[str], *, keep: int):
        self._directory, self._keep = directory, keep
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def save(
        self,
        step: int,
        tensors: Mapping[str, np.ndarray],
        before: Callable[[], None] = lambda: None,
        *,
        waits: bool = False,
    ) -> str:
        """Begins to save once the save before is done; returns the prefix.

        Args:
            tensors: checkpoint key -> value. The arrays must not change any more.
            before: called in the thread first, as for a file that must not lag behind.
            waits: saves in the caller's thread, with its priority, instead.
        """
        self.wait()
        if waits:
            before()
            return store.save(self._directory, step, tensors, keep=self._keep)
        arguments = (step, tensors, before)
        self._thread = threading.Thread(target=self._save, args=arguments, name=_THREAD)
        self._thread.start()
        return store.prefix_of(self._directory, step)

    def check(self) -> None:
        """Raises the error of a save that has failed; waits for none."""
        if self._thread is not None and not self._thread.is_alive():
            self.wait()

    def wait(self) -> None:
        """Waits until nothing is being saved."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def __exit__(self, _kind, error, _traceback) -> None:
        try:
            self.wait()
        except RunError as own:
            if error is None:
                raise
            logging.warning("%s", own)

    def _save(self, step, tensors, before) -> None:
        if sys.platform == "linux":  # where a thread has a priority of its own
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        try:
            before()
            store.save(self._directory, step, tensors, keep=self._keep)
        except BaseException as error:
            self._error = error
