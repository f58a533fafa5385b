"""The pages of the families: their networks, and tables that say what the tree says elsewhere."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from models import registry
from models.pretrained import published
from recipes import catalog, families
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def sources() -> families.Sources:
    return families.sources()


def test_every_network_is_on_one_page():
    counts = Counter(
        name for page in families.pages() for name in families.networks(page.read_text("utf-8"))
    )
    assert counts == dict.fromkeys(registry.names(), 1)


@pytest.mark.parametrize("page", families.pages(), ids=lambda page: page.stem)
def test_the_tables_are_those_of_the_tree(page, sources):
    """Run `make docs` after a change of recipes, of docs/models.md or of docs/benchmarks.md."""
    text = page.read_text("utf-8")
    assert families.with_tables(text, sources) == text


def test_the_figures_are_those_of_their_sources():
    """Read here by other means: from the lines of the files."""
    page = (families.FOLDER / "resnet.md").read_text("utf-8")
    row = next(line for line in page.splitlines() if line.startswith("| `keras_resnet50` "))
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    models = (ROOT / "docs" / "models.md").read_text("utf-8")
    model = next(line for line in models.splitlines() if line.startswith("| keras_resnet50 "))
    _, pixels, outputs, parameters, macs, _, _, memory = map(str.strip, model.split("|")[1:-1])
    assert cells[1:6] == [pixels, outputs, parameters, macs, memory]
    benchmarks = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")
    speed = next(line for line in benchmarks.splitlines() if line.startswith("| `keras_resnet50` "))
    assert cells[6] == speed.split("|")[2].strip()


def test_every_published_accuracy_is_on_a_page():
    pages = "".join(page.read_text("utf-8") for page in families.pages())
    for name in catalog.names():
        recipe = catalog.read(catalog.path_of(name))
        if recipe.published_accuracy:
            (row,) = re.findall(rf"^\| (\S+) .*\[{re.escape(name)}\]\(", pages, re.MULTILINE)
            assert row == recipe.published_accuracy
    for name, entry in published.entries().items():
        row = f"| {entry.expected_top_1_percent}% (top-5 {entry.expected_top_5_percent}%) | weights"
        assert re.search(rf"{re.escape(row)} of `{name}`", re.sub(" +", " ", pages))


def test_a_speed_says_how_it_was_measured():
    assert families._speed("8.3 (7.3-8.3)", "") == "8.3 (7.3-8.3)"
    assert families._speed("2.9 (2.9-2.9)", ", batch 16, apart ") == "2.9 (2.9-2.9), batch 16"


def test_a_page_without_a_region_or_with_an_unknown_network():
    with pytest.raises(ValueError, match="lacks the comments"):
        families.networks("# A page\n")
    page = "<!-- networks: lenet resnet51 -->\n<!-- end of networks -->\n"
    with pytest.raises(ValueError, match="no network is called resnet51"):
        families.networks(page)
