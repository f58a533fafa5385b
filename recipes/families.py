"""The tables of docs/models/*.md, gathered from what the tree states elsewhere.

`python -m recipes.families` fills the region of each page that names its networks:

    <!-- networks: efficientnet_lite* -->
    <!-- end of networks -->

Sizes come from docs/models.md, images/s from docs/benchmarks.md, published accuracies from the
heads of the recipes and from the weights that `--pretrained` knows.
"""

from __future__ import annotations

import fnmatch
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common import commands, files, process
from models import registry
from models.pretrained import published
from recipes import catalog
from recipes.catalog import MEASURED, NOT_PUBLISHED, NOT_RUN, PUBLISHED, SOURCE, Recipe

DOCS = catalog.FOLDER.parent / "docs"
FOLDER = DOCS / "models"
REGION_ENDS = "<!-- end of networks -->\n"
SIZES = ("network", "pixels", "outputs", "parameters, M", "MACs, M", "memory, MiB", "images/s")
ACCURACIES = ("top-1, published", "of", "made by", "stated in", "run here")
CAPTION = """\
Counted with 1000 classes; memory is what one more image takes in training
([all networks](../models.md)). Images/s: training on two CPU cores in float32, 32 images of 224 px
where the network takes that and nothing else is said ([benchmarks](../benchmarks.md#networks)).
"""
_REGION = re.compile(
    r"(?P<begins><!-- networks: (?P<names>[^>]+) -->\n).*?" + re.escape(REGION_ENDS), re.DOTALL
)
_SIZE_ROW = re.compile(r"^\| (?P<name>[a-z]\w*) +\|(?P<cells>.*)\|$", re.MULTILINE)
_SPEED_ROW = re.compile(
    r"^\| `(?P<name>\w+)`(?P<how>[^|]*)\| (?P<speed>[\d.]+ \([\d.]+-[\d.]+\)) \|", re.MULTILINE
)


@dataclass(frozen=True)
class Sources:
    """What the tables are made of.

    Attributes:
        sizes: network -> cells of its row of docs/models.md, without the name.
        speeds: network -> images/s, with the size and batch where they are not the usual ones.
        recipes: those whose training is published.
    """

    sizes: Mapping[str, Sequence[str]]
    speeds: Mapping[str, str]
    recipes: Sequence[Recipe]


def sources() -> Sources:
    """Reads the sources in the tree."""
    models, benchmarks = (
        (DOCS / name).read_text(encoding="utf-8") for name in ("models.md", "benchmarks.md")
    )
    sizes = {
        row["name"]: [cell.strip() for cell in row["cells"].split("|")]
        for row in _SIZE_ROW.finditer(models)
        if row["name"] in registry.names()
    }
    speeds = {
        row["name"]: _speed(row["speed"], row["how"]) for row in _SPEED_ROW.finditer(benchmarks)
    }
    recipes = [catalog.read(catalog.path_of(name)) for name in catalog.names() if "/" in name]
    return Sources(sizes, speeds, recipes)


def _speed(speed: str, how: str) -> str:
    """Returns images/s with how they were measured; "apart" concerns the ratio alone."""
    conditions = [word.strip() for word in how.split(",") if word.strip() not in ("", "apart")]
    return ", ".join([speed, *conditions])


def networks(page: str) -> list[str]:
    """Returns the networks of a page, in the order in which it names them.

    Raises:
        ValueError: it has no region, or a pattern that matches no network.
    """
    region = _REGION.search(page)
    if region is None:
        raise ValueError("the page lacks the comments around its tables")
    found: list[str] = []
    for pattern in region["names"].split():
        names = [name for name in registry.names() if fnmatch.fnmatchcase(name, pattern)]
        if not names:
            raise ValueError(f"no network is called {pattern}")
        found += [name for name in names if name not in found]
    return found


def with_tables(page: str, found: Sources) -> str:
    """Returns the text of a page with new tables."""
    names = networks(page)
    rows: list[Sequence[str]] = [SIZES]
    for name in names:
        pixels, outputs, parameters, macs, _, _, memory = found.sizes[name]
        speed = found.speeds.get(name, NOT_RUN)
        rows.append((f"`{name}`", pixels, outputs, parameters, macs, memory, speed))
    text = f"\n{catalog.table(rows)}\n{CAPTION}\n"
    accuracies = _accuracies(names, found.recipes)
    if accuracies:
        text += f"{catalog.table([ACCURACIES, *accuracies])}\n"
    return _REGION.sub(lambda region: f"{region['begins']}{text}{REGION_ENDS}", page)


def _accuracies(names: Sequence[str], recipes: Sequence[Recipe]) -> list[Sequence[str]]:
    """Returns a row for each recipe and for each file of weights of these networks."""
    rows: list[Sequence[str]] = []
    for recipe in recipes:
        if recipe.params.network.model not in names:
            continue
        link = f"recipe [{recipe.name}](../../{catalog.shown(recipe.path)})"
        maker = re.split(r"[:,;] |\. ", recipe.head[SOURCE])[0]
        accuracy, stated = _published(recipe.head[PUBLISHED])
        measured = recipe.head[MEASURED]
        measured = NOT_RUN if measured.startswith(NOT_RUN) else measured
        rows.append((accuracy, link, maker, stated, measured))
    for name, entry in published.entries().items():
        if name in names:
            top_1, top_5 = entry.expected_top_1_percent, entry.expected_top_5_percent
            accuracy = f"{top_1}% (top-5 {top_5}%)"
            stated = entry.accuracy_source.partition(";")[0]
            rows.append((accuracy, f"weights of `{name}`", "`--pretrained`", stated, NOT_RUN))
    return rows


def _published(text: str) -> tuple[str, str]:
    """Returns the accuracy of a recipe's head, "-" if none is published, and where it is stated."""
    if text.startswith(NOT_PUBLISHED):
        return "-", text
    accuracy, _, stated = text.partition(" top-1 ")
    return accuracy, re.sub(r"^\((.*?)\)", r"\1", stated)


def pages() -> list[Path]:
    """Returns the pages of the families."""
    return sorted(FOLDER.glob("*.md"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrites the tables of all pages; returns the exit code."""
    commands.parser("python -m recipes.families", __doc__).parse_args(arguments)
    return commands.run(_write)


def _write() -> None:
    found = sources()
    for page in pages():
        with files.write_errors(page):
            files.write_text(page, with_tables(page.read_text(encoding="utf-8"), found))
    print(f"written: {len(pages())} pages in {FOLDER}")


if __name__ == "__main__":
    process.restart_with_defaults()
    sys.exit(main())
