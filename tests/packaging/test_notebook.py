"""The notebook, executed from its first cell to its last by an installed package."""

from __future__ import annotations

import json
import os

import pytest

from tests.conftest import ROOT
from tests.packaging.conftest import Place

NOTEBOOK = ROOT / "docs" / "notebooks" / "photos_to_tflite.ipynb"
_EXECUTE = """
import sys, nbclient, nbformat
notebook = nbformat.read(sys.argv[1], as_version=4)
nbformat.validate(notebook)
nbclient.NotebookClient(notebook, timeout=900).execute()
nbformat.write(notebook, "executed.ipynb")
"""


def texts(cell: dict) -> str:
    return "".join("".join(output.get("text", [])) for output in cell["outputs"])


def test_the_notebook_is_kept_without_outputs():
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.slow
def test_the_notebook_makes_a_file_that_knows_its_photos(place: Place, tmp_path):
    path = f"{place.binaries}{os.pathsep}{place.environment['PATH']}"
    there = Place(tmp_path, place.binaries, {**place.environment, "PATH": path})
    there.run("python", "-c", _EXECUTE, str(NOTEBOOK))
    executed = json.loads((tmp_path / "executed.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in executed["cells"] if cell["cell_type"] == "code"]
    photos, trained, curves, network, _, runtime, file = cells
    assert texts(photos).split("\n")[:2] == ["china: 40 photos", "flower: 40 photos"]
    assert "Trained to step 60: run" in texts(trained)
    assert "image/png" in curves["outputs"][0]["data"]
    # The last photo is a flower.
    assert texts(runtime).startswith("flower: ")
    assert (tmp_path / "photos.tflite").stat().st_size < 10_000_000
    assert answer(network) == pytest.approx(answer(file), abs=0.5)  # percent, of float16


def answer(cell: dict) -> float:
    """The probability of "flower", in percent, as the class that is named first."""
    line = next(line.strip() for line in texts(cell).splitlines() if "top_0" in line)
    assert line.endswith("flower")
    return float(line.partition("(")[2].partition("%")[0])
