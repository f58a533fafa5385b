"""Folders on S3 and Google Cloud Storage (`s3://`, `gs://`), through fsspec. Objects are whole."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from common import files
from common.errors import DataError, UsageError

_LIBRARIES = {"s3": "s3fs", "gs": "gcsfs"}
_NUM_TRANSFERS = 8
# Of the local disk, which the callers report.
_LOCAL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_SETTINGS = {
    "s3": {
        "config_kwargs": {
            "connect_timeout": 10,
            "read_timeout": 60,
            "retries": {"max_attempts": 2, "mode": "standard"},
        }
    }
}


class ObjectStoreError(DataError):
    """The folder cannot be reached, or refuses."""


class Entry(NamedTuple):
    """An object: its size in bytes, and a text that is another one for other contents."""

    size: int
    version: str


class Folder:
    """The objects whose names begin with a URL.

    Raises:
        UsageError: The library for this kind of URL is not installed.
    """

    def __init__(self, url: str):
        self.url = url.rstrip("/")
        scheme = url.partition("://")[0]
        library = _LIBRARIES[scheme]
        try:
            import fsspec

            kind = fsspec.get_filesystem_class(scheme)
        except ImportError as error:
            raise UsageError(
                f"{self.url} needs the library {library}: pip install {library}"
            ) from error
        with self._errors("open"):
            self._system = kind(use_listings_cache=False, **_SETTINGS.get(scheme, {}))
        self._root = self._system._strip_protocol(self.url)

    def entries(self) -> dict[str, Entry]:
        """Returns name -> entry of every object below the folder, with `/` in the names."""
        with self._errors("list"):
            try:
                found = self._system.find(self._root, withdirs=False, detail=True)
            except FileNotFoundError:
                return {}
        start = len(self._root) + 1
        return {
            path[start:]: Entry(
                int(about["size"]), str(about.get("ETag") or about.get("etag") or "")
            )
            for path, about in found.items()
            if path[start:] and about.get("type") != "directory"
        }

    def read(self, name: str) -> bytes | None:
        """Returns a small object; None if there is none of that name."""
        with self._errors("read"):
            try:
                return self._system.cat_file(f"{self._root}/{name}")
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        """Writes a small object."""
        with self._errors("write"):
            self._system.pipe_file(f"{self._root}/{name}", content)

    def upload(self, path: Path, name: str) -> None:
        """Writes a file as an object, which appears whole or not at all."""
        with self._errors("write"):
            self._system.put_file(str(path), f"{self._root}/{name}")

    def download(self, name: str, path: Path) -> None:
        """Writes an object as a file, which appears whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = files.partial_of(path)
        try:
            with self._errors("read"):
                self._system.get_file(f"{self._root}/{name}", str(partial))
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def download_all(self, names: Collection[str], directory: Path) -> None:
        """Downloads objects to the same names below a directory, several at a time."""
        with ThreadPoolExecutor(_NUM_TRANSFERS) as pool:
            tasks = [pool.submit(self.download, name, directory / name) for name in names]
            try:
                for task in tasks:
                    task.result()
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def remove(self, names: Collection[str]) -> None:
        """Deletes objects; those that do not exist are passed over."""
        for name in names:
            with self._errors("delete"), contextlib.suppress(FileNotFoundError):
                self._system.rm_file(f"{self._root}/{name}")

    @contextlib.contextmanager
    def _errors(self, action: str) -> Iterator[None]:
        """Turns what the libraries raise, of a dozen kinds, into one line."""
        try:
            yield
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _LOCAL_ERRORS:
                raise
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ObjectStoreError(f"cannot {action} {self.url}: {reason}") from error
