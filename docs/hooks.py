"""Brings the files outside of docs/ that pages link to into the site (hooks of mkdocs.yml).

Links in the documentation are those of a checkout, as Git hosts follow them. README.md is the first
page of the site; any other file of the tree that a page links to gets a page with its text.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).resolve().parents[1]
DOCS = "docs/"
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
_FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages of files outside of docs/."""
    for path, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / path).read_text("utf-8")))
    for path in sorted(_linked_files(files)):
        name = posixpath.basename(path)
        text = f"# {name}\n\n`{path}`\n\n````text\n{(ROOT / path).read_text('utf-8')}\n````\n"
        page = File.generated(config, _page(path), content=text)
        page.inclusion = InclusionLevel.NOT_IN_NAV
        files.append(page)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Returns a page whose links lead to pages of the site."""
    here = page.file.src_uri

    def replace(path: str) -> str:
        to = _page(_path_in_tree(here, path))
        return posixpath.relpath(to, posixpath.dirname(here) or ".")

    return _with_links(markdown, replace)


def _linked_files(files: Files) -> set[str]:
    """Returns the files outside of docs/ that pages link to and that are no page yet."""
    found: set[str] = set()
    for file in files.documentation_pages():

        def collect(path: str, here: str = file.src_uri) -> str:
            target = _path_in_tree(here, path)
            if not target.startswith(DOCS) and target not in PAGES and (ROOT / target).is_file():
                found.add(target)
            return path

        _with_links(file.content_string, collect)
    return found


def _path_in_tree(page: str, link: str) -> str:
    """Returns the path from the root of the file that a link on a page of the site is meant for."""
    sources = {name: path for path, name in PAGES.items()}
    source = sources.get(page, DOCS + page)
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), link))


def _page(path: str) -> str:
    """Returns the page, or the file, of the site that stands for a file of the tree."""
    if path.startswith(DOCS):
        return path.removeprefix(DOCS)
    return PAGES.get(path, f"tree/{path}.md")


def _with_links(markdown: str, replace: Callable[[str], str]) -> str:
    """Returns the text with the target of each link replaced, outside of blocks of code."""
    parts, end = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [_LINK.sub(lambda link: replace(link[1]), markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, _LINK.sub(lambda link: replace(link[1]), markdown[end:])])
