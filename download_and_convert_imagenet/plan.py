"""Plans which image goes to which shard, by the names of the images alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from common.errors import DataError
from download_and_convert_imagenet.records.manifest import shard_name
from download_and_convert_imagenet.records.shard_writer import shard_ranges
from download_and_convert_imagenet.sources.image_source import ImageSource, SourceImage

# Part of every fingerprint. Increase one when the bytes of such records change.
_FORMAT, _UPRIGHT_FORMAT = 1, 2


@dataclass(frozen=True)
class ShardTask:
    """One shard to write.

    Attributes:
        fingerprint: changes whenever the shard's bytes may change.
    """

    split: str
    index: int
    num_shards: int
    images: tuple[SourceImage, ...]
    keep_png: bool
    upright: bool
    fingerprint: str

    @property
    def file(self) -> str:
        """The file name of the shard."""
        return shard_name(self.split, self.index, self.num_shards)

    @property
    def num_source_bytes(self) -> int:
        """Bytes of its images before conversion."""
        return sum(image.location.num_bytes for image in self.images)


def plan_conversion(source: ImageSource, num_shards: Mapping[str, int]) -> list[ShardTask]:
    """Returns the shards of all splits in the order of writing.

    Images are shuffled within their split, so that every shard has a mixture of the classes, and
    divided into ranges whose sizes differ by one at most.

    Raises:
        DataError: a split has fewer images than shards; a shard must not be empty.
    """
    tasks = []
    for split, images in source.splits.items():
        count = num_shards[split]
        if len(images) < count:
            raise DataError(
                f"{len(images)} {split} images cannot fill {count} shards: "
                f"set --{split}_shards to {max(1, len(images))} or fewer"
            )
        shuffled = sorted(images, key=_shuffle_key)
        for index, numbers in enumerate(shard_ranges(len(shuffled), count)):
            chosen = tuple(shuffled[number] for number in numbers)
            options = source.keep_png, source.upright
            fingerprint = _fingerprint(chosen, *options)
            tasks.append(ShardTask(split, index, count, chosen, *options, fingerprint))
    return tasks


def _shuffle_key(image: SourceImage) -> bytes:
    """Returns a hash of the name, which is the same in every version of Python."""
    return hashlib.sha256(
        f"{image.synset}/{image.name}".encode("utf-8", "surrogateescape")
    ).digest()


def _fingerprint(images: Sequence[SourceImage], keep_png: bool, upright: bool) -> str:
    version = _UPRIGHT_FORMAT if upright else _FORMAT
    digest = hashlib.sha256(f"{version} {keep_png}\n".encode())
    for image in images:
        described = (
            f"{image.name}\0{image.label}\0{image.synset}\0{image.text}\0{image.boxes}\0"
            f"{image.location.fingerprint}\n"
        )
        if image.labels is not None:
            described += f"{image.labels}\n"
        digest.update(described.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
