from __future__ import annotations

import hashlib

import pytest

from common.errors import DataError
from download_and_convert_imagenet.sources.class_folders import folder_source
from tests.download_and_convert_imagenet.folders_on_disk import folder_too_deep_to_list


def write(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return root


def described(images):
    return [(image.name, image.label, image.synset, image.text) for image in images]


def test_two_folders(tmp_path):
    root = write(
        tmp_path / "flowers",
        "train/tulip/b.JPG",
        "train/tulip/a.jpeg",
        "train/Rose/1.png",
        "train/tulip/deep/c.webp",
        "train/tulip/notes.txt",
        "train/tulip/.hidden.jpg",
        "train/.cache/x.jpg",
        "val/tulip/v.jpg",
    )
    source = folder_source(root)
    assert (source.name, source.class_names, source.keep_png) == (
        "flowers",
        ("Rose", "tulip"),
        True,
    )
    assert described(source.splits["train"]) == [
        ("Rose/1.png", 1, "Rose", "Rose"),
        ("tulip/a.jpeg", 2, "tulip", "tulip"),
        ("tulip/b.JPG", 2, "tulip", "tulip"),
        ("tulip/deep/c.webp", 2, "tulip", "tulip"),
    ]
    assert described(source.splits["validation"]) == [("tulip/v.jpg", 2, "tulip", "tulip")]
    location = source.splits["train"][1].location
    assert location.read() == b"train/tulip/a.jpeg"
    assert location.num_bytes == len(b"train/tulip/a.jpeg")


@pytest.mark.parametrize("name", ["validation", "val", "valid", "test"])
def test_names_of_the_validation_folder(tmp_path, name):
    source = folder_source(write(tmp_path, "train/a/1.jpg", f"{name}/a/2.jpg"))
    assert [image.name for image in source.splits["validation"]] == ["a/2.jpg"]


def test_a_share_of_each_class_is_chosen_by_the_hash_of_the_name(tmp_path):
    names = [f"{folder}/{number:03d}.jpg" for folder in "ab" for number in range(500)]
    expected = set()
    for folder in "ab":
        of_class = [name for name in names if name[0] == folder]
        of_class.sort(key=lambda name: hashlib.sha256(name.encode()).hexdigest())
        expected.update(of_class[:125])  # the lowest quarter of the hashes
    source = folder_source(write(tmp_path, *names), 0.25)
    validation = [image.name for image in source.splits["validation"]]
    assert validation == sorted(expected)
    assert [image.name for image in source.splits["train"]] == sorted(set(names) - expected)
    # Each image that is added to a class moves one other at most.
    write(tmp_path, *(f"a/new{number}.jpg" for number in range(10)))
    grown = {image.name for image in folder_source(tmp_path, 0.25).splits["validation"]}
    assert len(expected - grown) <= 10


@pytest.mark.parametrize(
    ("num_images", "fraction", "expected"),
    [(1, 0.5, 0), (2, 0.5, 1), (2, 0.99, 1), (3, 0.1, 0), (5, 0.1, 1), (40, 0.1, 4), (40, 1, 40)],
)
def test_every_class_keeps_a_training_image(tmp_path, num_images, fraction, expected):
    write(tmp_path, *(f"{name}/{k}.jpg" for name in "ab" for k in range(num_images)))
    splits = folder_source(tmp_path, fraction, split="validation").splits
    for label in (1, 2):
        count = sum(image.label == label for image in splits.get("validation", ()))
        assert count == expected


def test_that_no_image_is_held_out_is_said(tmp_path):
    source = folder_source(write(tmp_path, "ant/a.jpg", *(f"bee/{k}.jpg" for k in range(3))))
    assert list(source.splits) == ["train"]
    assert "no image is held out" in source.notes[-1]
    fraction = float(source.notes[-1].partition("--validation_fraction=")[2].split()[0])
    source = folder_source(tmp_path, fraction)
    assert len(source.splits["validation"]) == 1
    assert source.notes[-1] == "classes without a validation image: 1 of 2 (ant)"


def test_a_tenth_is_for_validation_by_default(tmp_path):
    write(tmp_path, *(f"train/a/{number}.jpg" for number in range(400)))
    for fraction, expected in ((None, 40), (0.1, 40), (0.0, 0)):
        assert len(folder_source(tmp_path, fraction).splits.get("validation", ())) == expected


def test_folders_named_by_wordnet_ids_have_its_words(tmp_path):
    source = folder_source(
        write(tmp_path, "n02979186/a.jpg", "n01440764/b.jpg", "Other/c.jpg"), 0.0
    )
    assert source.class_names == ("Other", "tench, Tinca tinca", "cassette player")
    assert source.splits["train"][1].synset == "n01440764"


def test_links_are_followed_but_not_in_circles(tmp_path):
    root = write(tmp_path / "set", "a/1.jpg", "a/deep/2.jpg", "b/3.jpg")
    write(tmp_path / "elsewhere", "4.jpg")
    (root / "a" / "deep" / "again").symlink_to(root / "a")
    (root / "a" / "all").symlink_to(root)
    (root / "b" / "more").symlink_to(tmp_path / "elsewhere")
    (root / "c").symlink_to(root / "b")
    images = folder_source(root, 0.0).splits["train"]
    assert [image.name for image in images] == [
        "a/1.jpg",
        "a/deep/2.jpg",
        "b/3.jpg",
        "b/more/4.jpg",
        "c/3.jpg",
        "c/more/4.jpg",
    ]


def test_a_folder_that_cannot_be_listed_is_reported(tmp_path):
    root = write(tmp_path, "a/1.jpg", "b/2.jpg")
    with folder_too_deep_to_list(root / "a"), pytest.raises(OSError, match="File name too long"):
        folder_source(root)


@pytest.mark.parametrize("name", ["imagenet", "CIFAR10", "digits"])
def test_names_with_a_meaning_to_readers_are_not_taken(tmp_path, name):
    assert folder_source(write(tmp_path / name, "a/1.jpg"), 0.0).name == "folder"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.jpg"], "no folders of classes"),
        (["a/1.jpg", "b/readme.txt"], "b holds no images"),
        (["train/a/1.jpg", "val/c/1.jpg"], "no class 'c' .they have a."),
        (["val/a/1.jpg"], "val/ but no train/"),
    ],
)
def test_what_is_no_set_of_class_folders(tmp_path, names, message):
    with pytest.raises(DataError, match=message) as caught:
        folder_source(write(tmp_path / "set", *names))
    assert str(tmp_path / "set") in str(caught.value)


def test_a_missing_directory_and_a_needless_fraction(tmp_path):
    with pytest.raises(DataError, match="is not a directory"):
        folder_source(tmp_path / "absent")
    with pytest.raises(DataError, match="leave the fraction out"):
        folder_source(write(tmp_path, "train/a/1.jpg", "val/a/1.jpg"), 0.1)


def test_two_folders_of_one_name_in_two_forms_of_unicode(tmp_path):
    root = write(tmp_path / "r", "caf\u00e9/a.jpg", "cafe\u0301/b.jpg", "zed/c.jpg")
    with pytest.raises(DataError, match="two forms of Unicode: rename one of them"):
        folder_source(root)
