"""What the folders of a stranger are taken for: splits, classes, or neither."""

from __future__ import annotations

import os

import pytest

from common.errors import DataError
from download_and_convert_imagenet.sources.class_folders import folder_source
from download_and_convert_imagenet.sources.folders.split_names import kind_of


def write(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return root


def found(root, **options):
    """The names of the images of each split, and the classes in the order of their labels."""
    source = folder_source(root, **options)
    splits = {
        split: [image.location.path.removeprefix(f"{root}{os.sep}") for image in images]
        for split, images in source.splits.items()
    }
    return splits, list(source.class_names)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(
            (name, "train")
            for name in ("Training", "TRAIN", "train_set", "TrainImages", "trainset")
        ),
        *(
            (name, "validation")
            for name in ("Valid", "val", "validation-data", "DEV", "eval_images")
        ),
        *((name, "test") for name in ("Testing", "test2017", "test_images")),
        *((name, None) for name in ("train station", "trainer", "value", "trainval", "train_val")),
        *((name, None) for name in ("testudo", "contest", "Devon Rex", "evaluate me", "images")),
    ],
)
def test_names_of_splits(name, kind):
    assert kind_of(name) == kind


@pytest.mark.parametrize(
    ("train", "validation"),
    [
        ("Training", "Testing"),
        ("TRAIN", "VALID"),
        ("train_images", "dev_images"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("train/images", "val/images"),
        ("flowers_train", "flowers_val"),
        ("train", "holdout"),
    ],
)
def test_splits_above_classes(tmp_path, train, validation):
    write(tmp_path, *(f"{split}/{c}/1.jpg" for split in (train, validation) for c in "ab"))
    splits, classes = found(tmp_path)
    assert splits["train"] == [f"{train}/a/1.jpg", f"{train}/b/1.jpg"]
    assert splits["validation"] == [f"{validation}/a/1.jpg", f"{validation}/b/1.jpg"]
    assert classes == ["a", "b"]
    # The names that the records have are those below the split.
    assert folder_source(tmp_path).splits["train"][0].name == "a/1.jpg"


@pytest.mark.parametrize("others", [("test",), ("test", "unlabeled"), ("Testing", "extra")])
def test_further_splits_are_counted(tmp_path, others):
    write(tmp_path, *(f"{split}/a/{k}.jpg" for split in ("train", "val", *others) for k in "12"))
    source = folder_source(tmp_path)
    assert {split: len(images) for split, images in source.splits.items()} == {
        "train": 2,
        "validation": 2,
    }
    assert sorted((os.path.basename(path), n) for path, _, n in source.left_out) == sorted(
        (name, 2) for name in others
    )


def test_unlabeled_test_images_are_no_validation_split(tmp_path):
    write(tmp_path, *(f"train/{c}/{k}.jpg" for c in "ab" for k in range(10)), "test/1.jpg")
    source = folder_source(tmp_path)
    assert len(source.splits["validation"]) == 2  # held out of train
    assert [entry.reason for entry in source.left_out] == ["in test/, without folders of classes"]


def test_splits_below_classes(tmp_path):
    write(
        tmp_path,
        *(f"{c}/{split}/{k}.jpg" for c in "ab" for split in ("train", "test") for k in "12"),
    )
    splits, classes = found(tmp_path)
    assert splits["validation"] == ["a/test/1.jpg", "a/test/2.jpg", "b/test/1.jpg", "b/test/2.jpg"]
    assert len(splits["train"]) == 4
    assert classes == ["a", "b"]


@pytest.mark.parametrize("name", ["train", "test", "val"])
def test_a_class_named_like_a_split(tmp_path, name):
    write(tmp_path, *(f"{c}/{k}.jpg" for c in ("bus", "car", name) for k in range(10)))
    source = folder_source(tmp_path)
    assert source.class_names == ("bus", "car", name)
    assert source.notes[0] == (
        f"{name}/ holds images itself: it is taken for a class, not for a split"
    )
    assert {split: len(images) for split, images in source.splits.items()} == {
        "train": 27,
        "validation": 3,
    }


def test_classes_named_by_numbers_are_in_numeric_order(tmp_path):
    write(tmp_path, *(f"train/{k}/{split}.jpg" for k in range(12) for split in "ab"))
    source = folder_source(tmp_path, 0.0)
    assert source.class_names == tuple(map(str, range(12)))
    assert [image.label for image in source.splits["train"]] == sorted([*range(1, 13)] * 2)
    assert "in the order of their numbers: 0, 1, 2, 3, ..., 11" in source.notes[1]


def test_folders_below_classes_are_said_to_be_no_classes(tmp_path):
    write(tmp_path, *(f"{c}/1.jpg" for c in ("animals/cat", "animals/dog", "plants/rose")))
    source = folder_source(tmp_path, 0.0)
    assert source.class_names == ("animals", "plants")
    assert source.notes[0] == (
        f"{tmp_path / 'animals'} is a class; the folders in it, cat and dog, are not"
    )


def test_a_folder_of_no_meaning_between_split_and_class(tmp_path):
    write(tmp_path, "train/images/a/1.jpg", "val/images/a/1.jpg")
    assert folder_source(tmp_path).class_names == ("a",)


def test_one_level_too_low_is_said(tmp_path):
    write(tmp_path, *(f"{split}/a/{k}.jpg" for split in ("train", "val") for k in range(10)))
    note = f"val/ lies next to {tmp_path / 'train'}: --raw_dir={tmp_path} uses both"
    assert note in folder_source(tmp_path / "train").notes
    assert len(folder_source(tmp_path).splits["validation"]) == 10


def test_a_validation_set_alone(tmp_path):
    write(tmp_path, *(f"val/{c}/{k}.jpg" for c in "ab" for k in range(18)))
    for root in (tmp_path, tmp_path / "val"):
        assert len(folder_source(root, split="validation").splits["validation"]) == 36
    with pytest.raises(DataError, match="--split=validation converts it alone"):
        folder_source(tmp_path)
    other = write(tmp_path / "matched-frequency", *(f"{k}/1.jpg" for k in range(4)))
    with pytest.raises(DataError, match="may mean two things: add --validation_fraction=1"):
        folder_source(other, split="validation")
    assert len(folder_source(other, 1, split="validation").splits["validation"]) == 4


def test_tiny_imagenet(tmp_path):
    write(
        tmp_path,
        *(
            f"train/{wnid}/images/{wnid}_{k}.JPEG"
            for wnid in ("n01443537", "n01440764")
            for k in "01"
        ),
        *(f"train/{wnid}/{wnid}_boxes.txt" for wnid in ("n01443537", "n01440764")),
        *(f"val/images/val_{k}.JPEG" for k in range(3)),
        "test/images/test_0.JPEG",
        "wnids.txt",
    )
    lines = [f"val_{k}.JPEG\tn0144{('3537', '0764')[k % 2]}\t0\t0\t9\t9\n" for k in range(3)]
    (tmp_path / "val" / "val_annotations.txt").write_text("".join(lines))
    source = folder_source(tmp_path)
    assert source.class_names == ("tench, Tinca tinca", "goldfish, Carassius auratus")
    assert [(image.name, image.synset) for image in source.splits["validation"]] == [
        ("images/val_1.JPEG", "n01440764"),
        ("images/val_0.JPEG", "n01443537"),
        ("images/val_2.JPEG", "n01443537"),
    ]
    assert sorted(entry.reason for entry in source.left_out) == [
        *(".txt",) * 3,
        "in test/, a further split",
    ]
    assert any(
        "--source=imagenet --bounding_boxes=none keeps ImageNet's" in note for note in source.notes
    )
    with (tmp_path / "val" / "val_annotations.txt").open("w") as file:
        file.writelines(lines[:2])
    with pytest.raises(DataError, match=r"val_annotations.txt has no line for .*val_2.JPEG"):
        folder_source(tmp_path)


@pytest.mark.parametrize(
    ("names", "given"),
    [
        (["flowers/{}/1.jpg"], "flowers"),
        (["data/{}/1.jpg", "__MACOSX/data/._1.jpg", "README.txt"], "data"),
        (["a/data/train/{}/1.jpg", "a/data/val/{}/2.jpg"], "a/data"),
        (["photos/data/{}/1.jpg"], "photos/data"),
        (["x/train/{}/1.jpg", "y/train/{}/1.jpg"], "x"),
    ],
)
def test_one_level_too_high_names_the_folder_to_give(tmp_path, names, given):
    write(tmp_path, *(name.format(c) for name in names for c in ("rose", "tulip")))
    with pytest.raises(DataError, match="is above the data set") as caught:
        folder_source(tmp_path)
    assert str(caught.value).endswith(f"give --raw_dir={tmp_path / given}")
    assert folder_source(tmp_path / given).class_names == ("rose", "tulip")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train/1.jpg", "test/1.jpg"], "named like splits but hold images and no folders"),
        (["train/Rose/1.jpg", "val/rose/1.jpg"], "no class 'rose' .they have Rose."),
        (["train/1.jpg"], "train holds images, but no folders of classes"),
        (["train/a/1.jpg", "val/1.jpg"], "val holds images, but no folders of classes"),
        (["train/a/1.jpg", "val/a/notes.txt"], r"val holds no images .but 1 .txt.*or remove it"),
        (["train/a/1.jpg", "val/a/1.jpg", "valid/a/1.jpg"], "val and valid, which are all named"),
        (["train/steam/1.jpg", "bus/1.jpg"], "next to bus with images: if train is a split"),
        (["train/train/a/1.jpg", "train/val/a/1.jpg"], "holds splits of its own, train and val"),
        (["a/train/1.jpg", "a/val/1.jpg", "b/1.jpg"], "b does not: give every class its splits"),
        (["a/val/1.jpg", "b/train/1.jpg"], "class a of .* has no train images"),
        (["flowers.zip"], "holds flowers.zip, but no folders of classes: unpack it there first"),
        (["a/1.svg", "b/1.jpg"], "a holds no images .but 1 .svg."),
        (["1.jpg", "2.jpg"], "holds images, but no folders of classes"),
    ],
)
def test_what_has_no_reading_or_two(tmp_path, names, message):
    with pytest.raises(DataError, match=message):
        folder_source(write(tmp_path, *names))


def test_an_empty_class_of_the_validation_split_is_noted(tmp_path):
    write(tmp_path, *(f"train/{c}/1.jpg" for c in "abc"), "val/a/1.jpg", "val/c/1.jpg")
    for _ in range(2):
        source = folder_source(tmp_path)
        assert len(source.splits["validation"]) == 2
        assert source.notes[-1] == "classes without a validation image: 1 of 3 (b)"
        (tmp_path / "val" / "b").mkdir(exist_ok=True)


def test_a_name_in_the_letters_of_a_mac(tmp_path):
    write(tmp_path, "train/\u00e9t\u00e9/1.jpg", "val/e\u0301te\u0301/1.jpg")
    splits, classes = found(tmp_path)
    assert len(splits["validation"]) == len(classes) == 1


def test_everything_else_is_counted_with_its_reason(tmp_path):
    root = write(
        tmp_path / "set",
        *("a/1.jpg", "b/1.jpg", "loose.png", "a/notes.TXT", "a/no_suffix", "b/photo.heif2"),
        *("__MACOSX/a/._1.jpg", "a/.DS_Store", "b/Thumbs.db", "b/@eaDir/1.jpg", "b/._1.jpg"),
        *("lost+found/1.jpg", ".ipynb_checkpoints/x.jpg", ".git/x", "a/.hidden.jpg"),
        *("old/manifest.json", "old/train-00000-of-00001", "new/not_used.txt"),
    )
    (root / "new" / ".conversion").mkdir()
    (root / "own").mkdir()
    (root / "a" / "up").symlink_to(root)
    (root / "a" / "gone").symlink_to("nowhere")
    (root / "a" / "again").symlink_to(tmp_path / "more")
    (root / "a" / "more").symlink_to(tmp_path / "more")
    write(tmp_path / "more", "2.jpg")
    os.mkfifo(root / "a" / "pipe.jpg")
    source = folder_source(root, 0.0, output=root / "own")
    assert [image.name for image in source.splits["train"]] == [
        "a/1.jpg",
        "a/again/2.jpg",
        "b/1.jpg",
    ]
    reasons = {
        path.removeprefix(f"{root}{os.sep}"): (reason, number)
        for path, reason, number in source.left_out
    }
    assert reasons == {
        "loose.png": ("next to the folders of classes", 1),
        "a/notes.TXT": (".txt", 1),
        "a/no_suffix": ("without a suffix", 1),
        "b/photo.heif2": (".heif2", 1),
        **dict.fromkeys(
            (
                *("__MACOSX", "a/.DS_Store", "b/Thumbs.db", "b/@eaDir", "b/._1.jpg"),
                *("lost+found", ".ipynb_checkpoints"),
            ),
            ("left by a system", 1),
        ),
        ".git": ("hidden", 1),
        "a/.hidden.jpg": ("hidden", 1),
        **dict.fromkeys(("old", "new", "own"), ("of converted data", 1)),
        "a/up": ("linked in a circle", 1),
        "a/more/2.jpg": ("linked twice", 1),
        "a/gone": ("linked to nothing", 1),
        "a/pipe.jpg": ("neither file nor folder", 1),
    }
    (root / "b" / "2.jpg").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"2.jpg is a link to nowhere, which does not exist"):
        folder_source(root, 0.0)
