from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from pathlib import Path

import pytest

from common import files
from common.errors import DataError, UsageError


class TestAtomicFile:
    def test_it_replaces_the_file_and_leaves_nothing_else(self, tmp_path):
        path = tmp_path / "a.txt"
        path.write_text("old")
        with files.atomic_file(path) as file:
            file.write(b"new")
            assert path.read_text() == "old"
            assert (tmp_path / ".a.txt.partial").exists()
        assert path.read_text() == "new"
        assert os.listdir(tmp_path) == ["a.txt"]

    def test_an_error_keeps_the_old_file(self, tmp_path):
        path = tmp_path / "a.txt"
        path.write_text("old")
        with pytest.raises(TypeError), files.atomic_file(path) as file:
            file.writelines([b"new", "text"])
        assert path.read_text() == "old"
        assert os.listdir(tmp_path) == ["a.txt"]

    def test_two_processes_can_have_hidden_files_of_their_own(self, tmp_path):
        with files.atomic_file(tmp_path / "a.txt", per_process=True):
            assert os.listdir(tmp_path) == [f".a.txt.{os.getpid()}.partial"]

    def test_a_full_disk_is_blamed_on_the_file(self, tmp_path):
        (tmp_path / ".a.txt.partial").symlink_to("/dev/full")
        with pytest.raises(OSError, match="No space left") as caught:
            files.write_text(tmp_path / "a.txt", "x")
        assert caught.value.filename == str(tmp_path / "a.txt")

    def test_a_lone_surrogate_becomes_an_escape(self, tmp_path):
        files.write_text(tmp_path / "a.txt", "caf\udce9 caf\xe9\n")
        assert (tmp_path / "a.txt").read_bytes() == "caf\\udce9 caf\xe9\n".encode()


def test_write_errors_are_one_line():
    message = r"^cannot write to here: Permission denied; move$"
    with (
        pytest.raises(UsageError, match=message),
        files.write_errors("to here", "move", UsageError),
    ):
        raise PermissionError(errno.EACCES, "Permission denied")


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("/dev/full", "No space left on device; make room, and run"),
        ("{tmp}/file/a", "Not a directory; mend that or write elsewhere, and run"),
        ("{tmp}/absent/a", "No such file or directory; mend that or write elsewhere, and run"),
    ],
)
def test_only_a_full_disk_needs_room(tmp_path, place, line):
    (tmp_path / "file").touch()
    path = Path(place.format(tmp=tmp_path))
    with pytest.raises(DataError, match=line), files.write_errors(path):
        path.write_text("x")


class TestLock:
    def hold(self, path, warn):
        return files.lock(path, busy="another run uses it", advice="wait", warn=warn)

    def test_it_names_the_owner(self, tmp_path):
        path, warnings = tmp_path / "lock", []
        with self.hold(path, warnings.append):
            pattern = rf"^another run uses it \(process {os.getpid()} on .*\): wait$"
            with (
                pytest.raises(DataError, match=pattern),
                self.hold(path, warnings.append),
            ):
                pass
        with self.hold(path, warnings.append):
            pass
        assert not warnings

    def test_a_file_system_without_locks_is_a_warning(self, tmp_path, monkeypatch):
        def no_locks(*_):
            raise OSError(errno.ENOLCK, "No locks available")

        warnings = []
        monkeypatch.setattr(fcntl, "flock", no_locks)
        with self.hold(tmp_path / "lock", warnings.append):
            pass
        assert len(warnings) == 1
        assert str(tmp_path) in warnings[0]


def test_sha256_of_a_file(tmp_path):
    content = os.urandom(3_000_000)
    (tmp_path / "a").write_bytes(content)
    assert files.sha256_of(tmp_path / "a") == hashlib.sha256(content).hexdigest()
    stopped = files.sha256_of(tmp_path / "a", is_stopped=lambda: True)
    assert stopped == hashlib.sha256(b"").hexdigest()
