"""The story of the command: find the images, convert them, print a summary."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from common.errors import DataError
from download_and_convert_imagenet.conversion import ConversionResult, convert
from download_and_convert_imagenet.data_directory import locked
from download_and_convert_imagenet.journal import (
    CORRUPT_IMAGES_FILE,
    LEFT_OUT_FILE,
    REENCODED_IMAGES_FILE,
    FinishedShard,
    ImageNote,
    write_left_out,
)
from download_and_convert_imagenet.progress import ConversionProgress
from download_and_convert_imagenet.records.manifest import read_manifest
from download_and_convert_imagenet.sources import cifar10
from download_and_convert_imagenet.sources.class_folders import folder_source
from download_and_convert_imagenet.sources.downloads import CIFAR10_PYTHON, download
from download_and_convert_imagenet.sources.folders.csv_labels import csv_source
from download_and_convert_imagenet.sources.folders.tree import counted
from download_and_convert_imagenet.sources.image_source import (
    IMAGENET_IMAGES,
    IMAGENET_SHARDS,
    NO_BOXES,
    TRAIN,
    VALIDATION,
    ImageSource,
)
from download_and_convert_imagenet.sources.imagenet import ImagenetInput

_RAW_DATA_DIR = "raw-data"  # in the data directory; for downloads and decompressed archives
_BYTES_PER_SHARD = 100e6
_FEWEST_SHARDS = {TRAIN: 8, VALIDATION: 2}  # of the others 1
_MOST_SHARDS = 128


def run(options: argparse.Namespace) -> int:
    """Converts and returns the exit code.

    Raises:
        DataError: the images, the directory or the conversion fails; the message is one line.
    """
    try:
        return _run(options)
    except BrokenPipeError:  # stdout's, not a file's
        raise
    except OSError as error:
        line = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        raise DataError(line) from error


def _run(options: argparse.Namespace) -> int:
    data_dir: Path = options.data_dir
    source: ImageSource | None = None
    if options.source in ("folder", "csv") or _is_mistyped(options):
        with ConversionProgress() as progress:  # reports what is missing, and creates nothing
            source = _source(options, progress)
    # Downloads and decompressed archives go there as well: the lock covers them.
    with locked(data_dir), ConversionProgress() as progress:
        source = source or _source(options, progress)
        for note in source.notes:
            progress.log(note)
        _report_missing_images(source, progress)
        num_shards = {
            split: getattr(options, f"{split}_shards") or default_shards(source, split)
            for split in source.splits
        }
        result = convert(
            source,
            data_dir,
            num_shards,
            num_processes=options.num_processes,
            max_corrupt_images=options.max_corrupt_images,
            progress=progress,
        )
    write_left_out(data_dir, source.left_out)
    _print_summary(source, result, options)
    if result.is_accepted:
        return 0
    num_corrupt = sum(len(shard.corrupt) for shard in result.shards)
    print(
        f"error: {_count(num_corrupt, 'image')} cannot be decoded, see "
        f"{data_dir / CORRUPT_IMAGES_FILE}: get them again and repeat the command, or "
        f"continue without them: --max_corrupt_images={num_corrupt}",
        file=sys.stderr,
    )
    return DataError.exit_code


def _is_mistyped(options: argparse.Namespace) -> bool:
    """Returns whether no directory with images exists; CIFAR-10 would be downloaded."""
    directories = (options.raw_dir or options.data_dir, options.data_dir)
    return options.source != "cifar10" and not any(path.exists() for path in directories)


def _source(options: argparse.Namespace, progress: ConversionProgress) -> ImageSource:
    splits = (options.split,) if options.split else (TRAIN, VALIDATION)
    raw_dir = options.raw_dir or options.data_dir
    scratch_dir = options.data_dir / _RAW_DATA_DIR
    if options.source == "imagenet":
        found = ImagenetInput(
            directories=(raw_dir, scratch_dir),
            scratch_dir=scratch_dir,
            data_dir=options.data_dir,
            log=progress.log,
            progress=progress.download,
        )
        with_boxes = options.bounding_boxes != Path(NO_BOXES)
        path = options.bounding_boxes if with_boxes else None
        return found.read(splits, path, with_boxes=with_boxes)
    if options.source == "cifar10":
        source = _cifar10(raw_dir, scratch_dir, progress)
    elif options.source == "csv":
        source = csv_source(
            raw_dir, options.labels, options.validation_fraction, output=options.data_dir
        )
    else:
        source = folder_source(
            raw_dir, options.validation_fraction, split=options.split, output=options.data_dir
        )
        _check_hold_out(source, options)
        source = replace(source, notes=(*source.notes, *_note_on_place(raw_dir, options.data_dir)))
    chosen = {split: source.splits[split] for split in splits if split in source.splits}
    if options.split and not chosen:
        raise DataError(f"{raw_dir} has no {options.split} images")
    return replace(source, splits=chosen)


def _note_on_place(raw_dir: Path, data_dir: Path) -> list[str]:
    """Says that the shards go among the photos, where they are easily moved or deleted."""
    if not data_dir.resolve().is_relative_to(raw_dir.resolve()):
        return []
    return [
        f"warning: {data_dir} lies in {raw_dir}, the folder of the images: the shards are not read "
        "as images, but a directory of their own keeps both safe"
    ]


def _check_hold_out(source: ImageSource, options: argparse.Namespace) -> None:
    """Refuses a second split that would share images with the one that is converted already.

    Raises:
        DataError: it would; or the manifest cannot be read.
    """
    manifest = read_manifest(options.data_dir) if source.is_held_out and options.split else None
    if manifest is None or manifest.class_names != source.class_names:
        return
    total = sum(map(len, source.splits.values()))
    for split in manifest.splits.keys() - {options.split}:
        there, here = manifest.num_examples(split), len(source.splits.get(options.split, ()))
        if there + here > total:
            raise DataError(
                f"{options.data_dir} holds {there:,} {split} images of the {total:,} in "
                f"{options.raw_dir}; of {here:,} {options.split} images some would be the same: "
                f"give the --validation_fraction of the {split} split, or choose another directory"
            )


def _cifar10(raw_dir: Path, scratch_dir: Path, progress: ConversionProgress) -> ImageSource:
    """Finds CIFAR-10, or downloads it."""
    names = (*cifar10.ARCHIVES, *cifar10.FOLDERS)
    for directory in (raw_dir, scratch_dir):
        if directory.name in names or any((directory / name).exists() for name in names):
            return cifar10.cifar10_source(directory)
    progress.log(f"downloading {CIFAR10_PYTHON.url}")
    path = download(CIFAR10_PYTHON, scratch_dir, progress=progress.download)
    return cifar10.cifar10_source(path)


def _report_missing_images(source: ImageSource, progress: ConversionProgress) -> None:
    """Logs the splits of ImageNet that do not have as many images as the original."""
    if source.name != "imagenet":
        return
    for split, images in source.splits.items():
        if len(images) != IMAGENET_IMAGES[split]:
            progress.log(
                f"{len(images):,} {split} images are here, ImageNet has {IMAGENET_IMAGES[split]:,}"
            )


def default_shards(source: ImageSource, split: str) -> int:
    """Returns the number of shards of a split: ImageNet's, or about one for 100 MB."""
    if source.name == "imagenet":
        return IMAGENET_SHARDS[split]
    images = source.splits[split]
    num_bytes = sum(image.location.num_bytes for image in images)
    by_size = min(round(num_bytes / _BYTES_PER_SHARD), IMAGENET_SHARDS.get(split, _MOST_SHARDS))
    return min(max(by_size, _FEWEST_SHARDS.get(split, 1)), len(images))


def _print_summary(
    source: ImageSource, result: ConversionResult, options: argparse.Namespace
) -> None:
    for split in source.splits:
        print(_split_line(split, [shard for shard in result.shards if shard.split == split]))
    reencoded = [note for shard in result.shards for note in shard.repaired]
    corrupt = sum(len(shard.corrupt) for shard in result.shards)
    if reencoded:
        print(_reencoded_line(reencoded, options.data_dir / REENCODED_IMAGES_FILE))
    if corrupt:
        print(f"left out: {_count(corrupt, 'image')} ({options.data_dir / CORRUPT_IMAGES_FILE})")
    if source.left_out:
        reasons: Counter[str] = Counter()
        for _, reason, number in source.left_out:
            reasons[reason] += number
        print(f"not used: {counted(reasons)} ({options.data_dir / LEFT_OUT_FILE})")
    if result.num_images_now:
        speed = result.num_images_now / result.seconds
        print(
            f"{_count(result.num_images_now, 'image file')} read in {result.seconds:,.1f} s: "
            f"{speed:,.0f} images/s with {_count(options.num_processes, 'process', 'es')}"
        )
    if result.is_accepted:
        verb = "is" if len(source.splits) == 1 else "are"
        print(f"{options.data_dir}: {' and '.join(source.splits)} {verb} complete")


def _split_line(split: str, shards: Sequence[FinishedShard]) -> str:
    num_images = sum(entry.shard.num_examples for entry in shards)
    num_bytes = sum(entry.shard.num_bytes for entry in shards)
    boxes = sum(entry.num_boxes for entry in shards)
    return (
        f"{split}: {_count(len(shards), 'shard')}, {_count(num_images, 'image')}, "
        f"{_count(boxes, 'bounding box', 'es')}, {num_bytes:,} bytes"
    )


def _reencoded_line(notes: Sequence[ImageNote], path: Path) -> str:
    """Returns how many images were encoded again, and the reasons: "turned JPEG" and others."""
    reasons = Counter(note.text.partition(" shrunk ")[0].split(" encoded ")[0] for note in notes)
    shrunk = sum(" shrunk " in note.text for note in notes)
    more = f"; {shrunk:,} shrunk" if shrunk else ""
    return f"encoded again: {_count(len(notes), 'image')} ({counted(reasons)}{more}; {path})"


def _count(number: int, noun: str, plural: str = "s") -> str:
    return f"{number:,} {noun}{'' if number == 1 else plural}"
