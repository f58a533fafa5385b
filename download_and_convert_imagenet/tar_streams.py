"""The files in a tar archive, compressed or not, read once from front to back.

tarfile takes a damaged header for the end of an archive and, in a stream, checks no checksum of
gzip's: a part of an archive would look like a whole one.
"""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

from download_and_convert_imagenet.file_errors import naming
from download_and_convert_imagenet.image_source import SourceError
from download_and_convert_imagenet.tar_index import incomplete, members_of

_GZIP_SIGNATURE = b"\x1f\x8b"
_CHUNK_BYTES = 1 << 20


def tar_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of every regular file in a .tar or .tar.gz, in the order of the archive.

    What was read is known to be right at the end only, when the checksum of the whole is.

    Raises:
        SourceError: it is no tar archive, it is incomplete or damaged.
        OSError: it cannot be read.
    """
    with naming(path), path.open("rb") as file:
        is_compressed = file.read(len(_GZIP_SIGNATURE)) == _GZIP_SIGNATURE
    end = sys.maxsize if is_compressed else path.stat().st_size
    try:
        with naming(path), gzip.open(path) if is_compressed else path.open("rb") as file:

            def read_at(num_bytes: int, position: int) -> bytes:
                file.seek(position)
                return file.read(num_bytes)

            for name, offset, num_bytes in members_of(read_at, str(path), end=end):
                content = read_at(num_bytes, offset)
                if len(content) < num_bytes:
                    raise incomplete(str(path), offset + len(content), offset + num_bytes)
                yield name, content
            while file.read(_CHUNK_BYTES):
                pass
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise SourceError(f"{path} is incomplete or damaged ({error}): download it again") from None
