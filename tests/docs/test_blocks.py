"""Every block of code of README and docs/ is one that its program, or Python, accepts."""

from __future__ import annotations

import re

import pytest

import setup
from tests.conftest import ROOT
from tests.docs.blocks import PAGES, Block, blocks, problems

_INLINE = re.compile(r"`python (?:-m (?P<module>[a-z_.]+)|(?P<file>[\w/]+\.py))[ `]")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a program that does more than read its flags changes no file here


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_a_page(page):
    found = [
        f"{block}: {problem}"
        for block in blocks(page, page.read_text("utf-8"))
        for problem in problems(block)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_programs_that_are_named_in_a_text_exist(page):
    for found in _INLINE.finditer(page.read_text("utf-8")):
        if found["file"]:
            assert (ROOT / found["file"]).is_file(), found[0]
        else:
            module = found["module"].removeprefix(f"{setup.PACKAGE}.")
            block = Block(page, 0, "python", f"import {module}\n", "")
            assert not problems(block), found[0]


def test_most_blocks_are_checked():
    """A change of their form must not hide them."""
    kinds = [block.language for page in PAGES for block in blocks(page, page.read_text("utf-8"))]
    assert kinds.count("") >= 90
    assert kinds.count("python") >= 7
    assert len(PAGES) >= 40


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("```\npython train.py --modle=lenet\n```\n", "--modle"),
        ("```\npython train.py --model=lenet5\n```\n", "lenet5"),
        ("```\npython train.py --optimizer=sgd --momentum=0.9\n```\n", "--momentum"),
        ("```\npython trian.py --model=lenet\n```\n", "trian.py"),
        ("```\npython train.py --flagfile=recipes/none.flags\n```\n", "none.flags"),
        ("```\npython export.py --pretrained \\\n  --output_tflight=a\n```\n", "--output_tflight"),
        ("    python -m benchmarks.latency a.tflite [--thread_count=4]\n", "--thread_count"),
        ("```\npython -m benchmarks.latentcy a.tflite\n```\n", "benchmarks.latentcy"),
        ("```\nimagenet-train --model=lenet --batchsize=x\n```\n", "--batchsize"),
        ("```\nmake test && make tests\n```\n", "make has no tests"),
        ("```\npython -m launch.slurm --nodes=2 -- train.py --modle=lenet\n```\n", "--modle"),
        ('```\nevaluate="python eval.py"\n$evaluate --train_dri=a\n```\n', "--train_dri"),
        ("1. First:\n\n    ```\n    python eval.py --train_dri=a\n    ```\n", "--train_dri"),
        ("```\nTrained to step 675\n```\n", "no command: Trained"),
        ("```python\nimport tensorflow_imagnet\n```\n", "no module tensorflow_imagnet"),
        ("```python\nfrom models.registry import gett\n```\n", "no gett in models.registry"),
        ("```python\nmodel = Model(\n```\n", "was never closed"),
        ("Swift:\n\n```swift\nlet a = 1\n```\n", "swift"),
    ],
)
def test_a_mistake_is_found(text, problem):
    lines = [line for block in blocks(ROOT / "page.md", f"\n{text}") for line in problems(block)]
    assert lines
    assert problem in "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        "```\npython train.py ... --model=lenet   # a comment\n```\n",
        "<!-- not checked: another program -->\n```\npython train.py --modle=lenet\n```\n",
        "```text\nTrained to step 675\n```\n",
        "**Not run here.**\n\n```swift\nlet a = 1\n```\n",
        "- a list\n\n    python trian.py\n",
    ],
)
def test_what_is_right_passes(text):
    assert not [line for b in blocks(ROOT / "page.md", f"\n{text}") for line in problems(b)]
