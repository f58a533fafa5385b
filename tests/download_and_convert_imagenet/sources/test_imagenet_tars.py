from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile

import pytest

from common.errors import DataError
from download_and_convert_imagenet.sources.imagenet_labels import training_images, validation_images
from download_and_convert_imagenet.sources.imagenet_tars import (
    list_class_archives,
    list_train_archive,
    list_validation_archive,
)
from download_and_convert_imagenet.sources.synsets import synsets
from download_and_convert_imagenet.sources.tar import tar_members
from tests.download_and_convert_imagenet.fake_imagenet import make_fake_imagenet
from tests.download_and_convert_imagenet.imagenet_layouts import (
    TRAIN_ARCHIVE,
    VALIDATION_ARCHIVE,
    write_archives,
)

FAKE = make_fake_imagenet(12, largest_size=(300, 200))
FILES = {
    "short": b"x" * 700,
    "folder/" * 20 + "longer_than_a_hundred_bytes.JPEG": b"y" * 512,
    "empty": b"",
    "ünïcode/" + "z" * 120: b"z",
}


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    return write_archives(FAKE, tmp_path_factory.mktemp("archives"))


def tar(files: dict[str, bytes], tar_format: int = tarfile.GNU_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def read_members(path, start=0, num_bytes=None) -> dict[str, bytes]:
    with path.open("rb") as file:
        members = list(tar_members(file.fileno(), str(path), start, num_bytes))
        return {m.name: os.pread(file.fileno(), m.num_bytes, m.offset) for m in members}


@pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_those_that_were_packed(tmp_path, tar_format):
    (tmp_path / "a.tar").write_bytes(tar(FILES, tar_format))
    assert read_members(tmp_path / "a.tar") == FILES


@pytest.mark.parametrize("options", [("--blocking-factor=1",), ("--format=posix",), ("-b", "2048")])
def test_archives_of_gnu_tar(tmp_path, options):
    for name in ("a.JPEG", "b.JPEG"):
        (tmp_path / name).write_bytes(name.encode() * 256)
    for name in ("one", "two"):
        (tmp_path / f"{name}.JPEG").write_bytes(name.encode())
        command = ["tar", *options, "-cf", f"{name}.tar", "a.JPEG", "b.JPEG", f"{name}.JPEG"]
        subprocess.run(command, cwd=tmp_path, check=True)
    members = read_members(tmp_path / "one.tar")
    assert list(members) == ["a.JPEG", "b.JPEG", "one.JPEG"]
    assert members["b.JPEG"] == b"b.JPEG" * 256
    subprocess.run(["tar", "-Af", "one.tar", "two.tar"], cwd=tmp_path, check=True)
    assert set(read_members(tmp_path / "one.tar")) == {"a.JPEG", "b.JPEG", "one.JPEG", "two.JPEG"}


def test_one_block_of_zeros_ends_an_archive(tmp_path):
    content = tar({"a": b"1" * 512})
    for end in (3 * 512, 4 * 512, len(content)):
        (tmp_path / "a.tar").write_bytes(content[:end])
        assert read_members(tmp_path / "a.tar") == {"a": b"1" * 512}


def test_an_archive_that_is_cut_between_two_files(tmp_path):
    path = tmp_path / TRAIN_ARCHIVE
    inner = tar({"a.JPEG": b"1" * 512, "b.JPEG": b"2" * 600})
    outer = tar({"n01440764.tar": inner, "n01443537.tar": inner})
    for end in (512 + len(inner), 2 * (512 + len(inner)), 2 * (512 + len(inner)) + 511):
        path.write_bytes(outer[:end])
        with pytest.raises(DataError, match=f"{path} is incomplete: .* without the zeros"):
            list_train_archive(path)
    path.write_bytes(tar({"n01440764.tar": inner[:1024], "n01443537.tar": inner}))
    with pytest.raises(DataError, match=r"n01440764\.tar is incomplete: .* without the zeros"):
        list_train_archive(path)


@pytest.mark.parametrize(
    "records",
    [
        b"0 path=a\n",
        b"-5 path=a\n",
        b"path=a\n",
        b"99 path=a\n",
        b"11 \xff\xff=abc\n",
        b"11 size=-9\n",
    ],
)
def test_pax_records_that_are_none(tmp_path, records):
    member = tarfile.TarInfo("PaxHeaders/a")
    member.type, member.size = tarfile.XHDTYPE, len(records)
    content = member.tobuf() + records.ljust(512, b"\0") + tar({"a": b"1"})
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.tar is damaged at byte 0"):
        read_members(tmp_path / "a.tar")


def test_an_archive_within_an_archive_is_read_at_its_place(tmp_path):
    inner = tar(FILES)
    outer = tar({"first": b"1" * 1000, "inner.tar": inner, "last": b"2"})
    (tmp_path / "a.tar").write_bytes(outer)
    start = outer.index(inner)
    assert read_members(tmp_path / "a.tar", start, len(inner)) == FILES


def test_sizes_beyond_eight_gigabytes(tmp_path):
    """A sparse file stands for the content: GNU writes such sizes in binary, pax in a record."""
    for tar_format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        member = tarfile.TarInfo("large")
        member.size = 9 << 30
        header = member.tobuf(tar_format)
        path = tmp_path / "large.tar"
        with path.open("wb") as file:
            file.write(header)
            file.truncate(len(header) + member.size + 1024)
        with path.open("rb") as file:
            (found,) = tar_members(file.fileno(), "large.tar")
        assert found == ("large", len(header), 9 << 30)


def test_training_images_with_labels_and_boxes(archives):
    images = training_images(list_train_archive(archives / TRAIN_ARCHIVE), FAKE.boxes)
    expected = sorted(FAKE.train, key=lambda image: (image.label, image.name))
    assert [image.name for image in images] == [image.name for image in expected]
    for image, fake in zip(images, expected, strict=True):
        assert (image.label, image.synset) == (fake.label, fake.wnid)
        assert image.location.read() == fake.content
        assert image.boxes == FAKE.boxes.get(fake.stem, ())
    assert images[0].text == "tench, Tinca tinca"


def test_validation_images_have_the_labels_of_their_numbers(archives):
    images = validation_images(list_validation_archive(archives / VALIDATION_ARCHIVE))
    assert {image.name: (image.label, image.location.read()) for image in images} == {
        fake.name: (fake.label, fake.content) for fake in FAKE.validation
    }
    assert [image.label for image in images] == sorted(image.label for image in images)


def test_an_archive_of_an_unknown_class_is_named(tmp_path):
    path = tmp_path / TRAIN_ARCHIVE
    path.write_bytes(tar({"n01440764.tar": tar({"a.JPEG": b""}), "n99999999.tar": tar({"b": b""})}))
    with pytest.raises(DataError, match=r"n99999999\.tar is not named after a class .*'n99999999'"):
        list_train_archive(path)


def test_the_wrong_archive_under_the_name_is_reported(archives, tmp_path):
    path = tmp_path / TRAIN_ARCHIVE
    path.write_bytes((archives / VALIDATION_ARCHIVE).read_bytes())
    with pytest.raises(DataError, match=r"holds ILSVRC2012_val_\d+\.JPEG, not archives"):
        list_train_archive(path)


def test_an_unknown_validation_name_is_reported(tmp_path):
    path = tmp_path / VALIDATION_ARCHIVE
    path.write_bytes(tar({"ILSVRC2012_val_00050001.JPEG": b"x"}))
    with pytest.raises(DataError, match=r"ILSVRC2012_val_00050001\.JPEG .* its class is unknown"):
        validation_images(list_validation_archive(path))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_an_archive_that_ends_too_early_says_where(archives, tmp_path, share):
    content = (archives / TRAIN_ARCHIVE).read_bytes()
    path = tmp_path / TRAIN_ARCHIVE
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=f"{path}.* is (incomplete: it ends at byte|damaged)"):
        list_train_archive(path)


def test_what_is_no_archive_is_reported(tmp_path):
    path = tmp_path / TRAIN_ARCHIVE
    path.write_bytes(b"<html>log in first</html>" * 100)
    with pytest.raises(DataError, match="is not a tar archive"):
        list_train_archive(path)
    path.write_bytes(gzip.compress(os.urandom(1000)))
    with pytest.raises(DataError, match=f"is compressed: .* .gzip -d {path}"):
        list_train_archive(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="is empty at byte 0"):
        list_train_archive(path)


def test_a_damaged_header_is_reported_with_its_place(archives, tmp_path):
    content = bytearray((archives / VALIDATION_ARCHIVE).read_bytes())
    second = 512 + -(-len(first_content(content)) // 512) * 512
    content[second + 5] ^= 1
    path = tmp_path / VALIDATION_ARCHIVE
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"is damaged at byte {second:,}"):
        list_validation_archive(path)


def first_content(archive: bytes) -> bytes:
    """The content of the first member, by the standard library."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        member = opened.next()
        assert member is not None
        file = opened.extractfile(member)
        assert file is not None
        return file.read()


def test_an_archive_that_shrinks_later_is_an_error(archives, tmp_path):
    path = tmp_path / VALIDATION_ARCHIVE
    content = (archives / VALIDATION_ARCHIVE).read_bytes()
    path.write_bytes(content)
    last = max(list_validation_archive(path), key=lambda image: image.location.offset)
    path.write_bytes(content[: last.location.offset + 10])
    with pytest.raises(OSError, match="ends before byte"):
        last.location.read()


def test_a_thousand_archives_need_no_thousand_open_files(tmp_path):
    paths = []
    for synset in synsets()[:20]:
        paths.append(tmp_path / f"{synset.wnid}.tar")
        paths[-1].write_bytes(tar({f"{synset.wnid}_1.JPEG": synset.wnid.encode()}))
    images = list_class_archives(paths)
    contents = [image.location.read().decode() for image in images]
    assert contents == [path.stem for path in paths]
    is_open = [path for path in paths for file in open_files() if path.samefile(file)]
    assert is_open == []


def open_files() -> list[str]:
    """The files that this process has open."""
    links = (f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd"))
    return [link for link in links if os.path.isfile(link)]
