"""What the converter says to do about folders, archives and directories of shards."""

from __future__ import annotations

import bz2
import hashlib
import re
import shlex
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from download_and_convert_imagenet.__main__ import main as convert
from tests.preprocessing.image_shards import encode

JPEG = encode(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8))
WNIDS = ("n01440764", "n01443537")


@dataclass
class Shelf:
    """Raw images, the directory for the shards, and the flags."""

    raw: Path
    data: Path
    flags: list[str] = field(default_factory=list)

    def put(self, *names: str, content: bytes = JPEG) -> None:
        for name in names:
            (self.raw / name).parent.mkdir(parents=True, exist_ok=True)
            (self.raw / name).write_bytes(content)

    def classes(self, *above: str, count: int = 3) -> None:
        """Writes ABOVE/ant/0.jpg and so on, also for bee."""
        for folder in above or ("",):
            names = (f"{c}/{n}.jpg" for c in ("ant", "bee") for n in range(count))
            self.put(*(str(Path(folder) / name) for name in names))

    def move(self, *names: str, into: str) -> None:
        (self.raw / into).mkdir(parents=True, exist_ok=True)
        for name in names:
            (self.raw / name).rename(self.raw / into / Path(name).name)

    def remove(self, name: str) -> None:
        path = self.raw / name
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def convert(self, *flags: str) -> int:
        defaults = ["--source=folder", f"--raw_dir={self.raw}", "--num_processes=1"]
        shards = ["--train_shards=1", "--validation_shards=1"]
        return convert([str(self.data), *defaults, *shards, *self.flags, *flags])


Step = Callable[[Shelf], object]
Cure = Callable[[Shelf, str], object]
IMAGENET = ("--source=imagenet", "--bounding_boxes=none")


def flagged(*flags: str) -> Cure:
    return lambda shelf, _: shelf.flags.extend(flags)


def advised(pattern: str) -> Cure:
    """Adds the flag of the message, as printed."""
    return lambda shelf, message: shelf.flags.extend(shlex.split(re.findall(pattern, message)[0]))


def moved(*names: str, into: str) -> Cure:
    return lambda shelf, _: shelf.move(*names, into=into)


def removed(*names: str) -> Cure:
    return lambda shelf, _: [shelf.remove(name) for name in names]


def put(*names: str) -> Cure:
    return lambda shelf, _: shelf.put(*names)


def elsewhere(shelf: Shelf, _: str) -> None:
    shelf.data = shelf.data.with_name("elsewhere")


def with_classes(*above: str, flags: tuple[str, ...] = (), also: tuple[str, ...] = ()) -> Step:
    def prepare(shelf: Shelf) -> None:
        shelf.classes(*above)
        shelf.put(*also)
        shelf.flags += flags

    return prepare


def broken(*names: str, flags: tuple[str, ...] = (), above: tuple[str, ...] = ("train", "val")):
    def prepare(shelf: Shelf) -> None:
        shelf.classes(*above)
        shelf.put(*names, content=b"no image")
        shelf.flags += flags

    return prepare


def converted_once(then: Step, *flags: str) -> Step:
    def prepare(shelf: Shelf) -> None:
        shelf.classes("train", "val")
        assert shelf.convert(*flags) == 0
        then(shelf)

    return prepare


def csv_of(shelf: Shelf, *, twice: bool = False) -> Path:
    """Writes labels.csv of the images of `Shelf.classes`."""
    lines = [f"{c}/{n}.jpg,{c}" for c in ("ant", "bee") for n in range(3)]
    lines += ["ant/0.jpg,bee"] if twice else []
    path = shelf.raw / "labels.csv"
    path.write_text("\n".join(["image,labels", *lines]) + "\n")
    return path


def foreign_shard(shelf: Shelf) -> None:
    shelf.classes("train", "val")
    shelf.data.mkdir()
    (shelf.data / "train-00000-of-00001").write_bytes(b"x")


def of_data(name: str) -> Cure:
    return lambda shelf, _: (shelf.data / name).unlink()


def archived(shelf: Shelf) -> None:
    with zipfile.ZipFile(shelf.raw / "photos.zip", "w") as file:
        for split in ("train", "val"):
            for name in ("ant/0.jpg", "bee/0.jpg"):
                file.writestr(f"{split}/{name}", JPEG)


def unzipped(shelf: Shelf, _: str) -> None:
    with zipfile.ZipFile(shelf.raw / "photos.zip") as file:
        file.extractall(shelf.raw)


def held_out_split(shelf: Shelf) -> None:
    shelf.classes(count=10)
    assert shelf.convert("--split=train", "--validation_fraction=0.1") == 0
    shelf.flags += ["--split=validation", "--validation_fraction=0.5"]


def broken_hold_out(shelf: Shelf) -> None:
    """Of each class one image is held out, by the SHA-256 of its name."""
    shelf.classes(count=5)
    for name in ("ant", "bee"):
        images = [f"{name}/{number}.jpg" for number in range(5)]
        held_out = min(images, key=lambda image: hashlib.sha256(image.encode()).digest())
        shelf.put(held_out, content=b"no image")
    shelf.flags.append("--max_corrupt_images=2")


def twins(shelf: Shelf) -> None:
    shelf.put("caf\u00e9/0.jpg", "cafe\u0301/1.jpg", "tea/0.jpg")


def linked(shelf: Shelf) -> None:
    shelf.classes("train", "val")
    (shelf.raw / "train/ant/9.jpg").symlink_to(shelf.raw / "absent.jpg")


def imagenet(*also: str) -> Step:
    def prepare(shelf: Shelf) -> None:
        shelf.put(*(f"train/{wnid}/{wnid}_{n}.JPEG" for wnid in WNIDS for n in range(2)), *also)
        shelf.flags += [*IMAGENET, "--split=train"]

    return prepare


def tar_of_classes(path: Path) -> None:
    inner = path.with_name(f"{WNIDS[0]}.tar")
    image = path.with_name(f"{WNIDS[0]}_1.JPEG")
    image.write_bytes(JPEG)
    for archive, member in ((inner, image), (path, inner)):
        with tarfile.open(archive, "w") as tar:
            tar.add(member, member.name)
        member.unlink()


def train_archive(change: Callable[[bytes], bytes]) -> Step:
    def prepare(shelf: Shelf) -> None:
        tar_of_classes(shelf.raw / "ILSVRC2012_img_train.tar")
        path = shelf.raw / "ILSVRC2012_img_train.tar"
        path.write_bytes(change(path.read_bytes()))
        shelf.flags += [*IMAGENET, "--split=train"]

    return prepare


def downloaded_again(shelf: Shelf, _: str) -> None:
    tar_of_classes(shelf.raw / "ILSVRC2012_img_train.tar")


def unpacked_first(shelf: Shelf) -> None:
    imagenet()(shelf)
    shelf.put(f"train/{WNIDS[0]}.tar", content=b"")
    with tarfile.open(shelf.raw / "train/n01484850.tar", "w") as tar:
        member = shelf.raw / "n01484850_1.JPEG"
        member.write_bytes(JPEG)
        tar.add(member, member.name)
    member.unlink()


def unpacked(shelf: Shelf, _: str) -> None:
    for path in (shelf.raw / "train").glob("*.tar"):
        if path.stat().st_size:
            with tarfile.open(path) as tar:
                tar.extractall(path.with_suffix(""), filter="data")
        path.unlink()


BOXES_IN_PIXELS = b"ImageId,PredictionString\nn01440764_0,n01440764 1 2 20 15\n"
ANNOTATION = b"""<annotation><size><width>30</width><height>20</height></size><object><name>x</name>
<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>20</xmax><ymax>15</ymax></bndbox></object></annotation>"""


def boxes_of_kaggle(shelf: Shelf) -> None:
    imagenet()(shelf)
    shelf.put("boxes.csv", content=BOXES_IN_PIXELS)
    shelf.flags.append(f"--bounding_boxes={shelf.raw / 'boxes.csv'}")


def boxes_in_folders(shelf: Shelf, message: str) -> None:
    folder = re.findall(r"the folder (\S+)", message)[0]
    shelf.put(f"{folder}/{WNIDS[0]}/{WNIDS[0]}_0.xml", content=ANNOTATION)
    shelf.flags.append(f"--bounding_boxes={shelf.raw / folder}")


def twice(shelf: Shelf) -> None:
    name = "ILSVRC2012_val_00000001.JPEG"
    shelf.put(f"val/{name}", f"val/n01751748/{name}")
    shelf.flags += [*IMAGENET, "--split=validation"]


@dataclass
class Case:
    """A folder that is refused, the words that say what to do, and doing it."""

    prepare: Step
    advice: str
    cure: Cure


CONVERTER = {
    "broken, left out": Case(
        broken("train/ant/0.jpg"),
        "get them again and repeat the command, or continue without them: --max_corrupt_images=1",
        advised(r"--max_corrupt_images=\d+"),
    ),
    "broken, replaced": Case(
        broken("train/ant/0.jpg"), "get them again and repeat", put("train/ant/0.jpg")
    ),
    "no CSV": Case(
        with_classes(flags=("--source=csv",)),
        "give the one with the labels, --labels=FILE",
        lambda shelf, _: shelf.flags.append(f"--labels={csv_of(shelf)}"),
    ),
    "an image in two lines of the CSV": Case(
        lambda shelf: (with_classes(flags=("--source=csv",))(shelf), csv_of(shelf, twice=True)),
        "give its labels in one line",
        lambda shelf, _: csv_of(shelf),
    ),
    "a class is lost": Case(
        broken(*(f"train/ant/{n}.jpg" for n in range(3)), flags=("--max_corrupt_images=3",)),
        "get them again, or remove the class",
        lambda shelf, _: (shelf.remove("train/ant"), shelf.remove("val/ant")),
    ),
    "nothing left to validate": Case(
        broken(
            *(f"{c}/{n}.jpg" for c in ("ant", "bee") for n in range(3)),
            above=("",),
            flags=("--max_corrupt_images=99",),
        ),
        "get them again",
        put(*(f"{c}/{n}.jpg" for c in ("ant", "bee") for n in range(3))),
    ),
    "an empty shard": Case(
        broken("train/ant/0.jpg", flags=("--train_shards=6", "--max_corrupt_images=1")),
        "use fewer --train_shards (1 is enough)",
        flagged("--train_shards=1"),
    ),
    "nothing held out": Case(
        broken_hold_out,
        "or choose another --validation_fraction (0 holds none out)",
        flagged("--validation_fraction=0"),
    ),
    "other classes": Case(
        converted_once(
            lambda shelf: (shelf.put("train/cat/0.jpg"), shelf.flags.append("--split=train"))
        ),
        "choose another directory",
        elsewhere,
    ),
    "foreign shards": Case(
        foreign_shard, "choose another directory, or remove these shards", elsewhere
    ),
    "foreign shards, removed": Case(
        foreign_shard, "or remove these shards", of_data("train-00000-of-00001")
    ),
    "a damaged manifest": Case(
        converted_once(lambda shelf: (shelf.data / "manifest.json").write_bytes(b"{")),
        "; remove it",
        of_data("manifest.json"),
    ),
    "a shard too many": Case(
        converted_once(lambda shelf: (shelf.data / "train-00000-of-00007").write_bytes(b"x")),
        "remove it, or choose another directory",
        of_data("train-00000-of-00007"),
    ),
    "a shard too many, elsewhere": Case(
        converted_once(lambda shelf: (shelf.data / "train-00000-of-00007").write_bytes(b"x")),
        "or choose another directory",
        elsewhere,
    ),
    "boxes in pixels": Case(
        boxes_of_kaggle,
        "give the folder ILSVRC/Annotations/CLS-LOC/train of the same archive instead",
        boxes_in_folders,
    ),
    "an image twice": Case(
        twice,
        "remove one of the two",
        removed("val/ILSVRC2012_val_00000001.JPEG"),
    ),
    "hold-out, as before": Case(
        held_out_split,
        "give the --validation_fraction of the train split",
        flagged("--validation_fraction=0.1"),
    ),
    "hold-out, elsewhere": Case(held_out_split, "or choose another directory", elsewhere),
    "fraction": Case(
        with_classes("train", "val", flags=("--validation_fraction=0.2",)),
        "leave the fraction out",
        lambda shelf, _: shelf.flags.remove("--validation_fraction=0.2"),
    ),
    "empty class": Case(
        lambda shelf: (shelf.classes(), (shelf.raw / "cat").mkdir()),
        "put some there, or remove it",
        put("cat/0.jpg"),
    ),
    "empty class, removed": Case(
        lambda shelf: (shelf.classes(), (shelf.raw / "cat").mkdir()),
        "put some there, or remove it",
        removed("cat"),
    ),
    "twins": Case(
        twins, "rename one of them, or move its images", moved("caf\u00e9", into="renamed")
    ),
    "one level": Case(with_classes("zip/flowers"), "give --raw_dir=", advised(r"--raw_dir=\S+")),
    "splits of one class": Case(
        lambda shelf: shelf.put(
            "ant/train/0.jpg", "ant/val/1.jpg", "bee/train/0.jpg", "bee/val/1.jpg", "cat/2.jpg"
        ),
        "give every class its splits, or lay them out as",
        lambda shelf, _: (shelf.put("cat/train/0.jpg"), shelf.remove("cat/2.jpg")),
    ),
    "splits in splits": Case(
        with_classes("train/train", "train/val", "val"),
        "give one set of splits",
        lambda shelf, _: shelf.flags.append(f"--raw_dir={shelf.raw / 'train'}"),
    ),
    "two validation sets": Case(
        with_classes("train", "val", "validation"),
        "leave one of them there",
        removed("validation"),
    ),
    "a split or a class": Case(
        with_classes("train", also=("cat/0.jpg",)), "or move them away", removed("cat")
    ),
    "a class like a split": Case(
        with_classes("train", also=("cat/0.jpg",)),
        "put all classes into",
        lambda shelf, _: (
            shelf.move("train", "cat", into="all"),
            (shelf.raw / "all").rename(shelf.raw / "train"),
        ),
    ),
    "flat validation": Case(
        with_classes("train", also=("val/0.jpg",)),
        "put each image into",
        moved("val/0.jpg", into="val/ant"),
    ),
    "flat splits": Case(
        lambda shelf: shelf.put("train/0.jpg", "test/1.jpg"),
        "put each image into SPLIT/CLASS",
        lambda shelf, _: (
            shelf.move("train/0.jpg", into="train/ant"),
            shelf.move("test/1.jpg", into="test/ant"),
        ),
    ),
    "classes like splits": Case(
        lambda shelf: shelf.put("train/0.jpg", "test/1.jpg"),
        "put them into",
        lambda shelf, _: (
            shelf.move("train", "test", into="all"),
            (shelf.raw / "all").rename(shelf.raw / "train"),
        ),
    ),
    "flat": Case(
        lambda shelf: shelf.put("train/0.jpg", "train/1.jpg"),
        "put each into",
        moved("train/0.jpg", "train/1.jpg", into="train/ant"),
    ),
    "packed": Case(archived, "unpack it there first", unzipped),
    "link": Case(linked, "get the image, or remove the link", put("absent.jpg")),
    "link, removed": Case(linked, "or remove the link", removed("train/ant/9.jpg")),
    "zip of ImageNet": Case(
        lambda shelf: (archived(shelf), shelf.flags.extend([*IMAGENET, "--split=train"])),
        "unpack it with unzip",
        lambda shelf, _: (shelf.remove("photos.zip"), imagenet()(shelf)),
    ),
    "interrupted unpacking": Case(unpacked_first, "unpack each archive that", unpacked),
    "a validation image": Case(
        imagenet(f"train/{WNIDS[0]}/ILSVRC2012_val_00000001.JPEG"),
        "give the train images, or rename it",
        lambda shelf, _: shelf.remove(f"train/{WNIDS[0]}/ILSVRC2012_val_00000001.JPEG"),
    ),
    "compressed": Case(
        train_archive(bz2.compress),
        "decompress it first (",
        downloaded_again,
    ),
    "cut off": Case(
        train_archive(lambda content: content[:2000]),
        "download it again, or resume the download",
        downloaded_again,
    ),
    "no archive": Case(
        train_archive(lambda content: b"<html>" * 999), "download it again", downloaded_again
    ),
}


@pytest.mark.parametrize("name", CONVERTER)
def test_advice_of_the_converter_helps(tmp_path, capsys, name):
    case, shelf = CONVERTER[name], Shelf(tmp_path / "raw", tmp_path / "data")
    shelf.raw.mkdir()
    case.prepare(shelf)
    capsys.readouterr()
    assert shelf.convert() == 3
    message = capsys.readouterr().err
    assert case.advice in message, message
    case.cure(shelf, message)
    assert shelf.convert() == 0, capsys.readouterr().err
