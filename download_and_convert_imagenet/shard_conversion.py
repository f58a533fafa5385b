"""From the images of one shard to the shard: read, checked, repaired where needed, written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from download_and_convert_imagenet.conversion_journal import FinishedShard, ImageNote
from download_and_convert_imagenet.conversion_plan import ShardTask
from download_and_convert_imagenet.image_repair import (
    CorruptImageError,
    PreparedImage,
    prepare_image,
)
from download_and_convert_imagenet.image_source import SourceImage
from download_and_convert_imagenet.shard_writer import write_shard
from download_and_convert_imagenet.tf_example import LabelledImage, encode_image

ImageReport = Callable[[int], None]
"""Called after every image with the number of bytes that were read for it."""


def convert_shard(task: ShardTask, data_dir: Path, report: ImageReport) -> FinishedShard:
    """Write a shard; images that cannot be decoded are left out and noted.

    Raises:
        OSError: an image cannot be read at all, the directory cannot be written, the disk is full.
    """
    repaired: list[ImageNote] = []
    corrupt: list[ImageNote] = []
    num_boxes = 0

    def examples() -> Iterator[bytes]:
        nonlocal num_boxes
        for image in task.images:
            encoded = image.location.read()
            try:
                prepared = prepare_image(encoded, keep_png=task.keep_png)
            except CorruptImageError as error:
                corrupt.append(ImageNote(image.name, str(error)))
            else:
                if prepared.repair:
                    note = f"{prepared.repair} encoded anew as {prepared.image_format}"
                    repaired.append(ImageNote(image.name, note))
                num_boxes += len(image.boxes)
                yield _encode(image, prepared)
            report(len(encoded))

    shard = write_shard(data_dir, task.split, task.index, task.num_shards, examples())
    return FinishedShard(
        split=task.split,
        shard=shard,
        fingerprint=task.fingerprint,
        num_boxes=num_boxes,
        repaired=tuple(repaired),
        corrupt=tuple(corrupt),
    )


def _encode(image: SourceImage, prepared: PreparedImage) -> bytes:
    return encode_image(
        LabelledImage(
            encoded=prepared.encoded,
            height=prepared.height,
            width=prepared.width,
            label=image.label,
            filename=image.name,
            synset=image.synset,
            text=image.text,
            boxes=image.boxes,
            image_format=prepared.image_format,
        )
    )
