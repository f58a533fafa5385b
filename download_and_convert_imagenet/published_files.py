"""The files that data sets come in: where they are, how large, and with which checksum."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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
