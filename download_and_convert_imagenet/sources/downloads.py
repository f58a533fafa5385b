"""Downloads of the files of data sets that need no account, and where the others are.

A file appears under its name only when it is complete and has the published checksum.
"""

from __future__ import annotations

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common.errors import DataError
from common.files import atomic_file

_CHUNK_BYTES = 1 << 20
_TIMEOUT_SECS = 60.0
_NUM_ATTEMPTS = 5
_FIRST_PAUSE_SECS = 1.0

Progress = Callable[[int, int | None], None]
"""Called with the bytes that have arrived and the bytes of the whole file, None if unknown."""


def download(
    file: RemoteFile,
    directory: Path,
    *,
    progress: Progress | None = None,
    first_pause_secs: float = _FIRST_PAUSE_SECS,
) -> Path:
    """Downloads a file into a directory, unless it is there, and returns its path.

    After a broken connection or an error of the server it starts again, waiting twice as long each
    time. The file is kept in memory (170 MB at most) until it is complete.

    Raises:
        DataError: the file needs an account, the server refuses it or cannot be reached, or the
            content has another checksum.
        OSError: the directory cannot be written, or the disk is full.
    """
    path = directory / file.name
    if path.exists():
        return path
    if file.needs_account:
        raise DataError(missing_file_message(file, directory))
    directory.mkdir(parents=True, exist_ok=True)
    content = _fetch(file, directory, progress, first_pause_secs)
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if md5 != file.md5:
        raise DataError(
            f"{file.url} gave {len(content):,} bytes with MD5 {md5} instead of {file.md5}: run "
            f"again, or get {file.name} from elsewhere"
        )
    with atomic_file(path) as output:
        output.write(content)
    return path


def _fetch(
    file: RemoteFile, directory: Path, progress: Progress | None, pause_secs: float
) -> bytes:
    num_failures = 0
    while True:
        try:
            return _fetch_once(file.url, progress)
        except BrokenPipeError:  # the reader of the progress has gone
            raise
        except (OSError, http.client.HTTPException) as error:
            num_failures += 1
            is_refused = isinstance(error, urllib.error.HTTPError) and error.code < 500
            if is_refused or num_failures == _NUM_ATTEMPTS:
                reason = str(error).strip("<>") or type(error).__name__
                raise DataError(
                    f"{file.url} could not be downloaded ({reason}): run again, or put "
                    f"{file.name} (MD5 {file.md5}) into {directory} yourself"
                ) from error
        time.sleep(pause_secs)
        pause_secs *= 2


def _fetch_once(url: str, progress: Progress | None) -> bytes:
    with urllib.request.urlopen(url, timeout=_TIMEOUT_SECS) as response:
        length = response.headers.get("Content-Length")
        total = int(length) if length else None
        content = bytearray()
        while chunk := response.read(_CHUNK_BYTES):
            content += chunk
            if progress is not None:
                progress(len(content), total)
    if total is not None and len(content) < total:
        raise OSError(f"the connection ended after {len(content):,} of {total:,} bytes")
    return bytes(content)


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
    """Returns one line: which file is missing in `directory`, where to get it, its checksum."""
    size = f"{file.num_bytes:,} bytes, " if file.num_bytes else ""
    place = f"log in at {file.url} and" if file.needs_account else f"from {file.url},"
    return (
        f"{directory / file.name} is missing: {place} download '{file.title}' ({size}MD5 "
        f"{file.md5}) to {directory}"
    )
