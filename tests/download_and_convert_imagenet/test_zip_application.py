from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from download_and_convert_imagenet.zip_application import write_zip_application

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("common", "download_and_convert_imagenet")


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "source" / "greeting"
    (folder / "data").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "hello.py").write_text("def main():\n    print('hello')\n    return 7\n")
    (folder / "data" / "words.txt").write_text("words")
    return [str(path) for path in sorted(folder.rglob("*")) if path.is_file()]


def test_the_file_runs_and_returns_what_main_returns(package, tmp_path):
    output = tmp_path / "hello"
    write_zip_application(str(output), "greeting.hello", ["greeting"], package)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    completed = subprocess.run(
        [output], env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    assert (completed.returncode, completed.stdout) == (7, "hello\n")
    with zipfile.ZipFile(output) as archive:
        assert archive.namelist() == [
            "__main__.py",
            "greeting/__init__.py",
            "greeting/data/words.txt",
            "greeting/hello.py",
        ]


def test_order_and_times_of_the_sources_do_not_matter(package, tmp_path):
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    write_zip_application(first, "greeting.hello", ["greeting"], package)
    os.utime(package[0], (1e9, 1e9))
    write_zip_application(second, "greeting.hello", ["greeting"], package[::-1])
    assert Path(first).read_bytes() == Path(second).read_bytes()


def test_a_file_from_elsewhere_is_refused(package, tmp_path):
    with pytest.raises(ValueError, match="is not in a folder greeting"):
        write_zip_application(
            str(tmp_path / "x"), "greeting.hello", ["greeting"], [*package, "/etc/hosts"]
        )


def test_without_pillow_it_says_so_in_one_line(tmp_path):
    output = str(tmp_path / "converter")
    files = [
        str(path)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix in (".py", ".txt", ".md")
    ]
    write_zip_application(output, "download_and_convert_imagenet.__main__", PACKAGES, files)
    completed = subprocess.run(
        [sys.executable, "-I", "-S", output, str(tmp_path / "data")], capture_output=True, text=True
    )
    assert completed.returncode == 3
    assert completed.stderr.count("\n") == 1
    assert "No module named" in completed.stderr
    assert "pillow" in completed.stderr
