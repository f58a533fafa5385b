from __future__ import annotations

import json
import os

import pytest
import tensorflow as tf
from PIL import Image

from download_and_convert_imagenet.__main__ import main
from download_and_convert_imagenet.records.manifest import read_manifest
from tests.download_and_convert_imagenet.records.encoded_images import encode, picture
from tests.preprocessing.images.pixel_zoo import oriented


def test_any_class_folders(tmp_path, capsys):
    for name in ("ant", "bee"):
        (tmp_path / "raw" / name).mkdir(parents=True)
        for number in range(20):
            path = tmp_path / "raw" / name / f"{number}.png"
            path.write_bytes(encode(picture(20, 10 + number), "PNG"))
    data_dir = tmp_path / "data"
    arguments = [str(data_dir), "--source=folder", f"--raw_dir={tmp_path / 'raw'}"]
    assert main([*arguments, "--validation_fraction=0.25", "--num_processes=1"]) == 0
    printed = capsys.readouterr().out
    assert "train: 8 shards" in printed
    assert "validation: 2 shards" in printed
    (first, *_) = tf.data.TFRecordDataset(str(data_dir / "train-00000-of-00008"))
    features = tf.train.Example.FromString(first.numpy()).features.feature
    name = features["image/filename"].bytes_list.value[0].decode()
    assert features["image/format"].bytes_list.value[0] == b"PNG"
    assert features["image/encoded"].bytes_list.value[0] == (tmp_path / "raw" / name).read_bytes()
    assert features["image/class/label"].int64_list.value[0] == 1 + ("ant", "bee").index(name[:3])


def convert_folder(capsys, data_dir, raw_dir, *options):
    """Returns the exit code, and what the command printed on both streams."""
    arguments = (str(data_dir), "--source=folder", f"--raw_dir={raw_dir}", "--num_processes=1")
    code = main([*arguments, *options])
    return code, "".join(capsys.readouterr())


def write_images(root, *names):
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encode(picture(20 + number, 30)))
    return root


def test_the_output_may_lie_among_the_classes(tmp_path, capsys):
    raw = write_images(tmp_path / "own", *(f"{c}/{k}.jpg" for c in ("a", "b") for k in range(15)))
    (raw / "converted").mkdir()
    for data_dir in (raw / "converted", tmp_path / "elsewhere", raw / "converted"):
        code, printed = convert_folder(capsys, data_dir, raw)
        assert code == 0
        assert "classes: 2, labeled from 1 in the order of their names: a, b\n" in printed
        assert f"not used: 1 of converted data ({data_dir / 'not_used.txt'})\n" in printed
        listed = (data_dir / "not_used.txt").read_text()
        assert listed == f"{raw / 'converted'}: of converted data\n"


def test_what_is_not_used_is_counted_and_a_failure_leaves_nothing(tmp_path, capsys):
    raw = write_images(tmp_path / "set", *(f"{c}/{k}.jpg" for c in ("a", "b") for k in range(5)))
    for name in ("1.txt", "2.txt", "no_suffix"):
        (raw / "a" / name).touch()
    (raw / "c").mkdir()
    code, printed = convert_folder(capsys, raw / "data", raw)
    assert (code, printed) == (
        3,
        f"error: {raw / 'c'} holds no images: put some there, or remove it\n",
    )
    assert not (raw / "data").exists()
    (raw / "c").rmdir()
    code, printed = convert_folder(capsys, tmp_path / "data", raw)
    assert code == 0
    assert "not used: 2 .txt, 1 without a suffix (" in printed
    for name in ("1.txt", "2.txt", "no_suffix"):
        (raw / "a" / name).unlink()
    convert_folder(capsys, tmp_path / "data", raw)
    assert not (tmp_path / "data" / "not_used.txt").exists()


@pytest.mark.parametrize("held_out", [True, False])
def test_advice_when_no_validation_image_can_be_decoded(tmp_path, capsys, held_out):
    train = "" if held_out else "train/"
    raw = write_images(tmp_path / "set", *(f"{train}{c}/{k}.jpg" for c in "ab" for k in range(5)))
    data_dir = tmp_path / "data"
    if held_out:
        assert convert_folder(capsys, data_dir, raw)[0] == 0
        shards = tf.data.TFRecordDataset(sorted(map(str, data_dir.glob("validation-*"))))
        examples = [tf.train.Example.FromString(record.numpy()) for record in shards]
        names = [
            e.features.feature["image/filename"].bytes_list.value[0].decode() for e in examples
        ]
    else:
        names = ["val/a/1.jpg", "val/b/1.jpg"]
        write_images(raw, *names)
    for name in names:
        (raw / name).write_text("<html>404</html>")
    code, printed = convert_folder(capsys, data_dir, raw, "--max_corrupt_images=2")
    assert code == 3
    assert "error: no validation image is left: none of the 2 can be decoded" in printed
    assert ("choose another --validation_fraction" in printed) == held_out
    if held_out:
        options = ("--max_corrupt_images=2", "--validation_fraction=0.5")
        assert convert_folder(capsys, data_dir, raw, *options)[0] == 0
    else:
        for name in names:
            os.unlink(raw / name)
        write_images(raw, *names)
        assert convert_folder(capsys, data_dir, raw)[0] == 0


def test_two_splits_of_one_folder_share_no_image(tmp_path, capsys):
    raw = write_images(tmp_path / "set", *(f"{c}/{k}.jpg" for c in "ab" for k in range(20)))
    data_dir = tmp_path / "data"
    assert convert_folder(capsys, data_dir, raw, "--split=train")[0] == 0
    code, printed = convert_folder(capsys, data_dir, raw, "--split=validation")
    assert code == 3
    all_images, the_share = (
        word.rstrip(",") for word in printed.split() if word.startswith("--validation_fraction=")
    )
    code, printed = convert_folder(capsys, data_dir, raw, "--split=validation", all_images)
    assert code == 3
    assert "holds 36 train images of the 40" in printed
    assert convert_folder(capsys, data_dir, raw, "--split=validation", the_share)[0] == 0
    assert convert_folder(capsys, tmp_path / "v", raw, "--split=validation", all_images)[0] == 0


def test_the_way_to_keep_the_labels_of_imagenet(tmp_path, capsys):
    folders = [f"{split}/{c}" for split in ("train", "val") for c in ("n01443537", "n15075141")]
    names = [f"{folder}/{k}.JPEG" for folder in folders for k in range(5)]
    raw = write_images(tmp_path / "set", *names)
    code, printed = convert_folder(capsys, tmp_path / "own", raw)
    assert code == 0
    options = printed.partition("labels of their own here: ")[2].split()[:2]
    arguments = [str(tmp_path / "data"), f"--raw_dir={raw}", "--train_shards=1", *options]
    assert main([*arguments, "--validation_shards=1", "--num_processes=1"]) == 0
    for data_dir, labels in ((tmp_path / "own", {1, 2}), (tmp_path / "data", {2, 1000})):
        shards = tf.data.TFRecordDataset(sorted(map(str, data_dir.glob("train-*"))))
        examples = [tf.train.Example.FromString(record.numpy()) for record in shards]
        found = {e.features.feature["image/class/label"].int64_list.value[0] for e in examples}
        assert found == labels


def test_names_that_break_lines_stay_in_one(tmp_path, capsys):
    """Folders may be called anything; a class stands in lines, tables and lists."""
    names = ("a\nb", "c\td", "e\x1b[31m")
    raw = write_images(tmp_path / "own", *(f"{name}/{k}.jpg" for name in names for k in range(12)))
    write_images(raw, "a\nb/x\ny.txt")
    (raw / "c\td" / "broken\n.jpg").write_bytes(b"no image")
    data = tmp_path / "data"
    code, printed = convert_folder(capsys, data, raw, "--max_corrupt_images=1")
    assert code == 0
    shown = ("a\\nb", "c\\td", "e\\x1b[31m")
    assert (
        f"classes: 3, labeled from 1 in the order of their names: {', '.join(shown)}\n" in printed
    )
    manifest = read_manifest(data)
    assert manifest is not None
    assert manifest.class_names == shown
    for name in ("not_used.txt", "corrupt_images.txt"):
        (line,) = (data / name).read_text().split("\n")[:-1]
        assert "\\n" in line
    (first, *_) = tf.data.TFRecordDataset(str(data / "validation-00000-of-00002"))
    features = tf.train.Example.FromString(first.numpy()).features.feature
    assert features["image/class/synset"].bytes_list.value[0].decode() in names
    assert features["image/class/text"].bytes_list.value[0].decode() in shown
    # Data of an earlier version hold the names as they were.
    content = json.loads((data / "manifest.json").read_text())
    (data / "manifest.json").write_text(json.dumps(content | {"class_names": names}))
    assert read_manifest(data) == manifest


@pytest.mark.parametrize(
    ("fraction", "share"), [("0.999999", "99.9999%"), ("0.1", "10%"), ("0.07", "7%")]
)
def test_the_share_that_is_held_out_is_not_rounded_up(tmp_path, capsys, fraction, share):
    raw = write_images(tmp_path / "own", *(f"{name}/{k}.jpg" for name in "ab" for k in range(9)))
    option = f"--validation_fraction={fraction}"
    code, printed = convert_folder(capsys, tmp_path / "data", raw, option)
    assert code == 0
    assert f" images, {share} of each class\n" in printed


def test_classes_of_nearly_one_name_are_named(tmp_path, capsys):
    names = ("01", "1", "Cat", "cat ", "hot dog", "hot_dog", "c", "c#", "10", "100")
    raw = write_images(tmp_path / "own", *(f"{name}/{k}.jpg" for name in names for k in range(2)))
    code, printed = convert_folder(capsys, tmp_path / "data", raw)
    assert code == 0
    assert (
        "warning: classes with nearly the same name are kept apart: 01 and 1; Cat and 'cat '; "
        "'hot dog' and hot_dog\n"
    ) in printed
    raw = write_images(tmp_path / "spaced", "ant/0.jpg", "bee /0.jpg")
    _, printed = convert_folder(capsys, tmp_path / "spaced_data", raw)
    assert "warning: spaces around names of classes: 'bee '\n" in printed


def test_a_run_among_the_classes_is_no_class(tmp_path, capsys):
    """Its curves.png would be a photo."""
    raw = write_images(tmp_path / "own", "a/0.jpg", "b/0.jpg", "run/curves.png")
    for name in ("parameters.json", "run.json"):
        (raw / "run" / name).write_text("{}")
    code, printed = convert_folder(capsys, raw / "data", raw)
    assert code == 0
    assert "classes: 2, labeled from 1 in the order of their names: a, b\n" in printed
    assert "1 of a training run" in printed
    assert f"warning: {raw / 'data'} lies in {raw}, the folder of the images" in printed


def test_what_was_done_to_images_is_called_what_it_was(tmp_path, capsys):
    """Turned upright is not repaired; an image that is left out was read, too."""
    raw = write_images(tmp_path / "own", *(f"{name}/{k}.jpg" for name in "ab" for k in range(3)))
    upright = Image.open(raw / "a" / "0.jpg")
    for number in (4, 5):
        (raw / "a" / f"{number}.jpg").write_bytes(oriented(upright, 6, "JPEG"))
    upright.convert("CMYK").save(raw / "b" / "6.jpg")
    (raw / "b" / "7.jpg").write_bytes(b"no image")
    options = ("--max_corrupt_images=1", "--validation_fraction=0", "--train_shards=1")
    code, printed = convert_folder(capsys, tmp_path / "data", raw, *options)
    assert code == 0
    listed = tmp_path / "data" / "reencoded_images.txt"
    assert f"encoded again: 3 images (2 turned JPEG, 1 CMYK JPEG; {listed})\n" in printed
    assert "\n10 image files read in " in printed
    assert "repaired" not in printed
