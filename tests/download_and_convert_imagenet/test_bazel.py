"""The converter built with Bazel, in a copy of the files that the build needs."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.download_and_convert_imagenet.fake_imagenet import make_fake_imagenet
from tests.download_and_convert_imagenet.imagenet_layouts import write_archives

ROOT = Path(__file__).resolve().parents[2]
BAZEL = shutil.which("bazel")
FEW_SHARDS = ("--train_shards=4", "--validation_shards=2")

pytestmark = pytest.mark.skipif(
    BAZEL is None, reason="bazel is not installed (Debian: apt-get install bazel-bootstrap)"
)


def shell(command: str, directory: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command line as a user types it, with this Python first on the PATH."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["sh", "-c", command],
        cwd=directory,
        env={**os.environ, "PATH": path, **variables},
        capture_output=True,
        text=True,
    )


def succeed(command: str, directory: Path, **variables: str) -> str:
    completed = shell(command, directory, **variables)
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


def content_of(data_dir: Path) -> dict[str, str]:
    """File -> SHA-256 of everything that was converted."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in data_dir.iterdir()
        if path.is_file() and "ILSVRC2012" not in path.name
    }


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """Where `bazel build` was run; its server is gone afterwards."""
    directory = tmp_path_factory.mktemp("workspace")
    for name in ("WORKSPACE", "MODULE.bazel", "BUILD", ".bazelignore"):
        shutil.copy(ROOT / name, directory)
    package = "download_and_convert_imagenet"
    ignored = shutil.ignore_patterns("__pycache__")
    for folder in ("common", package):
        shutil.copytree(ROOT / folder, directory / folder, ignore=ignored)
    check = Path("tests") / package / "built_converter_check.py"
    (directory / check).parent.mkdir(parents=True)
    shutil.copy(ROOT / check, directory / check)
    output_root = tmp_path_factory.mktemp("bazel")
    (directory / ".bazelrc").write_text(f"startup --output_user_root={output_root}\n")
    succeed("bazel build download_and_convert_imagenet", directory)
    yield directory
    shell("bazel shutdown", directory)
    for path in output_root.rglob("*"):  # Bazel makes its outputs read-only
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)


def test_the_built_converter_writes_the_bytes_of_the_module(workspace, tmp_path):
    fake = make_fake_imagenet(5, train_images_per_class=4, largest_size=(600, 400))
    built, module = (write_archives(fake, tmp_path / name) for name in ("built", "module"))
    options = " ".join(FEW_SHARDS)
    converter = "bazel-bin/download_and_convert_imagenet"
    succeed(
        f'{converter} "${{DATA_DIR}}" --num_processes=2 {options}', workspace, DATA_DIR=str(built)
    )
    command = f'{sys.executable} -m download_and_convert_imagenet "${{DATA_DIR}}" {options}'
    succeed(f"{command} --num_processes=1", ROOT, DATA_DIR=str(module))
    expected = content_of(module)
    assert len(expected) == 4 + 2 + 2  # shards, manifest, list of repaired images
    assert content_of(built) == expected


@pytest.mark.slow
def test_the_commands_of_the_readme(workspace, tmp_path):
    """With 1024 and 128 shards, as they are when no option is given."""
    fake = make_fake_imagenet(train_images_per_class=21, validation_images_per_class=3)
    built, module = (write_archives(fake, tmp_path / name) for name in ("built", "module"))
    succeed(
        "bazel build download_and_convert_imagenet\n"
        'bazel-bin/download_and_convert_imagenet "${DATA_DIR}"',
        workspace,
        DATA_DIR=str(built),
    )
    succeed(f"{sys.executable} -m download_and_convert_imagenet {module}", ROOT)
    expected = content_of(module)
    assert len([name for name in expected if "-of-01024" in name]) == 1024
    assert len([name for name in expected if "-of-00128" in name]) == 128
    assert content_of(built) == expected


def test_the_check_of_what_was_built(workspace):
    succeed("bazel build --action_env=PATH conversion_check imagenet_lists", workspace)
    assert (workspace / "bazel-bin/conversion_check.txt").read_text() == "converted and checked\n"


def test_the_build_is_reproducible(workspace, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    packages = ("common", "download_and_convert_imagenet")
    for package in packages:
        shutil.copytree(workspace / package, elsewhere / package)
    program = elsewhere / "download_and_convert_imagenet" / "zip_application.py"
    files = [
        path
        for package in packages
        for path in sorted((elsewhere / package).rglob("*"), reverse=True)
        if path.is_file() and path != program
    ]
    for path in files:
        os.utime(path, (1e9, 1e9))
    output = tmp_path / "converter"
    arguments = ("download_and_convert_imagenet.__main__", ",".join(packages), *files)
    subprocess.run([sys.executable, program, output, *arguments], check=True)
    built = workspace / "bazel-bin" / "download_and_convert_imagenet"
    assert (tmp_path / "converter").read_bytes() == built.read_bytes()


def test_the_name_means_the_file(workspace):
    output = succeed("bazel query --output=label_kind download_and_convert_imagenet", workspace)
    assert output == "generated file //:download_and_convert_imagenet\n"
    assert not list((ROOT / "download_and_convert_imagenet").glob("BUILD*"))
