"""Fetching the files of data sets that need no account.

A download that breaks off goes on where it stopped, also in a later run: what has arrived stays in
".NAME.partial" beside the place of the file, which appears only with the right checksum.

The files that data sets come in: where they are, how large, and with which checksum.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common.files import naming
from download_and_convert_imagenet.sources.image_source import SourceError

_CHUNK_BYTES = 1 << 20
_TIMEOUT_SECS = 60.0
_NUM_ATTEMPTS = 5  # in a row without a single byte
_FIRST_PAUSE_SECS = 1.0
_PARTIAL_CONTENT, _RANGE_NOT_SATISFIABLE, _SERVER_ERRORS = 206, 416, 500

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there and the bytes of the whole file, None when not known."""


class DownloadError(SourceError):
    """A file that could not be fetched; the message names it and says what to do."""


def download(
    file: RemoteFile,
    directory: Path,
    *,
    progress: Progress | None = None,
    first_pause_secs: float = _FIRST_PAUSE_SECS,
) -> Path:
    """Fetch a file into a directory, unless it is there; returns its path.

    After a broken connection it waits, twice as long each time, and asks for the rest only.

    Raises:
        DownloadError: the file needs an account, the server refuses it or cannot be reached, or
            what came has another checksum.
        OSError: the directory cannot be written, or the disk is full.
    """
    path = directory / file.name
    if path.exists():
        return path
    if file.needs_account:
        raise DownloadError(missing_file_message(file, directory))
    directory.mkdir(parents=True, exist_ok=True)
    partial = directory / f".{file.name}.partial"
    try:
        _fetch_all(file, partial, progress, first_pause_secs)
    except (_Interrupted, urllib.error.HTTPError) as error:
        raise DownloadError(
            f"{file.url} could not be downloaded ({_reason(error)}): run again to go on with it, "
            f"or put {file.name} (MD5 {file.md5}) into {directory} yourself"
        ) from error
    _check_md5(file, partial)
    partial.replace(path)
    return path


class _Interrupted(Exception):
    """A connection that was not made or did not last."""


def _fetch_all(
    file: RemoteFile, partial: Path, progress: Progress | None, first_pause_secs: float
) -> None:
    """Ask for the rest until it is there, or until the server has given nothing for some time."""
    num_failures, pause_secs = 0, first_pause_secs
    while True:
        num_before = _num_bytes(partial)
        try:
            return _fetch_rest(file, partial, progress)
        except (_Interrupted, urllib.error.HTTPError) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code < _SERVER_ERRORS:
                raise
            if _num_bytes(partial) > num_before:
                num_failures, pause_secs = 0, first_pause_secs
            num_failures += 1
            if num_failures == _NUM_ATTEMPTS:
                raise
        time.sleep(pause_secs)
        pause_secs *= 2


def _fetch_rest(file: RemoteFile, partial: Path, progress: Progress | None) -> None:
    """Ask once for what is not there yet and append it, or start anew if the server insists."""
    num_present = _num_bytes(partial)
    request = urllib.request.Request(file.url)
    if num_present:
        request.add_header("Range", f"bytes={num_present}-")
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_SECS)
    except urllib.error.HTTPError as error:
        if error.code == _RANGE_NOT_SATISFIABLE and num_present:
            return  # there is nothing after what is present: its checksum will tell
        raise
    except (OSError, http.client.HTTPException) as error:
        raise _Interrupted(str(getattr(error, "reason", error))) from error
    with response:
        is_rest = response.status == _PARTIAL_CONTENT
        if is_rest and not response.headers.get("Content-Range", "").startswith(
            f"bytes {num_present}-"
        ):
            raise _Interrupted("the server sent another part than asked for")
        num_present = num_present if is_rest else 0
        length = response.headers.get("Content-Length")
        total = num_present + int(length) if length else None
        with naming(partial), partial.open("ab" if is_rest else "wb") as output:
            while chunk := _read(response):
                output.write(chunk)
                num_present += len(chunk)
                if progress is not None:
                    progress(num_present, total)
    if total is not None and num_present < total:
        raise _Interrupted(f"the connection ended after {num_present:,} of {total:,} bytes")


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(_CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _Interrupted(str(error) or type(error).__name__) from error


def _check_md5(file: RemoteFile, partial: Path) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    with naming(partial), partial.open("rb") as content:
        while chunk := content.read(_CHUNK_BYTES):
            digest.update(chunk)
    if digest.hexdigest() != file.md5:
        num_bytes = _num_bytes(partial)
        partial.unlink()
        raise DownloadError(
            f"{file.url} gave {num_bytes:,} bytes with MD5 {digest.hexdigest()} instead of "
            f"{file.md5}: it was thrown away; run again, or get {file.name} from elsewhere"
        )


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    return str(error)


def _num_bytes(path: Path) -> int:
    return os.path.getsize(path) if path.exists() else 0


@dataclass(frozen=True)
class RemoteFile:
    """A published file.

    Attributes:
        url: of the file itself, or of the page to log in to when `needs_account`.
        title: what that page calls it.
        num_bytes: None when not published.
    """

    name: str
    title: str
    url: str
    md5: str
    num_bytes: int | None = None
    needs_account: bool = False


IMAGENET_TRAIN = RemoteFile(
    name="ILSVRC2012_img_train.tar",
    title="Training images (Task 1 & 2)",
    url="https://image-net.org/challenges/LSVRC/2012/2012-downloads.php",
    md5="1d675b47d978889d74fa0da5fadfb00e",
    num_bytes=147_897_477_120,
    needs_account=True,
)
IMAGENET_VALIDATION = RemoteFile(
    name="ILSVRC2012_img_val.tar",
    title="Validation images (all tasks)",
    url="https://image-net.org/challenges/LSVRC/2012/2012-downloads.php",
    md5="29b22e2961454d5413ddabcf34fc5622",
    num_bytes=6_744_924_160,
    needs_account=True,
)
IMAGENET_BOXES = RemoteFile(
    name="ILSVRC2012_bbox_train_v2.tar.gz",
    title="Training bounding box annotations (Task 1 & 2 only)",
    url="https://image-net.org/data/ILSVRC/2012/ILSVRC2012_bbox_train_v2.tar.gz",
    md5="9271167e2176350e65cfe4e546f14b17",
)
CIFAR10_PYTHON = RemoteFile(
    name="cifar-10-python.tar.gz",
    title="CIFAR-10 python version",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    md5="c58f30108f718f92721af3b95e74349a",
    num_bytes=170_498_071,
)


def missing_file_message(file: RemoteFile, directory: Path) -> str:
    """One line: which file is not in `directory`, where it is to be had, how to know it."""
    size = f"{file.num_bytes:,} bytes, " if file.num_bytes else ""
    place = f"log in at {file.url} and" if file.needs_account else f"from {file.url},"
    return (
        f"{directory / file.name} is missing: {place} download '{file.title}' ({size}MD5 "
        f"{file.md5}) to {directory}"
    )
