"""The rules of CONTRIBUTING.md that neither ruff nor import-linter checks."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

ROOMS = (
    "common", "checkpoints", "download_and_convert_imagenet", "models", "benchmark_cnn",
    "preprocessing", "inference", "exporters", "launch", "benchmarks", "recipes",
    "tensorflow_imagenet",
)  # fmt: skip
MAX_FILES_IN_A_FOLDER = 12
MAX_LINES_OF_A_FILE = 400
MAX_LINES_OF_A_FUNCTION = 70


def folders() -> list[Path]:
    """Every folder of the rooms that holds Python files."""
    return sorted({path.parent for room in ROOMS for path in (ROOT / room).rglob("*.py")})


def files() -> list[Path]:
    return sorted([*ROOT.glob("*.py"), *(path for f in folders() for path in f.glob("*.py"))])


@pytest.mark.parametrize("folder", folders(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_folder_says_what_belongs_in_it_and_is_not_full(folder):
    sources = {path.name for path in folder.glob("*.py")}
    assert "__init__.py" in sources
    assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    assert len(sources - {"__init__.py"}) <= MAX_FILES_IN_A_FOLDER


def test_no_file_and_no_function_is_too_long():
    too_long = []
    for path in files():
        text = path.read_text()
        name, num_lines = path.relative_to(ROOT), len(text.splitlines())
        if num_lines > MAX_LINES_OF_A_FILE:
            too_long.append(f"{name}: {num_lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_LINES_OF_A_FUNCTION:
                    too_long.append(f"{name}:{node.lineno} {node.name}: {length} lines")
    assert not too_long
