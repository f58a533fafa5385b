"""Every message with advice has a case."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.advice.test_checkpoint_advice import CHECKPOINTS
from tests.advice.test_converter_advice import CONVERTER
from tests.advice.test_data_advice import DATA
from tests.conftest import ROOT

# Advice that is followed elsewhere, or cannot be followed in a test.
ELSEWHERE = (
    "get the file with git",  # needs the repository that the pointer belongs to
    "look for damage with",  # the end of a search that found nothing
    "convert it to more shards",  # shares of several workers, which no command makes
    "choose from",  # a list of values
    "give --data_dir",  # images of one's own, tests/test_eval_views.py
    "leave the class out of",  # tests/inference/test_view_and_class_names.py
    "convert only this split",  # --help
    "look for copies of images",  # --help
    "give the --model of the other)",  # tests/inference/test_classifier.py
    "give them with --labels_map_file",  # a warning
    "convert a subset of ImageNet",  # test_a_subset_of_imagenet_for_the_published_weights
)
_ADVICE = re.compile(
    r"(?:[:;,] |, or |^)((?:convert|copy|give|remove|repeat|rename|put|move|leave|choose|decompress"
    r"|unpack|download|get|look|restore|skip)\b [^;:{]*)"
)


def advice_in(path: Path) -> set[str]:
    """What the messages of a file say to do, up to the first value in them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {
        ast.get_docstring(node, clean=False)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
    }
    texts = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    found = (match[1] for text in texts if text not in docs for match in _ADVICE.finditer(text))
    return {advice.strip() for advice in found}


FILES = {
    "records": sorted((ROOT / "preprocessing" / "records").glob("*.py")),
    "integrity": sorted((ROOT / "preprocessing" / "integrity").glob("*.py")),
    "data sets": [ROOT / "preprocessing" / f"{name}.py" for name in ("registry", "datasets")],
    "checkpoints": [ROOT / "checkpoints" / f"{name}.py" for name in ("restore_plan", "store")],
    "converter": sorted((ROOT / "download_and_convert_imagenet").rglob("*.py")),
    "verify": [ROOT / "preprocessing" / "verify.py"],
    "class names": [ROOT / "inference" / "class_names.py"],
}


@pytest.mark.parametrize("files", FILES.values(), ids=FILES)
def test_all_advice_is_followed(files):
    """A message with new advice needs a case in this folder."""
    followed = " | ".join(
        case.advice for case in (*DATA.values(), *CHECKPOINTS.values(), *CONVERTER.values())
    )
    advice = {(path.name, advice) for path in files for advice in advice_in(path)}
    untried = {
        (name, text)
        for name, text in advice
        if text[:24] not in followed and not text.startswith(ELSEWHERE)
    }
    assert not untried
