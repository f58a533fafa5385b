"""Class folders of letters on photographs: a data set of one's own that needs no download.

    python -m benchmarks.own_photos.letters DIR [--num_images=3000] [--image_size=128]

The letters a to z, in the fonts that Matplotlib ships, in many sizes and colors, lie a little
turned on parts of the photographs of scikit-image and scikit-learn. Rare classes have a third of
the images of frequent ones. Some letters are others' mirror images: b and d, p and q. Equal
arguments give equal files.
"""

from __future__ import annotations

import shutil
import string
import sys
from collections.abc import Sequence
from importlib import util
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from common import commands
from common.commands import at_least
from common.errors import UsageError

LETTERS = string.ascii_lowercase
# Matplotlib's fonts with these letters; its symbol fonts have none.
_FONT_NAMES = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    *("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
    *("cmr10", "cmb10", "cmss10", "cmti10", "cmtt10"),
)
_PHOTOGRAPHS = {
    "skimage": ("chelsea.png", "coffee.png", "rocket.jpg", "astronaut.png", "motorcycle_left.png"),
    "sklearn": ("china.jpg", "flower.jpg"),
}
_FOLDERS = {"skimage": "data", "sklearn": "datasets/images"}
# Of the image's side: the height of a letter, and how far its center may be from the image's.
_HEIGHTS, _SHIFT = (0.4, 0.8), 0.1
_MOST_TURNED = 10  # degrees
_SHARE_OF_RARE = 1 / 3
_LEAST_CONTRAST = 90  # levels between the letter and the mean of what it lies on


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the set that the command line asks for; returns the exit code."""
    parser = commands.parser("python -m benchmarks.own_photos.letters", __doc__, allow_abbrev=False)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--num_images", type=at_least(len(LETTERS)), default=3000)
    parser.add_argument("--image_size", type=at_least(16), default=128, help="in pixels")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)

    def run() -> None:
        counts = write(options.directory, options.num_images, options.image_size, options.seed)
        listed = ", ".join(f"{letter} {count}" for letter, count in counts.items())
        print(f"{options.directory}: {sum(counts.values()):,} images ({listed})")

    return commands.run(run)


def write(directory: Path, num_images: int, image_size: int, seed: int) -> dict[str, int]:
    """Writes `directory/LETTER/NUMBER.jpg`; returns the number of images of each letter.

    Raises:
        UsageError: The directory exists, or the photographs are not installed.
    """
    if directory.exists():
        raise UsageError(f"{directory} exists: remove it, or give another directory")
    random = np.random.default_rng(seed)
    photographs = [Image.open(path).convert("RGB") for path in _files(_PHOTOGRAPHS, _FOLDERS)]
    folder = {"matplotlib": "mpl-data/fonts/ttf"}
    fonts = _files({"matplotlib": [f"{name}.ttf" for name in _FONT_NAMES]}, folder)
    counts = _counts(random, num_images)
    try:
        for letter, count in counts.items():
            (directory / letter).mkdir(parents=True)
            for number in range(count):
                background = _part(random, photographs, image_size)
                font = fonts[random.integers(len(fonts))]
                image = _with_letter(random, background, letter, font)
                image.save(directory / letter / f"{number:04}.jpg", quality=90)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    return counts


def _counts(random: np.random.Generator, num_images: int) -> dict[str, int]:
    """Returns how many images each letter has, in shares from 1/3 to 1 in random order."""
    shares = random.permutation(np.linspace(_SHARE_OF_RARE, 1, len(LETTERS)))
    ends = np.rint(np.cumsum(shares) / shares.sum() * num_images).astype(int)
    return dict(zip(LETTERS, np.diff(ends, prepend=0).tolist(), strict=True))


def _part(random: np.random.Generator, photographs: list[Image.Image], size: int) -> Image.Image:
    photograph = photographs[random.integers(len(photographs))]
    side = int(random.uniform(0.3, 0.9) * min(photograph.size))
    left, top = (int(random.integers(0, length - side + 1)) for length in photograph.size)
    return photograph.crop((left, top, left + side, top + side)).resize((size, size))


def _with_letter(
    random: np.random.Generator, background: Image.Image, letter: str, font: Path
) -> Image.Image:
    size = background.size[0]
    drawn = ImageFont.truetype(str(font), size)
    left, top, right, bottom = drawn.getbbox(letter)
    mask = Image.new("L", (int(right - left) + 4, int(bottom - top) + 4))
    ImageDraw.Draw(mask).text((2 - left, 2 - top), letter, fill=255, font=drawn)
    mask = mask.rotate(
        random.uniform(-_MOST_TURNED, _MOST_TURNED), Image.Resampling.BICUBIC, expand=True
    )
    scale = random.uniform(*_HEIGHTS) * size / max(mask.size)
    mask = mask.resize([max(1, round(scale * length)) for length in mask.size])
    center = (0.5 + random.uniform(-_SHIFT, _SHIFT, 2)) * size
    place = [round(c - length / 2) for c, length in zip(center, mask.size, strict=True)]
    color = _color(random, np.asarray(background).mean(axis=(0, 1)))
    background.paste(color, (place[0], place[1]), mask)
    return background


def _color(random: np.random.Generator, mean: np.ndarray) -> tuple[int, int, int]:
    """Draws a color that stands out from `mean`."""
    while True:
        color = random.integers(0, 256, 3)
        if abs(float(color.mean() - mean.mean())) >= _LEAST_CONTRAST:
            return tuple(color.tolist())


def _files(names: dict, folders: dict[str, str]) -> list[Path]:
    """Returns the files of installed packages.

    Raises:
        UsageError: One is missing.
    """
    found = []
    for package, files in names.items():
        spec = util.find_spec(package)
        if spec is None or spec.origin is None:
            raise UsageError(
                f"{package} is missing: pip install matplotlib scikit-image scikit-learn"
            )
        found += [Path(spec.origin).parent / folders[package] / file for file in files]
    for path in found:
        if not path.is_file():
            raise UsageError(f"{path} is missing: install its package again")
    return found


if __name__ == "__main__":
    sys.exit(main())
