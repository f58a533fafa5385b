"""The commands of docs/export.md."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import export
from checkpoints import bundle
from exporters import export_flags
from inference.artifacts import open_artifact
from models.pretrained import importing
from tests.conftest import ROOT
from tests.exporters.conftest import random_values
from tests.exporters.test_export_command import run  # noqa: F401, a fixture
from tests.inference import photographs

PAGE = (ROOT / "docs" / "export.md").read_text()
COMMANDS = re.findall(r"^python export\.py (.*)$", PAGE, re.MULTILINE)


def test_every_command_line_is_accepted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(COMMANDS) == 6
    for command in COMMANDS:
        arguments = export_flags.parser().parse_args(shlex.split(command))
        export_flags.plan(arguments)
        export_flags.request(arguments)


@pytest.mark.slow
def test_the_commands_and_the_python_lines_do_what_the_page_says(
    run,  # noqa: F811
    tmp_path,
    monkeypatch,
    capsys,
):
    """A run of LeNet stands for that of the page, and random weights for the official ones."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, "runs/photos")
    Path("efficientnet-lite0").mkdir()
    random = np.random.default_rng(0)
    shapes = importing.network_shapes("efficientnet_lite0", 1000)
    tensors = {name: random_values(random, name, shape) for name, shape in shapes.items()}
    bundle.write(Path("efficientnet-lite0/model.ckpt"), tensors)
    for command in COMMANDS:
        assert export.main(shlex.split(command)) == 0, command
    assert " written to lite0.tflite (18." in capsys.readouterr().out
    assert open_artifact("exported/raw.onnx").batch_size == 8
    shutil.copy(photographs.file("flower"), "photo.jpg")
    (lines,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    Path("lines.py").write_text(lines)
    answer = runpy.run_path("lines.py")["answer"]
    assert answer["probabilities"].shape == (1, 10)
    assert tf.reduce_sum(answer["probabilities"]).numpy() == pytest.approx(1, abs=1e-5)
    assert answer["classes"].numpy().tolist() == np.argmax(answer["probabilities"], 1).tolist()
