"""The file to blame: the system names one when it is opened, but not when it is read or written."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """An error of the system within the block, also of closing its files, says `path`.

    Around the `open` of a file that is written: what is left in a buffer is written as it closes.
    Blocks may be nested: the innermost is right.
    """
    try:
        yield
    except OSError as error:
        name_file(error, path)
        raise


def name_file(error: OSError, path: str | os.PathLike[str]) -> None:
    """The same for one error, where the block would cost more than the reading.

    An error that names a file already is left alone, and so is one that is not of the system.
    """
    if error.errno is not None and error.filename is None:
        error.filename = os.fspath(path)
