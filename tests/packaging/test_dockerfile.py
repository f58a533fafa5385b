"""The Dockerfile without Docker: what it names exists, and its pins are those of the lock file."""

from __future__ import annotations

import re
import subprocess

from packaging.requirements import Requirement

import setup
from tests.conftest import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_what_the_build_reads_is_sent_to_it():
    assert re.findall(r"^COPY (.*)$", DOCKERFILE, re.MULTILINE) == [". ."]
    left_out = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    (lock,) = set(re.findall(r"[\w-]+\.lock", DOCKERFILE))
    needed = {"setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", lock}
    needed |= {folder.partition("/")[0] for folder in setup.packages().values()}
    needed |= {f"{name}.py" for name in setup.PROGRAMS}
    assert all((ROOT / name).exists() for name in needed)
    assert not needed & set(left_out)


def test_its_extras_are_those_of_the_package():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    table = project.partition("[project.optional-dependencies]\n")[2].partition("\n[")[0]
    extras = set(re.findall(r"^(\w+) = \[", table, re.MULTILINE))
    (default,) = re.findall(r"^ARG EXTRAS=(.*)$", DOCKERFILE, re.MULTILINE)
    assert {*default.split(","), "gpu"} <= extras


def test_its_constraints_are_the_pins_of_the_lock_file():
    (command,) = re.findall(r"&& (sed .*) > /wheels/constraints.txt", DOCKERFILE)
    lines = subprocess.run(
        command, shell=True, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert len(lines) == (ROOT / "requirements-gpu.lock").read_text().count("==") - sum(
        line.count("==") - 1 for line in lines
    )
    pins = [Requirement(line) for line in lines]
    assert {"tensorflow", "nvidia-cudnn-cu12"} <= {pin.name for pin in pins}
    assert all(str(pin.specifier).startswith("==") for pin in pins)
