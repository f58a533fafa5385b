"""The door of every path that a command is given, and the home of what commands fetch or make.

A path stays as it was typed, except for `~`; it becomes absolute where it is written down.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import unicodedata
from pathlib import Path

# As TensorFlow tells a URL from a path, with a letter first and two slashes.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
# Control characters (tab, line feed, escape), separators of lines and paragraphs.
_BREAKING = frozenset(("Cc", "Zl", "Zp"))
_CACHE = "tensorflow_imagenet"
_COPIES = "object_storage"
# What object_store.py opens.
_OBJECT_STORES = ("s3", "gs")
_HALF_A_SCHEME = re.compile(r"(s3|gs):(?!//)")


def local(text: str) -> str:
    """Returns a path with its `~` expanded.

    This is the one place that decides which paths are local.

    Raises:
        ValueError: it is a URL, or the home of a user who does not exist; the text completes
            "--train_dir=gs://bucket/run ".
    """
    scheme = _SCHEME.match(text)
    if scheme is not None:
        if scheme[1].lower() == "file":
            raise ValueError(f"is a URL: give the path itself, {text[scheme.end() :]}")
        raise ValueError("is a URL: only local files and directories can be read and written")
    if "\0" in text:
        raise ValueError("holds a zero byte, which no path may")
    path = os.path.expanduser(text)
    if path.startswith("~") and not os.path.lexists(path.split(os.sep)[0]):
        user = path.split(os.sep)[0]
        raise ValueError(f"has no home: there is no user {user[1:]} (./{user} is a local name)")
    return path


def is_remote(text: str) -> bool:
    """Returns whether a text is a URL of an object store: `s3://...` or `gs://...`."""
    scheme = _SCHEME.match(text)
    return scheme is not None and scheme[1] in _OBJECT_STORES


def local_or_remote(text: str) -> str:
    """Returns a path as `local` does, or a URL of an object store without a slash at its end.

    Raises:
        ValueError: it is neither; see `local`.
    """
    if half := _HALF_A_SCHEME.match(text):
        raise ValueError(f"is no URL: write {half[1]}://BUCKET/NAME (./{text} is a local name)")
    if not is_remote(text):
        return local(text)
    if not text.partition("://")[2].strip("/"):
        raise ValueError("names no bucket")
    return text.rstrip("/")


def copy_of(url: str, purpose: str) -> Path:
    """Returns where this machine keeps its copy of what a URL holds, for a purpose: "data"."""
    scheme, _, place = url.partition("://")
    parts = [part for part in place.split("/") if part not in ("", ".", "..")]
    return home_of(_COPIES, marker=purpose).joinpath(purpose, scheme, *parts)


def argument(text: str) -> Path:
    """Returns the path that `text` stands for: an argparse type."""
    if not text:
        raise argparse.ArgumentTypeError("is empty")
    try:
        return Path(local(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} {error}") from None


def argument_or_url(text: str) -> Path | str:
    """Returns a path, or a URL of an object store as it is: an argparse type."""
    try:
        return text.rstrip("/") if is_remote(local_or_remote(text)) else argument(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} {error}") from None


def absolute(path: str) -> str:
    """Returns a path that means the same from every working directory; links stay as they are.

    Of a copy of what an object store holds it is the URL, which means the same on every machine.
    """
    if is_remote(path):
        return path
    path = os.path.abspath(local(path))
    parts = Path(path).parts
    for index, part in enumerate(parts[:-3]):
        if part == _COPIES and parts[index + 2] in _OBJECT_STORES:
            return f"{parts[index + 2]}://{'/'.join(parts[index + 3 :])}"
    return path


def quoted(path: str | os.PathLike[str]) -> str:
    """Returns a path as a shell reads it, in one line."""
    text = os.fspath(path)
    if text.isprintable():
        return shlex.quote(text)
    plain = frozenset(range(0x20, 0x7F)) - frozenset(b"'\\")
    escaped = (chr(b) if b in plain else f"\\x{b:02x}" for b in os.fsencode(text))
    return f"$'{''.join(escaped)}'"


def one_line(name: str) -> str:
    """Returns a name of a file or of a class without characters that break a line or a table."""
    if name.isprintable():
        return name
    return "".join(
        ascii(char)[1:-1] if unicodedata.category(char) in _BREAKING else char for char in name
    )


def home_of(name: str, *, marker: str = "") -> Path:
    """Returns the directory of files that commands fetch or make: "weights", "data/digits".

    It is the one below the working directory where that holds `marker`, else the one below
    `$XDG_CACHE_HOME/tensorflow_imagenet` (`~/.cache` by default).
    """
    here = Path(name)
    if (here / marker).exists():
        return here
    # The standard says that a relative path there is to be ignored.
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(cache):
        cache = os.path.join(os.path.expanduser("~"), ".cache")
    return Path(cache, _CACHE, name)
