"""Any set of images with one folder per class; `folders.layout` says in which forms.

Of a set without a validation split a share of each class is held out. Classes are labeled in the
order of their names, numbers in the order of their values.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote

from common.errors import DataError
from common.paths import one_line, quoted
from download_and_convert_imagenet.sources.folders.layout import Layout, SplitFolders, detect
from download_and_convert_imagenet.sources.folders.split_names import TEST, kind_of
from download_and_convert_imagenet.sources.folders.tree import TWICE, Folder, scan
from download_and_convert_imagenet.sources.image_source import (
    DEFAULT_VALIDATION_FRACTION,
    TRAIN,
    VALIDATION,
    ImageFile,
    ImageSource,
    LeftOut,
    SourceImage,
)
from download_and_convert_imagenet.sources.synsets import labels_by_wnid, synsets

# Data sets that readers treat specially, by the name in the manifest.
_RESERVED_NAMES = frozenset(("imagenet", "cifar10", "digits"))
_SHOWN = 5


def folder_source(
    root: Path,
    validation_fraction: float | None = None,
    *,
    split: str | None = None,
    output: Path | None = None,
) -> ImageSource:
    """Lists the images of class folders.

    Args:
        root: a directory of one of the forms in `folders.layout`; symbolic links are followed.
        validation_fraction: 0 to 1, of a set without a validation split; None means
            DEFAULT_VALIDATION_FRACTION, 0 only a training set and 1 only a validation set.
        split: the only split that is wanted.
        output: the directory of the shards, which is no folder of images.

    Raises:
        DataError: the folders have no reading or several, a class has no training images, or there
            are both a fraction and a validation split.
        OSError: a folder cannot be read.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a directory")
    top, left_out = scan(root, output)
    layout = detect(top)
    left_out += layout.left_out
    if TRAIN not in layout.splits and split is None:
        raise DataError(
            f"{root} has {layout.splits[VALIDATION].folder.name}/ but no train/ with folders of "
            "classes: --split=validation converts it alone"
        )
    first = layout.splits.get(TRAIN) or layout.splits[VALIDATION]
    classes, notes = _ordered(first)
    images = {name: _images(folders, classes, left_out) for name, folders in layout.splits.items()}
    _check_empty_classes(images, layout, classes)
    is_held_out = VALIDATION not in images
    if not is_held_out and validation_fraction is not None:
        folder = layout.splits[VALIDATION].folder.path
        raise DataError(f"{folder} has the validation images: leave the fraction out")
    if is_held_out:
        fraction = _fraction(root, validation_fraction, split)
        images = hold_out(images[TRAIN], fraction)
        notes.append(_describe_hold_out(images, fraction))
        notes += _note_on_splits_next_to(root)
    notes += _notes_on_validation(images, classes, split)
    source = _source(top, classes, images, (*layout.notes, *notes), left_out)
    return replace(source, is_held_out=is_held_out)


def folders_as_given(root: Path, output: Path, flag: str) -> ImageSource:
    """Lists the images of class folders in the splits that the folders have, test included.

    Nothing is held out. Images are named by their paths below `root`.

    Args:
        root, output: see `folder_source`.
        flag: with which the user gave `root`.

    Raises:
        DataError: the folders have no reading or several, or a class has no training images.
        OSError: a folder cannot be read.
    """
    top, left_out = scan(root, output)
    layout = detect(top, with_test=True, flag=flag)
    left_out += layout.left_out
    if TRAIN not in layout.splits:
        other = next(iter(layout.splits.values())).folder
        raise DataError(f"{root} has {other.name}/ but no train/ with folders of classes")
    classes, notes = _ordered(layout.splits[TRAIN])
    images = {name: _images(folders, classes, left_out) for name, folders in layout.splits.items()}
    _check_empty_classes(images, layout, classes)
    below = f"{root}{os.sep}"
    for split, found in images.items():
        images[split] = [i._replace(name=_path(i).removeprefix(below)) for i in found]
    return _source(top, classes, images, (*layout.notes, *notes), left_out)


def _path(image: SourceImage) -> str:
    assert isinstance(image.location, ImageFile)
    return image.location.path


def _source(
    top: Folder,
    classes: Sequence[str],
    images: Mapping[str, Sequence[SourceImage]],
    notes: tuple[str, ...],
    left_out: Sequence[LeftOut],
) -> ImageSource:
    name = one_line(top.name)
    if name.lower() in _RESERVED_NAMES or not name:
        name = "folder"
    return ImageSource(
        name,
        tuple(_words(name) for name in classes),
        images,
        keep_png=True,
        upright=True,
        notes=notes,
        left_out=tuple(left_out),
    )


def hold_out(images: Sequence[SourceImage], fraction: float) -> dict[str, list[SourceImage]]:
    """Divides the images of each class: the nearest number to `fraction` is for validation.

    At least one image of each class stays for training, unless the fraction is 1. Which images are
    held out is decided by the SHA-256 of their names alone.
    """
    of_class: dict[int, list[SourceImage]] = defaultdict(list)
    for image in images:
        of_class[image.label].append(image)
    chosen: set[str] = set()
    for members in of_class.values():
        count = min(int(len(members) * fraction + 0.5), len(members) - (fraction < 1))
        chosen.update(image.name for image in sorted(members, key=_position)[:count])
    splits = {
        TRAIN: [image for image in images if image.name not in chosen],
        VALIDATION: [image for image in images if image.name in chosen],
    }
    return {split: members for split, members in splits.items() if members}


def _position(image: SourceImage) -> bytes:
    """Returns a key that depends on the name alone and is the same everywhere."""
    return hashlib.sha256(image.name.encode("utf-8", "surrogateescape")).digest()


def _fraction(root: Path, fraction: float | None, split: str | None) -> float:
    """Returns the share of the images to hold out; a validation set alone is held out whole."""
    if fraction is not None:
        return fraction
    if split != VALIDATION:
        return DEFAULT_VALIDATION_FRACTION
    if kind_of(root.resolve().name) in (VALIDATION, TEST):
        return 1
    raise DataError(
        f"{root} has no validation split, so --split=validation may mean two things: add "
        "--validation_fraction=1 for all of its images, or "
        f"--validation_fraction={DEFAULT_VALIDATION_FRACTION:g} for the share that --split=train "
        "leaves out"
    )


def _describe_hold_out(images: Mapping[str, Sequence[SourceImage]], fraction: float) -> str:
    held_out = len(images.get(VALIDATION, ()))
    if fraction == 1:
        return f"all {held_out:,} images are for validation"
    if held_out:
        total = held_out + len(images[TRAIN])
        share = f"{fraction * 100:.12g}% of each class"
        return f"held out for validation: {held_out:,} of {total:,} images, {share}"
    if not fraction:
        return "no validation split, and no image is held out"
    largest = max(Counter(image.label for image in images[TRAIN]).values())
    if largest == 1:
        return "no image is held out for validation: every class has one image"
    return (
        f"no image is held out for validation: the largest class has {largest:,} images; "
        f"--validation_fraction={_least(largest)} or more holds one out"
    )


def _note_on_splits_next_to(root: Path) -> list[str]:
    """Says that a folder that is named like a training split has another split next to it."""
    path = root.resolve()
    if kind_of(path.name) != TRAIN:
        return []
    others = (p.name for p in path.parent.iterdir() if p.is_dir() and p != path)
    splits = sorted(name for name in others if kind_of(name) in (VALIDATION, TEST))
    if not splits:
        return []
    return [f"{splits[0]}/ lies next to {root}: --raw_dir={quote(str(path.parent))} uses both"]


def _least(num_images: int) -> float:
    """Returns the lowest fraction, in hundredths, that holds out one of so many images."""
    return next(n / 100 for n in range(1, 100) if int(num_images * n / 100 + 0.5))


def _ordered(split: SplitFolders) -> tuple[list[str], list[str]]:
    """Returns the names of the classes in the order of their labels, and notes about them."""
    if split.annotations is not None:
        names = sorted(set(_annotations(split).values()))
    else:
        names = sorted(split.classes)
    order = "names"
    if all(name.isascii() and name.isdigit() for name in names):
        names.sort(key=int)
        order = "numbers"
    some = names if len(names) <= _SHOWN else (*names[: _SHOWN - 1], "...", names[-1])
    shown = ", ".join(map(one_line, some))
    notes = [f"classes: {len(names):,}, labeled from 1 in the order of their {order}: {shown}"]
    if all(name in labels_by_wnid() for name in names):
        notes.append(
            "the classes are ImageNet's, but have labels of their own here: --source=imagenet "
            "--bounding_boxes=none keeps ImageNet's, for train/ and val/ laid out as ImageNet"
        )
    return names, [*notes, *_notes_on_names(names)]


def _notes_on_names(names: Sequence[str]) -> list[str]:
    """Names the classes that may be one, by case, leading zeros, spaces and the like."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name in names:
        plain = unicodedata.normalize("NFKC", name).casefold()
        words = re.sub(r"[\s_-]+", " ", plain).strip() or plain
        alike[re.sub(r"\b0+(?=\d)", "", words)].append(name)
    groups = [group for group in alike.values() if len(group) > 1]
    if groups:
        shown = "; ".join(" and ".join(map(quoted, group)) for group in groups[:_SHOWN])
        more = "; ..." if len(groups) > _SHOWN else ""
        return [f"warning: classes with nearly the same name are kept apart: {shown}{more}"]
    outer = [quoted(name) for name in names if name != name.strip()]
    if outer:
        more = ", ..." if len(outer) > _SHOWN else ""
        return [f"warning: spaces around names of classes: {', '.join(outer[:_SHOWN])}{more}"]
    return []


def _images(
    split: SplitFolders, classes: Sequence[str], left_out: list[LeftOut]
) -> list[SourceImage]:
    """Returns images in the order of class and path; `classes` are in the order of their labels."""
    # A Mac writes the letters of one name in another form than other systems.
    labels = {_composed(name): label for label, name in enumerate(classes, start=1)}
    if len(labels) < len(classes):
        twins = [name for name in classes if labels[_composed(name)] != classes.index(name) + 1]
        raise DataError(
            f"{split.folder.path}: two folders are called {', '.join(twins)}, in two forms of "
            "Unicode: rename one of them, or move its images into the other"
        )
    if split.annotations is not None:
        pairs: Iterable[tuple[str, ImageFile]] = _annotated_images(split, left_out)
    else:
        names = sorted(split.classes)
        pairs = ((name, file) for name in names for file in _files(split.classes[name], left_out))
    unknown = next(
        (
            name
            for name, folders in split.classes.items()
            if _composed(name) not in labels and any(folder.num_images for folder in folders)
        ),
        None,
    )
    if unknown is not None:
        raise _unknown_class(os.path.join(split.folder.path, unknown), unknown, classes)
    images = []
    for name, file in pairs:
        label = labels.get(_composed(name))
        if label is None:
            raise _unknown_class(f"{split.annotations}: {file.path}", name, classes)
        synset = classes[label - 1]
        images.append(
            SourceImage(
                name=file.path.removeprefix(f"{split.folder.path}{os.sep}"),
                label=label,
                synset=synset,
                text=_words(synset),
                location=file,
            )
        )
    return sorted(images, key=lambda image: image.label)


def _unknown_class(where: str, name: str, classes: Sequence[str]) -> DataError:
    shown = [known for known in classes if known.casefold() == name.casefold()]
    more = ""
    if not shown:
        shown, more = list(classes[:_SHOWN]), ", ..." if len(classes) > _SHOWN else ""
    known = ", ".join(map(one_line, shown))
    return DataError(
        f"{where}: the training images have no class '{one_line(name)}' (they have {known}{more})"
    )


def _files(folders: Sequence[Folder], left_out: list[LeftOut]) -> Iterator[ImageFile]:
    """Yields the images of one class; a folder that links lead to twice is read once."""
    visited = set()
    for top in folders:
        for folder in top.walk():
            if folder.identity in visited:
                left_out += (LeftOut(image.path, TWICE) for image in folder.images)
                continue
            visited.add(folder.identity)
            yield from folder.images


def _annotations(split: SplitFolders) -> dict[str, str]:
    """Reads the class of each image, by its file name, from Tiny ImageNet's list."""
    assert split.annotations is not None
    lines = Path(split.annotations).read_text("utf-8", "surrogateescape").splitlines()
    fields = (line.split("\t") for line in lines if line.strip())
    return {found[0]: found[1].strip() for found in fields if len(found) > 1}


def _annotated_images(
    split: SplitFolders, left_out: list[LeftOut]
) -> Iterator[tuple[str, ImageFile]]:
    annotations = _annotations(split)
    left_out[:] = [entry for entry in left_out if entry.path != split.annotations]
    for file in _files([split.folder], left_out):
        name = os.path.basename(file.path)
        if name not in annotations:
            raise DataError(f"{split.annotations} has no line for {file.path}")
        yield annotations[name], file


def _check_empty_classes(
    images: Mapping[str, Sequence[SourceImage]], layout: Layout, classes: Sequence[str]
) -> None:
    """Refuses a class of the first split that has no images."""
    split, members = next(iter(images.items()))
    labels = {image.label for image in members}
    for label, name in enumerate(classes, start=1):
        if label in labels:
            continue
        folders = layout.splits[split].classes.get(name)
        if folders:
            raise DataError(
                f"{folders[0].path} {folders[0].describe_files()}: put some there, or remove it"
            )
        raise DataError(
            f"the class {one_line(name)} of {layout.splits[split].folder.path} has no {split} "
            "images"
        )


def _notes_on_validation(
    images: Mapping[str, Sequence[SourceImage]], classes: Sequence[str], split: str | None
) -> list[str]:
    """Names the classes without a validation image."""
    if VALIDATION not in images or split == TRAIN:
        return []
    labels = {image.label for image in images[VALIDATION]}
    without = [name for label, name in enumerate(classes, start=1) if label not in labels]
    if not without:
        return []
    more = ", ..." if len(without) > _SHOWN else ""
    return [
        f"classes without a validation image: {len(without):,} of {len(classes):,} "
        f"({', '.join(map(one_line, without[:_SHOWN]))}{more})"
    ]


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _words(name: str) -> str:
    """Returns the name of a class in words: WordNet's if the folder is named after a WordNet id.

    Words stand in lines and tables, therefore without line breaks and tabs.
    """
    label = labels_by_wnid().get(name)
    return one_line(name) if label is None else synsets()[label - 1].words
