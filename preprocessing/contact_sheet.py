"""Shows augmented views of photos: `python -m preprocessing.contact_sheet PHOTO...`.

Each augmentation gets a row of views, drawn as a training run draws them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from benchmark_cnn.params.data_params import DataParams
from common import commands, paths, process
from common.commands import at_least
from common.errors import DataError
from preprocessing.images import photos

_CROPPED = DataParams(train_crop="efficientnet")
ROWS = {
    "none": _CROPPED,
    "color": replace(_CROPPED, augment="color"),
    "autoaugment": replace(_CROPPED, augment="autoaugment"),
    "randaugment": replace(_CROPPED, augment="randaugment"),
    "random_erasing": replace(_CROPPED, random_erasing=1.0),
    "mixup_alpha": replace(_CROPPED, mixup_alpha=1.0),
    "cutmix_alpha": replace(_CROPPED, cutmix_alpha=1.0),
}
_LABEL_WIDTH = 100
_NUM_COLORS = 256  # a palette makes the file a third as large


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws the sheet that the command line asks for; returns the exit code."""
    options = _parser().parse_args(arguments)
    return commands.run(lambda: _write(options))


def _parser() -> argparse.ArgumentParser:
    parser = commands.parser("python -m preprocessing.contact_sheet", __doc__)
    parser.add_argument("photos", nargs="+", metavar="PHOTO", type=paths.argument)
    parser.add_argument("--output", type=_image_file, default=Path("augmentation.png"))
    parser.add_argument("--num_views", type=at_least(1), default=8, help="in each row")
    parser.add_argument("--image_size", type=at_least(1), default=96, help="of a view, in pixels")
    parser.add_argument("--seed", type=int, default=1)
    return parser


def _image_file(text: str) -> Path:
    """Parses a path with the suffix of a format that Pillow can write."""
    path = paths.argument(text)
    file_format = Image.registered_extensions().get(path.suffix.lower())
    if file_format not in Image.SAVE:
        raise argparse.ArgumentTypeError(f"{text!r} has no suffix of an image format, such as .png")
    return path


def _write(options: argparse.Namespace) -> None:
    process.start_tensorflow()
    pixels = [photos.read(path) for path in options.photos]
    sheet = draw(pixels, options.num_views, options.image_size, options.seed)
    try:
        sheet.quantize(_NUM_COLORS).save(options.output, optimize=True)
    except (OSError, ValueError) as error:  # the disk, or a format without palettes
        raise DataError(f"cannot write {options.output}: {error}") from error


def draw(
    pixels: Sequence[np.ndarray], num_views: int, image_size: int, seed: int = 1
) -> Image.Image:
    """Draws a row of views for each of `ROWS`, with its name in front of it.

    Args:
        pixels: photos, uint8 [height, width, 3]; each row cycles through them.
        num_views: views in each row.
        image_size: height and width of a view in pixels.
        seed: of the random views.
    """
    size = (_LABEL_WIDTH + num_views * image_size, len(ROWS) * image_size)
    sheet = Image.new("RGB", size, "white")
    writer = ImageDraw.Draw(sheet)
    for row, (name, data) in enumerate(ROWS.items()):
        top = row * image_size
        writer.text((4, top + image_size // 2 - 6), name, fill="black")
        for column, view in enumerate(views(data, pixels, num_views, image_size, seed)):
            left = _LABEL_WIDTH + column * image_size
            sheet.paste(Image.fromarray(view), (left, top))
    return sheet


def views(
    data: DataParams,
    pixels: Sequence[np.ndarray],
    num_views: int,
    image_size: int,
    seed: int,
) -> np.ndarray:
    """Draws training views of the photos: uint8 [num_views, image_size, image_size, 3]."""
    import tensorflow as tf

    from preprocessing.augmentation.batch_augmentation import BatchAugmentation
    from preprocessing.images.views import to_bytes, train_image
    from preprocessing.randomness import example_seed
    from preprocessing.records.examples import Example

    batch = []
    for number in range(num_views):
        encoded = tf.io.encode_png(pixels[number % len(pixels)])
        example = Example(encoded, tf.constant(0), tf.zeros([0, 4]))
        position = tf.constant(number, tf.int64)
        own_seed = example_seed(seed, 0, tf.constant(0, tf.int64), position)
        batch.append(train_image(data, example, image_size, own_seed, position))
    key = tf.constant([seed, 0], tf.int32)
    stacked, _ = BatchAugmentation(data)(tf.stack(batch), tf.range(num_views), key)
    return to_bytes(tf.cast(stacked, tf.float32)).numpy()


if __name__ == "__main__":
    sys.exit(main())
