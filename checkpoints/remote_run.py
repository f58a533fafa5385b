"""A run whose directory is on S3 or Google Cloud Storage: trained in a local copy, uploaded.

The copy is an ordinary run directory. A thread uploads what is new in it: after each checkpoint,
and the logs once a minute. Training does not wait for it, and an endpoint that does not answer does
not stop training. Of a checkpoint the index is uploaded last, since one without it counts as
absent; the file that names the newest checkpoint follows. When the run begins again, the newest
complete checkpoint is downloaded, unless the copy of this machine is ahead.

Who began last owns the folder: `.owner` holds a random word of that start. A process that finds
another word has lost the folder to another machine, and stops.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from checkpoints import commit
from checkpoints.object_store import Folder, ObjectStoreError
from common.errors import DataError

_OWNER = ".owner"
_UPLOADING = ".uploading"
_CHECKPOINT = re.compile(r"(?P<prefix>(.*/)?model\.ckpt-(?P<step>\d+))\.(data-.*|json|index)")
_STATE = "checkpoint"
_POLL_SECS = 1.0
_LOG_SECS = 60.0
_RETRY_SECS = 30.0
_FINAL_ATTEMPTS = 3


@contextlib.contextmanager
def opened(
    url: str,
    copy: Path,
    *,
    keep: int,
    say: Callable[[str], object],
    stop: Callable[[str], object],
) -> Iterator[Path]:
    """Yields the local copy of the run at `url`, and keeps `url` up to date until the block ends.

    Args:
        copy: The directory of the copy.
        keep: How many of the newest checkpoints stay at `url`.
        say: Called with lines about what happens, from another thread, too.
        stop: Called with the reason if another process has taken over the run.

    Raises:
        ObjectStoreError: `url` cannot be read at the start, or lacks something at the end.
    """
    mirror = _Mirror(Folder(url), copy, keep)
    mirror.begin(say)
    uploads = _Uploads(mirror, say, stop)
    try:
        yield copy
    except BaseException:
        try:
            uploads.finish()
        except ObjectStoreError as error:
            say(f"Warning: {error}")  # the other error is the one that counts
        raise
    uploads.finish()


def download(url: str, copy: Path) -> Path:
    """Downloads the newest complete checkpoint of a run, or the one that `url` is the prefix of.

    Returns:
        The directory, or the prefix, in `copy`.

    Raises:
        DataError: There is none.
    """
    parent, _, name = url.rstrip("/").rpartition("/")
    folder, step = Folder(url), None
    found = folder.entries()
    if not found and (match := _CHECKPOINT.fullmatch(f"{name}.index")):
        folder, step, copy = Folder(parent), int(match["step"]), copy.parent
        found = folder.entries()
    steps = _steps(found)
    if not steps or (step is not None and step not in steps):
        raise DataError(f"{url} holds no complete checkpoint")
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(copy)
    copy.mkdir(parents=True)
    _download_checkpoint(folder, copy, [step] if step is not None else steps)
    folder.download_all([n for n in found if "/" not in n and _is_small(n)], copy)
    return copy if step is None else copy / name


class _Mirror:
    """What is at the URL, and what is in the copy. Not for two threads at a time."""

    def __init__(self, folder: Folder, copy: Path, keep: int):
        self.folder = folder
        self.copy = copy
        self._keep = keep
        self._word = secrets.token_hex(8)
        self._sent: dict[str, tuple[int, int]] = {}
        self._there: set[str] = set()

    def begin(self, say: Callable[[str], object]) -> None:
        """Makes the copy hold the newest complete checkpoint, and takes the folder over."""
        found = self.folder.entries()
        owner = (self.folder.read(_OWNER) or b"").decode() if found else ""
        own = self.copy / _OWNER
        words = own.read_text().split() if own.exists() else []
        if owner not in words and self.copy.exists() and any(self.copy.iterdir()):
            aside = self.copy.with_name(f"{self.copy.name}.{int(time.time())}")
            self.copy.rename(aside)
            say(f"{self.folder.url} has changed: the earlier copy is now {aside}")
        self.copy.mkdir(parents=True, exist_ok=True)
        commit.finish_interrupted(self.copy)
        shutil.rmtree(self.copy / _UPLOADING, ignore_errors=True)
        here, there = _steps(_files(self.copy)), _steps(found)
        self._there = set(found)
        if there and (not here or there[0] > here[0]):
            _download_checkpoint(self.folder, self.copy, there)
            others = [name for name in found if _is_small(name) or name.startswith("best/")]
            self.folder.download_all(others, self.copy)
        # The local file first: a crash in between must not make the copy look like another run's.
        own.write_text("\n".join([*words, self._word]))
        self.folder.write(_OWNER, self._word.encode())
        known = _files(self.copy)
        same = self._same_checkpoints(known)
        self._sent = {name: about for name, about in known.items() if name in same}

    def _same_checkpoints(self, known: dict[str, tuple[int, int]]) -> set[str]:
        """Returns the checkpoint files of the copy that are at the URL, by their checksums."""
        same = set()
        for name in known:
            match = _CHECKPOINT.fullmatch(name)
            checks = f"{match['prefix']}.json" if match else ""
            if not (name.endswith(".index") and checks in known and {name, checks} <= self._there):
                continue
            if self.folder.read(checks) == (self.copy / checks).read_bytes():
                prefix = name.removesuffix(".index") + "."
                same |= {n for n in known if n.startswith(prefix) and n in self._there}
        return same

    def has_new_checkpoint(self) -> bool:
        """Returns whether the copy has a checkpoint, or a best one, that was not uploaded."""
        names = _files(self.copy)
        return any(n.endswith(".index") and self._sent.get(n) != names[n] for n in names)

    def push(self) -> int | None:
        """Uploads all that is new; returns the newest step at the URL.

        Raises:
            ObjectStoreError: Something could not be uploaded; what is there is still complete.
            LostError: Another process owns the folder.
        """
        owner = self.folder.read(_OWNER)
        if owner is not None and owner.decode() != self._word:
            raise LostError(f"another process trains in {self.folder.url} since")
        if owner is None:  # somebody deleted the folder: upload all of it again
            self._sent.clear()
            self._there.clear()
            self.folder.write(_OWNER, self._word.encode())
        snapshot = self.copy / _UPLOADING
        shutil.rmtree(snapshot, ignore_errors=True)
        snapshot.mkdir()
        try:
            self._upload(_files(self.copy), snapshot)
        finally:
            shutil.rmtree(snapshot, ignore_errors=True)
        self._remove_surplus()
        steps = _steps(self._there)
        return steps[0] if steps else None

    def _upload(self, names: dict[str, tuple[int, int]], snapshot: Path) -> None:
        complete = {n.removesuffix(".index") for n in names if n.endswith(".index")}
        new = []
        for name, about in names.items():
            match = _CHECKPOINT.fullmatch(name)
            if self._sent.get(name) == about or (match and match["prefix"] not in complete):
                continue
            source = self.copy / name
            if match:  # the training may delete it meanwhile
                source = snapshot / name
                source.parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.link(self.copy / name, source)
                except FileNotFoundError:
                    return  # deleted just now: the next call sees all of it
                except OSError:
                    shutil.copyfile(self.copy / name, source)
            new.append((_rank(name), name, source, about))
        replaced = [n for _, n, _, _ in new if n.endswith(".index") and n in self._there]
        self.folder.remove(replaced)
        for _, name, source, about in sorted(new):
            self.folder.upload(source, name)
            self._sent[name] = about
            self._there.add(name)

    def _remove_surplus(self) -> None:
        """Deletes checkpoints beyond the number to keep, and earlier best ones; index first."""
        here = {m["prefix"] for n in _files(self.copy) if (m := _CHECKPOINT.fullmatch(n))}
        kept = {f"model.ckpt-{step}" for step in _steps(self._there)[: self._keep]}
        for name in sorted(self._there, key=_rank, reverse=True):
            match = _CHECKPOINT.fullmatch(name)
            if match is None or match["prefix"] in here | kept:
                continue
            self.folder.remove([name])
            self._there.discard(name)
            self._sent.pop(name, None)


class LostError(ObjectStoreError):
    """Another process owns the folder."""


class _Uploads:
    """The thread that uploads."""

    def __init__(
        self, mirror: _Mirror, say: Callable[[str], object], stop: Callable[[str], object]
    ):
        self._mirror, self._say, self._stop = mirror, say, stop
        self._ended = threading.Event()
        self._lost: LostError | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        is_failing, next_logs = False, time.monotonic() + _LOG_SECS
        while not self._ended.wait(_POLL_SECS):
            if not (self._mirror.has_new_checkpoint() or time.monotonic() >= next_logs):
                continue
            try:
                self._mirror.push()
                if is_failing:
                    self._say(f"{self._mirror.folder.url} is up to date again")
                is_failing, next_logs = False, time.monotonic() + _LOG_SECS
            except LostError as error:
                self._lost = error
                self._stop(str(error))
                return
            except (ObjectStoreError, OSError) as error:
                if not is_failing:
                    self._say(f"Warning: {error}; training continues, and it is tried again")
                is_failing = True
                self._ended.wait(_RETRY_SECS)

    def finish(self) -> None:
        """Uploads the rest; raises ObjectStoreError if that is not possible."""
        self._ended.set()
        self._thread.join()
        if self._lost is not None:
            raise self._lost
        if sys.is_finalizing():
            return
        for attempt in range(_FINAL_ATTEMPTS):
            try:
                step = self._mirror.push()
                break
            except LostError:
                raise
            except (ObjectStoreError, OSError) as error:
                if attempt == _FINAL_ATTEMPTS - 1:
                    raise ObjectStoreError(
                        f"{error}. Nothing is lost: {self._mirror.copy} holds the run, and the "
                        "same command on this machine uploads it"
                    ) from error
                time.sleep(2**attempt)
        if step is not None:
            self._say(f"{self._mirror.folder.url} is up to date: step {step}")


def _download_checkpoint(folder: Folder, copy: Path, steps: list[int]) -> None:
    """Downloads the newest intact checkpoint of `steps`, all of it or nothing."""
    from checkpoints import checksums  # imports TensorFlow

    reasons = []
    for step in steps:
        name = f"model.ckpt-{step}"
        parts = [n for n in folder.entries() if n.startswith(f"{name}.")]
        with commit.staged(copy, name) as staging:
            folder.download_all(parts, staging)
            written = checksums.read(staging / name)
            damage = None if written is None else checksums.damage(staging / name, written)
            if damage is None:
                return
            reasons.append(damage)
            for path in staging.iterdir():
                path.unlink()
    raise DataError(
        f"every checkpoint in {folder.url} is damaged ({'; '.join(reasons)}): restore one from a "
        "copy, or delete them to start from zero"
    )


def _files(directory: Path) -> dict[str, tuple[int, int]]:
    """Returns relative name -> (modification time, size) of the files that are not hidden."""
    found = {}
    for folder, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if name.startswith("."):
                continue
            path = Path(folder, name)
            with contextlib.suppress(FileNotFoundError):
                about = path.stat()
                found[path.relative_to(directory).as_posix()] = (about.st_mtime_ns, about.st_size)
    return found


def _steps(names) -> list[int]:
    """Returns the steps of the complete checkpoints, not those in folders, newest first."""
    matches = (_CHECKPOINT.fullmatch(name) for name in names if name.endswith(".index"))
    return sorted((int(m["step"]) for m in matches if m and "/" not in m[0]), reverse=True)


def _is_small(name: str) -> bool:
    """Returns whether a name is of a record of the run rather than of a checkpoint."""
    return not (_CHECKPOINT.fullmatch(name) or name in (_OWNER, _STATE))


def _rank(name: str) -> int:
    """Orders uploads: data and records, checksums, indexes, the pointers to the newest."""
    if name.rpartition("/")[2] in (_STATE, "best.json"):
        return 3
    if match := _CHECKPOINT.fullmatch(name):
        return {"json": 1, "index": 2}.get(match[0].rpartition(".")[2], 0)
    return 0
