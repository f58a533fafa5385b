"""What is in the wheel: one package, whose files import each other and name what is installed."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import setup
import tensorflow_imagenet
from tensorflow_imagenet.commands import COMMANDS
from tests.conftest import ROOT
from tests.packaging.conftest import OWN_FILES, build

# Names of programs of a checkout, modules by their short names, and paths from its root.
SHORT_NAMES = re.compile(
    rf"(?<![\w/.-])(?:{'|'.join(setup.PROGRAMS)})\.py\b|\bpython $|"
    rf"python -m (?!tensorflow_imagenet)|^(?:from|import) (?:{'|'.join(setup.ROOMS)})\b"
)
# The page of the networks tells how its writers measured; EC2's instances run a checkout.
MAY_NAME_A_CHECKOUT = ("models/describe.py", "launch/ec2/")


@pytest.fixture(scope="module")
def package(distributions, tmp_path_factory) -> Path:
    """The folder `tensorflow_imagenet` of the wheel, unpacked."""
    directory = tmp_path_factory.mktemp("site-packages")
    (wheel,) = distributions.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory)
    return directory / setup.PACKAGE


def test_the_wheel_holds_one_package_with_every_file_of_the_rooms(package):
    metadata = f"{setup.PACKAGE}-0.1.0.dist-info"
    assert {path.name for path in package.parent.iterdir()} == {setup.PACKAGE, metadata}
    expected = {f"{name}.py" for name in setup.PROGRAMS}
    for folder in (*setup.ROOMS, setup.PACKAGE):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                expected.add(str(path.relative_to(ROOT)).removeprefix(f"{setup.PACKAGE}/"))
    found = {str(path.relative_to(package)) for path in package.rglob("*") if path.is_file()}
    assert found == expected


def test_the_sdist_gives_the_same_wheel(distributions, tmp_path):
    (sdist,), (wheel,) = distributions.glob("*.tar.gz"), distributions.glob("*.whl")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    assert not (source / "tests").exists()
    build(source, tmp_path)
    (again,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(again) as second:
        assert {i.filename: i.CRC for i in first.infolist() if "RECORD" not in i.filename} == {
            i.filename: i.CRC for i in second.infolist() if "RECORD" not in i.filename
        }


def test_every_import_is_of_a_file_in_the_package(package):
    ours, missing = (*setup.ROOMS, *setup.PROGRAMS), []
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            for name in names:
                first, *rest = name.split(".")
                place = package.joinpath(*rest)
                is_there = place.with_suffix(".py").is_file() or place.is_dir()
                if first in ours or (first == setup.PACKAGE and not is_there):
                    missing.append(f"{path.relative_to(package)}:{node.lineno}: {name}")
    assert not missing


def test_messages_name_what_is_installed(package):
    """If this fails, write the whole command in one piece of the text: setup.py then finds it."""
    short = []
    for path in sorted(package.rglob("*.py")):
        name = str(path.relative_to(package))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
            if is_text and not name.startswith(MAY_NAME_A_CHECKOUT):
                short += [
                    f"{name}:{node.lineno}: {m[0]!r}" for m in SHORT_NAMES.finditer(node.value)
                ]
    assert not short


def test_each_command_runs_its_module_next_to_a_users_own_modules(package, tmp_path):
    """All of them in one process, whose working directory is on its path."""
    for name in OWN_FILES:
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('imported: {name}')\n")
    entries = importlib.metadata.PathDistribution(
        next(package.parent.glob("*.dist-info"))
    ).entry_points.select(group="console_scripts")
    assert {entry.name: entry.value for entry in entries} == dict.fromkeys(
        COMMANDS, "tensorflow_imagenet.commands:main"
    )
    program = (
        "import sys; from tensorflow_imagenet import commands\n"
        "for name in commands.COMMANDS:\n"
        "    sys.argv = [f'/bin/{name}', '--help']\n"
        "    try: commands.main()\n"
        "    except SystemExit as ended: print('ended', name, ended)\n"
        "print('tensorflow' in sys.modules)\n"
        "sys.argv[0] = 'imagenet'; commands.main()\n"
    )
    # The variable says that a program was restarted already, which would replace the process.
    environment = {**os.environ, "PYTHONPATH": str(package.parent), "GLIBC_TUNABLES": ""}
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("ended")] == [
        f"ended {name} 0" for name in COMMANDS
    ], done.stderr
    assert lines[-1] == "False"
    usages = [line for line in lines if "usage" in line.lower() or "imagenet-train" in line]
    assert not [line for line in lines if ".py" in line]
    assert {name for name in COMMANDS if any(name in line for line in usages)} == set(COMMANDS)
    assert done.returncode == 1
    assert done.stderr.startswith("error: imagenet is not a command of this package: imagenet-t")


def test_the_package_offers_the_keras_models_also_in_a_checkout():
    from models import efficientnet_lite

    assert tensorflow_imagenet.__all__ == efficientnet_lite.__all__
    assert set(tensorflow_imagenet.__all__) <= set(dir(tensorflow_imagenet))
    for name in tensorflow_imagenet.__all__:
        assert getattr(tensorflow_imagenet, name) is getattr(efficientnet_lite, name)
    with pytest.raises(AttributeError, match="no attribute 'EfficientNetLite9'"):
        tensorflow_imagenet.EfficientNetLite9  # noqa: B018
