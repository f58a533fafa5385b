"""Shows augmented views of photos: `python -m preprocessing.contact_sheet PHOTO...`.

Without further flags, each augmentation gets a row of views, drawn as a training run draws them.

With --train_dir=RUN, with augmentation flags of train.py, or with both, each photo gets a row: the
photo, then the views that a run with these flags makes of it. A flag overrides the run's.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

import models.registry
from benchmark_cnn.params.data_params import FLIP_FLAGS, VIEW_FLAGS, DataParams
from benchmark_cnn.params.flag import Flag
from benchmark_cnn.params.params import FLAGS, Params, read_parameters
from benchmark_cnn.params.values import parse_image_sizes
from common import commands, paths, process
from common.commands import at_least
from common.errors import DataError
from preprocessing import registry
from preprocessing.images import photos

_CROPPED = DataParams(train_crop="efficientnet")
ROWS = {
    "none": _CROPPED,
    "rotation_degrees": replace(_CROPPED, rotation_degrees=30.0),
    "color": replace(_CROPPED, augment="color"),
    "autoaugment": replace(_CROPPED, augment="autoaugment"),
    "randaugment": replace(_CROPPED, augment="randaugment"),
    "trivialaugment": replace(_CROPPED, augment="trivialaugment"),
    "augmix": replace(_CROPPED, augment="augmix"),
    "random_grayscale": replace(_CROPPED, random_grayscale=0.5),
    "random_blur": replace(_CROPPED, random_blur=1.0),
    "random_erasing": replace(_CROPPED, random_erasing=1.0),
    "mixup_alpha": replace(_CROPPED, mixup_alpha=1.0),
    "cutmix_alpha": replace(_CROPPED, cutmix_alpha=1.0),
}
_RUN_FLAGS = (
    *(name for name in VIEW_FLAGS if not name.startswith("eval_")),
    *FLIP_FLAGS,
    *("random_erasing", "mixup_alpha", "cutmix_alpha"),
)
_LABEL_WIDTH = 100
_MOST_LETTERS = 15
_MOST_PHOTOS = 12
_SMALL = 96
_NUM_COLORS = 256  # a palette makes the file a third as large


class _Photo(NamedTuple):
    path: Path
    encoded: bytes


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws the sheet that the command line asks for; returns the exit code."""
    options = _parser().parse_args(arguments)
    return commands.run(lambda: _write(options))


def _parser() -> argparse.ArgumentParser:
    parser = commands.parser("python -m preprocessing.contact_sheet", __doc__)
    parser.add_argument(
        "photos", nargs="+", metavar="PHOTO", type=paths.argument, help="a file or a folder"
    )
    parser.add_argument("--output", type=_image_file, default=Path("augmentation.png"))
    parser.add_argument("--num_views", type=at_least(1), default=8, help="in each row")
    parser.add_argument(
        "--image_size",
        type=at_least(1),
        help=f"of a view, in pixels (default: the run's; {_SMALL} without a run)",
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--train_dir", type=paths.argument, metavar="RUN", help="a run's directory")
    parser.add_argument(
        "--data_name", choices=registry.names(), help="whose views (default: the run's, or folder)"
    )
    group = parser.add_argument_group("augmentation", "as train.py has it")
    for flag in (FLAGS[name] for name in _RUN_FLAGS):
        bare = {"nargs": "?", "const": True} if flag.kind is bool else {}
        group.add_argument(f"--{flag.name}", type=_value_of(flag), help=argparse.SUPPRESS, **bare)
    group.description = f"as train.py has it: {', '.join(f'--{name}' for name in _RUN_FLAGS)}"
    return parser


def _value_of(flag: Flag) -> Callable[[str], object]:
    def parse(text: str) -> object:
        try:
            return flag.from_text(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text} {error}") from error

    return parse


def _image_file(text: str) -> Path:
    """Parses a path with the suffix of a format that Pillow can write."""
    path = paths.argument(text)
    file_format = Image.registered_extensions().get(path.suffix.lower())
    if file_format not in Image.SAVE:
        raise argparse.ArgumentTypeError(f"{text!r} has no suffix of an image format, such as .png")
    return path


def _write(options: argparse.Namespace) -> None:
    process.start_tensorflow()
    found = photos.find(options.photos)
    given = {name: getattr(options, name) for name in (*_RUN_FLAGS, "data_name")}
    given = {name: value for name, value in given.items() if value is not None}
    run = Params() if options.train_dir is None else read_parameters(options.train_dir)
    size = options.image_size or _SMALL
    if options.train_dir is None and not given:
        sheet = draw(_loaded(found), options.num_views, size, options.seed)
    else:
        if options.train_dir is not None and options.image_size is None:
            size = _image_size(run)
        data = replace(run.data, **given)
        chosen = _loaded(found[:: -(-len(found) // _MOST_PHOTOS)])
        sheet = draw_run(data, chosen, options.num_views, size, options.seed)
        shown = {name: getattr(data, name) for name in (*_RUN_FLAGS, "data_name")}
        changed = {n: v for n, v in shown.items() if v != FLAGS[n].default}
        print(*(f"--{name}={value}" for name, value in changed.items()))
    try:
        sheet.quantize(_NUM_COLORS).save(options.output, optimize=True)
    except (OSError, ValueError) as error:  # the disk, or a format without palettes
        raise DataError(f"cannot write {options.output}: {error}") from error
    print(f"{options.output}: {sheet.width} x {sheet.height} pixels")


def _image_size(run: Params) -> int:
    """Returns the size of a run's training images, in pixels; the last one if it changes."""
    if run.network.image_size_schedule is not None:
        return parse_image_sizes(run.network.image_size_schedule)[-1][0]
    return run.network.image_size or models.registry.get(run.network.model).image_size


def _loaded(found: Sequence[Path]) -> list[_Photo]:
    return [_Photo(path, photos.load(path)) for path in found]


def draw(chosen: Sequence[_Photo], num_views: int, image_size: int, seed: int = 1) -> Image.Image:
    """Draws a row of views for each of `ROWS`, with its name in front of it.

    Args:
        chosen: each row cycles through them.
        num_views: views in each row.
        image_size: height and width of a view in pixels.
        seed: of the random views.
    """
    cycled = [chosen[number % len(chosen)] for number in range(num_views)]
    rows = {name: views(data, cycled, image_size, seed) for name, data in ROWS.items()}
    return _sheet(list(rows), list(rows.values()), image_size)


def draw_run(
    data: DataParams, chosen: Sequence[_Photo], num_views: int, image_size: int, seed: int
) -> Image.Image:
    """Draws a row for each photo: the photo, then views of a run with the parameters `data`."""
    drawn = views(data, list(chosen) * num_views, image_size, seed)
    by_photo = drawn.reshape(num_views, len(chosen), *drawn.shape[1:]).swapaxes(0, 1)
    whole = np.stack([_whole(photo, image_size) for photo in chosen])
    names = [photo.path.stem[:_MOST_LETTERS] for photo in chosen]
    rows = np.concatenate([whole[:, np.newaxis], by_photo], 1)
    return _sheet(names, list(rows), image_size)


def _whole(photo: _Photo, image_size: int) -> np.ndarray:
    """Returns a photo in a square of white: uint8 [image_size, image_size, 3]."""
    image = Image.fromarray(photos.read(photo.path))
    image.thumbnail((image_size, image_size))
    square = Image.new("RGB", (image_size, image_size), "white")
    square.paste(image, ((image_size - image.width) // 2, (image_size - image.height) // 2))
    return np.asarray(square)


def _sheet(names: Sequence[str], rows: Sequence[np.ndarray], image_size: int) -> Image.Image:
    size = (_LABEL_WIDTH + len(rows[0]) * image_size, len(rows) * image_size)
    sheet = Image.new("RGB", size, "white")
    writer = ImageDraw.Draw(sheet)
    for row, (name, pictures) in enumerate(zip(names, rows, strict=True)):
        top = row * image_size
        writer.text((4, top + image_size // 2 - 6), name, fill="black")
        for column, picture in enumerate(pictures):
            sheet.paste(Image.fromarray(picture), (_LABEL_WIDTH + column * image_size, top))
    return sheet


def views(data: DataParams, chosen: Sequence[_Photo], image_size: int, seed: int) -> np.ndarray:
    """Draws a training view of each photo: uint8 [photos, image_size, image_size, 3]."""
    import tensorflow as tf

    from preprocessing.augmentation.batch_augmentation import BatchAugmentation
    from preprocessing.datasets import train_view
    from preprocessing.images.views import to_bytes
    from preprocessing.randomness import example_seed
    from preprocessing.records.examples import Example

    train_image = train_view(data.data_name or "folder", data)
    batch = []
    for number, photo in enumerate(chosen):
        example = Example(tf.constant(photo.encoded), tf.constant(0), tf.zeros([0, 4]))
        position = tf.constant(number, tf.int64)
        own_seed = example_seed(seed, 0, tf.constant(0, tf.int64), position)
        with photos.naming(photo.path):
            batch.append(train_image(example, image_size, own_seed, position))
    key = tf.constant([seed, 0], tf.int32)
    stacked, _ = BatchAugmentation(data)(tf.stack(batch), tf.range(len(chosen)), key)
    return to_bytes(tf.cast(stacked, tf.float32)).numpy()


if __name__ == "__main__":
    sys.exit(main())
