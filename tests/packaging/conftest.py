"""The distributions, built from a copy since a build writes into its directory, and installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from skimage import data

import setup
from tests.conftest import ROOT

# What a user's own directory may hold, next to photos.
OWN_FILES = ("models", "common", "preprocessing", "train", "launch")
PHOTOS, IMAGES_OF_A_CLASS = {"cat": data.chelsea, "coffee": data.coffee}, 12

_BUILD = """
from setuptools import build_meta
for build in (build_meta.build_sdist, build_meta.build_wheel):
    build({directory!r})
"""


def build(source: Path, directory: Path) -> None:
    """Writes an sdist and a wheel of `source` into `directory`, as `pip wheel` does."""
    program = _BUILD.format(directory=str(directory))
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=source, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


class Place(NamedTuple):
    """A user's directory, and the environment that has the package."""

    directory: Path
    binaries: Path
    environment: dict[str, str]

    def run(self, *command: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Runs a command of the environment, which is not activated."""
        done = subprocess.run(
            [str(self.binaries / command[0]), *command[1:]],
            cwd=self.directory, env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done


@pytest.fixture(scope="session")
def distributions(tmp_path_factory) -> Path:
    """A directory with the wheel and the sdist of this checkout."""
    copy, directory = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("dist")
    for name in (*setup.ROOMS, setup.PACKAGE, "tests"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    for path in ROOT.glob("*"):
        if path.is_file():
            shutil.copy(path, copy)
    build(copy, directory)
    return directory


@pytest.fixture(scope="session")
def place(distributions, tmp_path_factory) -> Place:
    """A new virtual environment with the sdist installed, and a directory with photos.

    The environment finds TensorFlow and the other libraries in the packages of this one, so that
    nothing is downloaded.
    """
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=True)
    libraries = home / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    path = libraries / "site-packages" / "libraries_of_the_tests.pth"
    path.write_text("".join(f"{entry}\n" for entry in sys.path if entry.endswith("site-packages")))
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "GLIBC_TUNABLES", "VIRTUAL_ENV")
    }
    environment["XDG_CACHE_HOME"] = str(home / "cache")
    directory = tmp_path_factory.mktemp("directory of a user")
    for name in OWN_FILES:
        (directory / f"{name}.py").write_text("MINE = True\n")
    for name, photo in PHOTOS.items():
        (directory / "photos" / name).mkdir(parents=True)
        Image.fromarray(photo()).save(directory / f"{name}.jpg")
        random = np.random.default_rng(0)
        for number in range(IMAGES_OF_A_CLASS):
            top, left = random.integers(0, 150, 2)
            crop = photo()[top : top + 150, left : left + 150]
            Image.fromarray(crop).save(directory / "photos" / name / f"{number}.jpg")
    place = Place(directory, home / "bin", environment)
    # The setuptools of a new environment may be too old to build, and a download is not wanted.
    options = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation")
    (sdist,) = distributions.glob("*.tar.gz")
    build = [sys.executable, "-m", "pip", "wheel", *options, f"--wheel-dir={home}", str(sdist)]
    subprocess.run(build, check=True, cwd=home)
    (wheel,) = home.glob("*.whl")
    place.run("python", "-m", "pip", "install", *options[:3], str(wheel))
    return place
