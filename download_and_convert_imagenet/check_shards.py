"""Compares converted shards with their manifest, without reading their records.

    python -m download_and_convert_imagenet.check_shards DIR

Compares sizes and SHA-256 of all files, and prints a line for every difference. It needs only
Python, for machines that data was copied to. `python -m preprocessing.verify` checks the records.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common import commands, paths
from common.errors import DataError
from common.files import sha256_of
from download_and_convert_imagenet.records.manifest import (
    FILE_NAME,
    Manifest,
    Shard,
    read_manifest,
    split_of,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Checks the directory on the command line. Returns 0 if the shards are intact, else 3."""
    options = _parser().parse_args(arguments)
    return commands.run(
        lambda: _check(options), interrupted="interrupted: not all shards were checked"
    )


def _check(options: argparse.Namespace) -> int:
    manifest = read_manifest(options.data_dir)
    if manifest is None:
        where = options.data_dir / FILE_NAME
        raise DataError(f"{where} is missing: no conversion was finished here")
    num_problems = 0
    try:
        for problem in shard_problems(options.data_dir, manifest, options.num_threads):
            num_problems += 1
            commands.write_line(problem)
        commands.write_line(_summary(manifest, num_problems))
    except BrokenPipeError:  # `| head` has seen enough
        commands.discard_stdout()
    return DataError.exit_code if num_problems else 0


def shard_problems(directory: Path, manifest: Manifest, num_threads: int) -> Iterator[str]:
    """Yields a line for every shard that differs from the manifest or is not in it.

    A caller that stops early does not wait for the remaining files.
    """
    stopped = threading.Event()
    shards = [shard for split in manifest.splits.values() for shard in split]
    with ThreadPoolExecutor(num_threads) as threads:
        try:
            for problem in threads.map(lambda shard: _problem(directory, shard, stopped), shards):
                if problem is not None:
                    yield problem
        finally:
            stopped.set()
    yield from _unlisted(directory, manifest, {shard.file for shard in shards})


def _unlisted(directory: Path, manifest: Manifest, known: Container[str]) -> Iterator[str]:
    """Yields a line for every surplus shard of a known split, and for every unknown split."""
    others: Counter[str] = Counter()
    for path in sorted(directory.iterdir()):
        split = split_of(path.name)
        if split is None or path.name in known:
            continue
        if split in manifest.splits:
            yield f"{path}: is not in the manifest"
        else:
            others[split] += 1
    for split, count in others.items():
        yield f"{directory}: {split} is not in the manifest, but {count:,} of its shards are here"


def _problem(directory: Path, shard: Shard, stopped: threading.Event) -> str | None:
    path = directory / shard.file
    try:
        num_bytes = path.stat().st_size
        if num_bytes != shard.num_bytes:
            return f"{path}: has {num_bytes:,} bytes, the manifest says {shard.num_bytes:,}"
        sha256 = sha256_of(path, stopped.is_set)
    except FileNotFoundError:
        return f"{path}: is missing"
    except OSError as error:
        return f"{path}: {error.strerror}"
    if sha256 != shard.sha256:
        return f"{path}: has the right size, but another content"
    return None


def _summary(manifest: Manifest, num_problems: int) -> str:
    splits = ", ".join(
        f"{split} {len(shards):,} shards with {manifest.num_examples(split):,} examples"
        for split, shards in manifest.splits.items()
    )
    return f"{manifest.name}: {splits}: " + (
        f"problems: {num_problems}" if num_problems else "as the manifest says"
    )


def _parser() -> argparse.ArgumentParser:
    parser = commands.OneLineParser(
        "check_shards",
        description="Compares converted shards with their manifest.json: sizes and SHA-256.",
        epilog="Exit codes: 0 intact, 2 wrong options, 3 missing or damaged files.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "data_dir", metavar="DIR", type=paths.argument, help="directory of the shards"
    )
    parser.add_argument(
        "--num_threads",
        type=commands.at_least(1),
        default=min(8, os.cpu_count() or 1),
        help="files to read at the same time",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
