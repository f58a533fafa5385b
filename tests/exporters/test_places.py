"""Where exported files and their class names lie, also after an export that was killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from common import process
from common.errors import UsageError
from exporters import exporting, staging
from exporters.plan import INT8, Plan

pytest.importorskip("onnx")


@pytest.mark.slow
def test_networks_with_other_classes_in_one_directory(lenet, tmp_path):
    """Each file has its class names next to it; those of a single file are replaced."""
    tench = "tench\n"
    shared, own = tmp_path / "labels.txt", tmp_path / "lenet_labels.txt"
    (tmp_path / "lite0.tflite").touch()
    shared.write_text(tench)
    said = []
    exporting.export(lenet, Plan(tflite=tmp_path / "lenet.tflite"), said.append)
    assert said[1:] == [f"class names written to {own}"]
    assert shared.read_text() == tench
    assert own.read_text().splitlines()[0] == "class 0"
    # The other file is gone, but programs that read these names may be there.
    (tmp_path / "lite0.tflite").unlink()
    exporting.export(lenet, Plan(tflite=tmp_path / "lenet.tflite"), said.append)
    assert (shared.read_text(), said[-1]) == (tench, f"class names written to {own}")
    own.unlink()
    exporting.export(lenet, Plan(onnx=tmp_path / "lenet.onnx"), said.append)
    assert own.exists()  # of lenet.tflite it is not known whose names labels.txt has
    for name in ("lenet.tflite", "lenet.onnx", "lenet_labels.txt"):
        (tmp_path / name).unlink()
    exporting.export(lenet, Plan(tflite=tmp_path / "lenet.tflite"), said.append)
    assert shared.read_text().splitlines()[0] == "class 0"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.txt", "lenet.tflite"]


def kill_while_staging(path: Path, at: str) -> None:
    """Ends a process by SIGKILL while it writes a SavedModel, or between the last two renames."""
    if child := os.fork():
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
        return
    try:
        with staging.staged(path) as temporary:
            temporary.mkdir()
            (temporary / "saved_model.pb").write_bytes(b"half")
            if at == "writing":
                os.kill(os.getpid(), signal.SIGKILL)
            rename = Path.rename

            def killing(source, target):
                if source == temporary:
                    os.kill(os.getpid(), signal.SIGKILL)
                return rename(source, target)

            Path.rename = killing
    finally:
        os._exit(1)


@pytest.mark.parametrize("at", ["writing", "replacing"])
def test_the_next_export_removes_what_a_killed_one_left(at, lenet, tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    (path / "saved_model.pb").write_bytes(b"old")
    kill_while_staging(path, at)
    (left,) = tmp_path.glob(".exporting-*")
    assert path.exists() is (at == "writing")
    assert (left / "old" / "model").exists() is (at == "replacing")
    with staging.staged(tmp_path / "other") as running:  # of a process that lives
        running.write_bytes(b"other")
        exporting.export(lenet, Plan(tflite=tmp_path / "lenet.tflite"), lambda line: None)
        assert list(tmp_path.glob(".exporting-*")) == [running.parent]
    assert (tmp_path / "other").read_bytes() == b"other"
    assert (path / "saved_model.pb").read_bytes() == b"old"


def test_a_saved_model_that_cannot_be_replaced_is_still_there(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    (path / "saved_model.pb").write_bytes(b"old")
    with pytest.raises(FileNotFoundError), staging.staged(path):
        pass  # writes nothing that could be renamed
    assert [file.name for file in tmp_path.rglob("*")] == ["model", "saved_model.pb"]


def test_an_export_that_would_fill_the_memory_is_refused(lenet, tmp_path, monkeypatch):
    """The kernel would end it without a line. What fits is named, and can be written."""
    shapes = [variable.shape.as_list() for variable in lenet.classifier.network.variables.values()]
    weight_bytes = 4 * sum(int(np.prod(shape)) for shape in shapes)
    monkeypatch.setattr(process, "available_memory_bytes", lambda: 3 * weight_bytes)
    plan = Plan(saved_model_dir=tmp_path / "model", onnx=tmp_path / "a.onnx")
    with pytest.raises(
        UsageError, match=r"--output_onnx of lenet needs .* enough for --output_saved_model_dir$"
    ):
        exporting.export(lenet, plan, lambda line: None)
    assert list(tmp_path.iterdir()) == []
    exporting.export(lenet, Plan(saved_model_dir=tmp_path / "model"), lambda line: None)
    monkeypatch.setattr(process, "available_memory_bytes", lambda: 9 * weight_bytes)
    plan = Plan(tflite=tmp_path / "a.tflite", quantize=INT8)
    with pytest.raises(UsageError, match="--output_tflite of lenet needs"):
        exporting.export(lenet, plan, lambda line: None)
    exporting.export(lenet, Plan(tflite=tmp_path / "a.tflite"), lambda line: None)
