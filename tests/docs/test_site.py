"""`make docs-site`: its pages, links and anchors; and that it loads nothing from elsewhere."""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort
from PIL import Image

from tests.conftest import ROOT

PAGES_OF_A_SMALL_TREE = ["index.md", "contributing.md", "changelog.md", "page.md", "other.md"]
FROM_ELSEWHERE = re.compile(r"""(?:\ssrc=|<link[^>]*\shref=|@import\s|url\()["']?(?:https?:)?//""")


def make_site(tree: Path, output: Path, **settings) -> Path:
    """Builds the site of a tree, as strictly as `make docs-site`."""
    logger = logging.getLogger("mkdocs")
    before = list(logger.handlers)
    config = load_config(str(tree / "mkdocs.yml"), strict=True, site_dir=str(output), **settings)
    try:
        build(config)
    finally:
        logger.handlers[:] = before
    return output


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    return make_site(ROOT, tmp_path_factory.mktemp("site"))


def test_every_page_is_in_the_navigation_and_every_link_leads_somewhere(site):
    pages = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
    assert pages <= {path.relative_to(site).with_suffix(".md") for path in site.rglob("*.html")}


def test_the_first_page_is_the_readme(site):
    page = (site / "index.html").read_text("utf-8")
    assert "make demo" in page
    assert 'href="first_run.html"' in page
    assert 'src="images/demo_curves.png"' in page


def test_files_of_the_tree_have_pages(site):
    page = (site / "models" / "resnet.html").read_text("utf-8")
    assert 'href="../tree/recipes/resnet/a1.flags.html"' in page
    recipe = (site / "tree" / "recipes" / "resnet" / "a1.flags.html").read_text("utf-8")
    assert "--model=resnet50" in recipe


def test_nothing_is_loaded_from_elsewhere(site):
    loaded = [
        path.relative_to(site)
        for path in site.rglob("*")
        if path.suffix in (".html", ".css") and FROM_ELSEWHERE.search(path.read_text("utf-8"))
    ]
    assert not loaded


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        pytest.param("[a](nothing.md)", "target is not found", id="page"),
        pytest.param("[a](page.md#nothing)", "does not contain an anchor", id="anchor"),
        pytest.param("[a](#nothing)", "no such anchor", id="anchor of the page"),
        pytest.param("[a](../nothing.py)", "target is not found", id="file of the tree"),
        pytest.param("[a](../recipes)", "target is not found", id="folder of the tree"),
        pytest.param("![a](images/nothing.png)", "target is not found", id="image"),
    ],
)
def test_a_wrong_link_ends_the_build(tmp_path, caplog, link, reason):
    tree = small_tree(tmp_path / "tree", link)
    with pytest.raises(Abort, match="1 warnings in strict mode"):
        make_site(tree, tmp_path / "site", nav=PAGES_OF_A_SMALL_TREE)
    (warning,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert "'other.md'" in warning
    assert reason in warning


def test_links_are_those_of_a_checkout(tmp_path):
    """The anchors are those of Git hosts, and each page leads to the others."""
    links = ("page.md#a-title-of--signs", "../recipe.flags", "../README.md#in-short", "page.md")
    tree = small_tree(tmp_path / "tree", " ".join(f"[a]({link})" for link in links))
    site = make_site(tree, tmp_path / "site", nav=PAGES_OF_A_SMALL_TREE)
    found = re.findall(r'<a href="([^"]+)">a</a>', (site / "other.html").read_text("utf-8"))
    assert found == [
        "page.html#a-title-of--signs",
        "tree/recipe.flags.html",
        "index.html#in-short",
        "page.html",
    ]


def small_tree(tree: Path, line: str) -> Path:
    """Returns a tree with two pages, one of which ends with `line`."""
    (tree / "docs").mkdir(parents=True)
    (tree / "recipes").mkdir()
    for name in ("mkdocs.yml", "docs/hooks.py", "docs/site.css"):
        shutil.copy(ROOT / name, tree / name)
    (tree / "README.md").write_text("# A project\n\n## In short\n\n[a page](docs/page.md)\n")
    (tree / "CONTRIBUTING.md").write_text("# Rules\n\n[a page](docs/page.md#a-title-of--signs)\n")
    (tree / "CHANGELOG.md").write_text("# Changes\n\n[a file](recipe.flags)\n")
    (tree / "recipe.flags").write_text("--model=lenet\n")
    (tree / "docs" / "page.md").write_text("# A page\n\n## A title of / signs\n")
    (tree / "docs" / "other.md").write_text(f"# Another\n\n{line}\n")
    return tree


@pytest.mark.slow
@pytest.mark.parametrize("page", ["index", "models/resnet", "benchmarks"])
def test_a_browser_draws_the_page(site, page, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium is installed")
    picture = tmp_path / "page.png"
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--window-size=1300,1500")
    address = (site / f"{page}.html").as_uri()
    subprocess.run(
        [browser, *options, f"--user-data-dir={tmp_path}", f"--screenshot={picture}", address],
        check=True,
        capture_output=True,
        timeout=300,
    )
    pixels = np.asarray(Image.open(picture).convert("L"))
    assert pixels.shape == (1500, 1300)
    # The header is dark, the page light, and there is text in the middle of it.
    assert pixels[:60].mean() < 120
    assert np.median(pixels) > 230
    assert (pixels[300:1200, 250:1000] < 100).mean() > 0.005
