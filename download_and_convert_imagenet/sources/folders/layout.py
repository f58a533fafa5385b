"""Finds out which folders are splits and which are classes.

    DIR/train/CLASS/*.jpg and DIR/val/CLASS/*.jpg, the splits above the classes,
    DIR/CLASS/train/*.jpg and DIR/CLASS/val/*.jpg, below them, or
    DIR/CLASS/*.jpg, without splits.

What may be read in two ways is an error that says what to give.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

from common.errors import DataError
from download_and_convert_imagenet.sources.folders.split_names import says_nothing, split_folders
from download_and_convert_imagenet.sources.folders.tree import Folder
from download_and_convert_imagenet.sources.image_source import TEST, TRAIN, VALIDATION, LeftOut

ANNOTATIONS_FILE = "val_annotations.txt"  # of Tiny ImageNet
_LOOSE = "next to the folders of classes"
_SHOWN = 5


@dataclass
class SplitFolders:
    """The classes of one split.

    Attributes:
        folder: names of images are relative to it.
        classes: the folders of each class; some may hold no images.
        annotations: the file with the classes of all images below `folder`, if there is one.
    """

    folder: Folder
    classes: dict[str, list[Folder]] = field(default_factory=dict)
    annotations: str | None = None


@dataclass
class Layout:
    """Which folders are splits and classes.

    Attributes:
        splits: train and, if the set has a folder of it, validation; or validation alone. With
            `with_test` in `detect` also test.
        left_out: images that are in no class or in a further split.
        notes: lines about how the folders were understood.
    """

    splits: dict[str, SplitFolders]
    notes: list[str]
    left_out: list[LeftOut] = field(default_factory=list)


def detect(root: Folder, *, with_test: bool = False, flag: str = "--raw_dir") -> Layout:
    """Finds the splits and the classes in a folder.

    Args:
        with_test: test images are a split of their own; else they are for validation where there
            are no others, and left out where there are.
        flag: with which the user gave the folder.

    Raises:
        DataError: there are none, or there is more than one reading.
    """
    if not root.full_folders:
        raise DataError(_describe_no_classes(root))
    named = split_folders(root.folders)
    splits = {kind: folders for kind, folders in named.items() if any(map(_has_classes, folders))}
    others = [f for f in root.full_folders if not any(f in found for found in named.values())]
    if splits:
        if others and not (TRAIN in splits and len(splits) > 1):
            found = next(iter(splits.values()))[0]
            raise DataError(
                f"{root.path} has {found.name}/ with folders in it, as a split has, next to "
                f"{_names(others)} with images: if {found.name} is a split, name the others val or "
                f"test, or move them away; if it is a class, put all classes into {root.path}/train"
            )
        return _splits_above(root, named, others, with_test)
    if named and not others:
        return _only_named_like_splits(root, named)
    below = _splits_below(root, with_test)
    if below is not None:
        return below
    _check_level(root, flag)
    notes = [
        f"{folder.name}/ holds images itself: it is taken for a class, not for a split"
        for folders in named.values()
        for folder in folders
        if folder.images
    ]
    layout = Layout({}, notes)
    layout.splits[TRAIN] = _classes(root, layout)
    return layout


def _splits_above(
    root: Folder, named: dict[str, list[Folder]], others: list[Folder], with_test: bool
) -> Layout:
    """Reads DIR/SPLIT/CLASS."""
    layout = Layout({}, [])
    tests = [folder for folder in named.get(TEST, []) if _has_classes(folder)]
    further = named.get(TEST, [])
    wanted = {split: named.get(split, []) for split in (TRAIN, VALIDATION)}
    if with_test:
        wanted[TEST] = tests
    elif VALIDATION not in named:
        wanted[VALIDATION] = tests
    further = [folder for folder in further if not any(folder in w for w in wanted.values())]
    for split, folders in wanted.items():
        if len(folders) > 1:
            raise DataError(
                f"{root.path} has {_names(folders)}, which are all named like the {split} "
                "split: leave one of them there"
            )
        if folders:
            layout.splits[split] = _split(folders[0], layout)
            layout.notes.append(f"{split} split: {layout.splits[split].folder.path}")
    for folder in further:
        reason = "a further split" if _has_classes(folder) else "without folders of classes"
        _leave_out(folder, f"in {folder.name}/, {reason}", layout)
    for folder in others:
        _leave_out(folder, f"in {folder.name}/, next to the splits", layout)
    _leave_out_loose(root, layout)
    return layout


def _split(folder: Folder, layout: Layout) -> SplitFolders:
    if ANNOTATIONS_FILE in folder.text_files and not _has_classes(folder, at_least=2):
        return SplitFolders(folder, annotations=os.path.join(folder.path, ANNOTATIONS_FILE))
    if not folder.num_images:
        raise DataError(f"{folder.path} {folder.describe_files()}: put some there, or remove it")
    if not _has_classes(folder):
        raise DataError(
            f"{folder.path} holds images, but no folders of classes as the other split has: put "
            f"each image into {folder.path}/CLASS"
        )
    inner = _flat(split_folders(folder.full_folders))
    # One alone among other folders is the class of that name.
    is_class = len(inner) == 1 < len(folder.full_folders)
    if any(map(_has_classes, inner)) and not is_class:
        names = _names(inner)
        raise DataError(f"{folder.path} holds splits of its own, {names}: give one set of splits")
    while not folder.images and len(folder.full_folders) == 1:
        wrapper = folder.full_folders[0]
        if wrapper.images or not _is_above_classes(wrapper):
            break
        folder = wrapper
    return _classes(folder, layout)


def _classes(folder: Folder, layout: Layout) -> SplitFolders:
    _leave_out_loose(folder, layout)
    above = [part for part in folder.folders if not part.images and len(part.full_folders) > 1]
    if above:
        names = _names(above[0].full_folders)
        layout.notes.append(f"{above[0].path} is a class; the folders in it, {names}, are not")
    classes = [part for part in folder.folders if part.num_images or not part.holds_output]
    return SplitFolders(folder, {part.name: [part] for part in classes})


def _splits_below(root: Folder, with_test: bool) -> Layout | None:
    """Reads DIR/CLASS/SPLIT; returns None if the classes do not have splits."""
    found = {}
    for part in root.full_folders:
        splits = split_folders(part.full_folders)
        named = [folder for folders in splits.values() for folder in folders]
        is_class = len(named) == len(part.full_folders) and not any(map(_has_classes, named))
        if named and is_class and not part.images:
            found[part.name] = splits
    if len(root.full_folders) < 2 or not any(TRAIN in splits for splits in found.values()):
        return None
    without = [folder for folder in root.full_folders if folder.name not in found]
    if without:
        raise DataError(
            f"{root.path}: {next(iter(found))} holds the splits "
            f"{_names([f for fs in next(iter(found.values())).values() for f in fs])}, and "
            f"{_names(without)} {'does' if len(without) == 1 else 'do'} not: give every class its "
            f"splits, or lay them out as {root.path}/train/CLASS and {root.path}/val/CLASS"
        )
    kinds = {kind for splits in found.values() for kind in splits}
    held_out = next((kind for kind in (VALIDATION, TEST) if kind in kinds), None)
    kind_of_split = {TRAIN: TRAIN, VALIDATION: held_out}
    if with_test:
        kind_of_split = {kind: kind for kind in (TRAIN, VALIDATION, TEST) if kind in kinds}
    layout = Layout({}, ["the folders of classes hold those of the splits"])
    for split, kind in kind_of_split.items():
        if kind is not None:
            layout.splits[split] = SplitFolders(
                root, {name: splits.get(kind, []) for name, splits in found.items()}
            )
    if held_out == VALIDATION and not with_test:
        for splits in found.values():
            for folder in splits.get(TEST, []):
                _leave_out(folder, f"in {folder.name}/, a further split", layout)
    _leave_out_loose(root, layout)
    return layout


def _only_named_like_splits(root: Folder, named: dict[str, list[Folder]]) -> Layout:
    folders = [folder for found in named.values() for folder in found]
    if len(folders) == 1 and folders[0].images:  # train/*.jpg alone
        raise DataError(
            f"{folders[0].path} holds images, but no folders of classes: "
            f"put each into {folders[0].path}/CLASS"
        )
    raise DataError(
        f"{root.path} holds {_names(folders)}, which are named like splits but hold images and no "
        f"folders of classes: if they are splits, put each image into SPLIT/CLASS; if they are "
        f"the classes, put them into {root.path}/train"
    )


def _check_level(root: Folder, flag: str) -> None:
    """Refuses a folder whose only folder, or one of whose folders, is a data set of its own."""
    full = root.full_folders
    sets = [f for f in full if any(map(_has_classes, _flat(split_folders(f.full_folders))))]
    if len(full) == 1 and not full[0].images:
        inner = full[0]
        while not sets and len(inner.full_folders) == 1 and not inner.full_folders[0].images:
            inner = inner.full_folders[0]
        if sets or (not inner.images and _is_above_classes(inner)):
            raise DataError(
                f"{root.path} is above the data set: its only folder with images, {inner.path}, "
                f"holds {_names(inner.full_folders)}: give {flag}={shlex.quote(inner.path)}"
            )
    elif sets:
        own = "has splits of its own" if len(sets) == 1 else "have splits of their own"
        raise DataError(
            f"{root.path} is above the data set: {_names(sets)} in it {own}: "
            f"give {flag}={shlex.quote(sets[0].path)}"
        )


def _is_above_classes(folder: Folder) -> bool:
    """Returns whether a folder alone on its level holds the classes and is not one itself."""
    number = len(folder.full_folders)
    return number > 1 or (number == 1 and says_nothing(folder.name))


def _flat(splits: dict[str, list[Folder]]) -> list[Folder]:
    return [folder for folders in splits.values() for folder in folders]


def _has_classes(folder: Folder, at_least: int = 1) -> bool:
    return len(folder.full_folders) >= at_least


def _leave_out(folder: Folder, reason: str, layout: Layout) -> None:
    layout.left_out.append(LeftOut(folder.path, reason, folder.num_images))


def _leave_out_loose(folder: Folder, layout: Layout) -> None:
    layout.left_out += (LeftOut(image.path, _LOOSE) for image in folder.images)


def _names(folders: Sequence[Folder]) -> str:
    names = [folder.name for folder in folders]
    shown = names[:_SHOWN]
    if len(names) > _SHOWN:
        return f"{', '.join(shown)} and {len(names) - _SHOWN:,} more"
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))


def _describe_no_classes(root: Folder) -> str:
    if root.num_images:
        return (
            f"{root.path} holds images, but no folders of classes: put each into {root.path}/CLASS"
        )
    packed = [n for n in root.text_files if n.lower().endswith((".zip", ".tar", ".gz", ".tgz"))]
    if packed:
        return f"{root.path} holds {packed[0]}, but no folders of classes: unpack it there first"
    return f"{root.path} {root.describe_files()}, and no folders of classes with images"
