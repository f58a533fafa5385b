"""Writes worst.html, the images that a network is most surely wrong about, in one file."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmark_cnn.class_report import NO_CLASS
from common.errors import RunError
from inference.accuracy.images import Images
from inference.accuracy.scores import Outcomes
from inference.predictions.table import Predictions

PAGE_FILE = "worst.html"
_THUMBNAIL_PIXELS = 160
_CLASSES_OF_AN_IMAGE = 3
# The page loads nothing: its thumbnails are in it.
_HEAD = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 14px/1.4 sans-serif; margin: 2em; color: #222; background: #fff; }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); gap: 1.5em; }}
figure {{ margin: 0; overflow-wrap: anywhere; }}
img, .none {{ width: 160px; height: 160px; object-fit: contain; background: #eee; }}
.none {{ display: grid; place-items: center; padding: 0 1em; box-sizing: border-box; }}
.true {{ color: #00704f; }}
.wrong {{ color: #b04000; }}
small {{ color: #666; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{summary}</p>
<main>
"""
_FIGURE = """\
<figure>
{picture}
<figcaption>
<div class="true">{true}</div>
{predicted}
<small>{image}</small>
</figcaption>
</figure>
"""
_PICTURE = '<img src="data:image/jpeg;base64,{data}" alt="{image}">'
_TAIL = "</main>\n</body>\n</html>\n"


def worst(outcomes: Outcomes, number: int) -> np.ndarray:
    """Returns the places of wrong images, the most probable wrong class first, ties in order."""
    wrong = np.flatnonzero(~outcomes.top_1 & ~outcomes.is_missing)
    order = np.argsort(-outcomes.probabilities[wrong, 0], kind="stable")
    return wrong[order[:number]]


def page(predictions: Predictions, outcomes: Outcomes, number: int) -> str:
    """Returns the page as HTML. An image that cannot be read is replaced by the reason.

    Args:
        outcomes: Of the predictions.
        number: The most images to show.
    """
    manifest = predictions.manifest
    places, images = worst(outcomes, number), Images(manifest)
    names: Sequence[str] = manifest["class_names"]
    figures = [
        _FIGURE.format(
            picture=_picture(str(outcomes.images[place]), images),
            true=html.escape(names[int(outcomes.true[place])]),
            predicted=_predicted(outcomes, place, names),
            image=html.escape(str(outcomes.images[place])),
        )
        for place in places
    ]
    num_wrong = int(np.sum(~outcomes.top_1 & ~outcomes.is_missing))
    num_missing = int(outcomes.is_missing.sum())
    summary = (
        f"{num_wrong:,} of {len(outcomes.images):,} images are classified wrongly, and "
        f"{num_missing:,} have no prediction. The {len(places):,} here are those with the most "
        "probable wrong class. The true class is green."
    )
    data = manifest.get("data") or {}
    title = html.escape(f"{manifest['model']} on {data.get('name', 'unknown data')}")
    return "".join([_HEAD.format(title=title, summary=summary), *figures, _TAIL])


def thumbnail(encoded: bytes) -> bytes:
    """Returns a JPEG of the image, at most 160 pixels high and wide.

    Raises:
        OSError, ValueError, SyntaxError, DecompressionBombError: Pillow cannot decode the image.
    """
    from PIL import Image

    with Image.open(io.BytesIO(encoded)) as image:
        image.draft("RGB", (_THUMBNAIL_PIXELS, _THUMBNAIL_PIXELS))  # decodes a JPEG at half size
        small: Any = image.convert("RGB")
    small.thumbnail((_THUMBNAIL_PIXELS, _THUMBNAIL_PIXELS))
    written = io.BytesIO()
    small.save(written, format="JPEG", quality=85)
    return written.getvalue()


def _picture(image: str, images: Images) -> str:
    from PIL.Image import DecompressionBombError

    try:
        data = base64.b64encode(thumbnail(images.read(image))).decode("ascii")
    # Pillow raises a SyntaxError for some damaged PNGs.
    except (RunError, OSError, ValueError, SyntaxError, DecompressionBombError) as error:
        return f'<div class="none">{html.escape(str(error))}</div>'
    return _PICTURE.format(data=data, image=html.escape(image))


def _predicted(outcomes: Outcomes, place: int, class_names: Sequence[str]) -> str:
    lines = []
    columns = (outcomes.classes[place], outcomes.probabilities[place])
    ranked = [column[:_CLASSES_OF_AN_IMAGE].tolist() for column in columns]
    for number, probability in zip(*ranked, strict=True):
        if number != NO_CLASS:
            kind = "true" if number == outcomes.true[place] else "wrong"
            name = html.escape(class_names[int(number)])
            lines.append(f'<div class="{kind}">{100 * probability:.1f}% {name}</div>')
    return "\n".join(lines)
