"""Reads worst.html as a browser would: figures, their texts and their pictures."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser

import numpy as np
from PIL import Image

_VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """The figures of a page; raises AssertionError where tags do not match.

    Attributes:
        figures: of each the lines of its text, with classes of its elements in front.
        pictures: of each the array of its thumbnail, or None.
        addresses: everything that an attribute makes a browser load.
        title, text: of the page.
    """

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.figures, self.pictures, self.addresses, self.alts = [], [], [], []
        self.title, self.text, self._open = "", "", []
        self.feed(source)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "figure":
            self.figures.append([])
            self.pictures.append(None)
        if tag == "img":
            self.alts.append(attributes["alt"])
            kind, _, data = attributes["src"].partition(",")
            assert kind == "data:image/jpeg;base64"
            picture = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
            self.pictures[-1] = np.asarray(picture)
        assert tag != "script"
        self.addresses += [attributes[name] for name in ("src", "href") if name in attributes]
        if tag not in _VOID:
            self._open.append((tag, attributes.get("class")))

    def handle_endtag(self, tag):
        assert self._open.pop()[0] == tag

    def handle_data(self, data):
        tag, kind = self._open[-1] if self._open else (None, None)
        if tag == "title":
            self.title += data
        elif tag != "style":
            self.text += data
        inside = any(name == "figure" for name, _ in self._open)
        if inside and data.strip():
            self.figures[-1].append((kind or tag, data.strip()))
