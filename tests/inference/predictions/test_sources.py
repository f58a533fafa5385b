"""Data sets in all their layouts: the same images, classes and answers."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
from PIL import Image

import prediction
from common.errors import DataError
from download_and_convert_imagenet.__main__ import main as convert
from download_and_convert_imagenet.records.tf_example import LabeledImage
from download_and_convert_imagenet.sources.synsets import synsets, validation_labels
from inference import class_names
from inference.predictions import table
from inference.predictions.sources.dataset import DataSet
from inference.predictions.sources.dataset import Image as DataImage
from inference.predictions.sources.labels import network_classes
from inference.predictions.sources.opening import open_dataset
from tests.inference.predictions.conftest import NUM_IMAGES, pixels

_VAL = "ILSVRC/Data/CLS-LOC/val"


@pytest.fixture(scope="module")
def by_class(kaggle, tmp_path_factory):
    """The same validation images in folders named by WordNet ids."""
    root = tmp_path_factory.mktemp("by_class") / "imagenet"
    for number, path in enumerate(sorted((kaggle / _VAL).iterdir())):
        folder = root / "val" / synsets()[validation_labels()[number] - 1].wnid
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder)
    return root


@pytest.fixture(scope="module")
def records(by_class, tmp_path_factory):
    """The same images, converted as ImageNet: TFRecords with a manifest."""
    data = tmp_path_factory.mktemp("records")
    argv = [f"--raw_dir={by_class}", "--split=validation", "--bounding_boxes=none", str(data)]
    assert convert([*argv, "--validation_shards=3"]) == 0
    return data


def by_image(directory):
    """Image -> label and answer, by the file's name alone."""
    found = table.read(directory)
    assert not found.missing.any()
    rows = zip(found.images, found.labels, found.classes, found.probabilities, strict=True)
    return {
        name.rpartition("/")[2]: (label, classes.tolist(), probabilities.tolist())
        for name, label, classes, probabilities in rows
    }


def test_layouts_of_the_same_images_give_the_same_answers(
    predict, kaggle, by_class, records, tmp_path
):
    """Labels too, although a subset of the classes in folders is numbered by itself.

    Batches hold other images, so the last bits may differ.
    """
    for name, data in [("kaggle", kaggle), ("by_class", by_class), ("records", records)]:
        assert predict("-d", data, f"--output_dir={tmp_path / name}") == 0
    expected = by_image(tmp_path / "kaggle")
    assert len(expected) == NUM_IMAGES
    for name in ("by_class", "records"):
        found = by_image(tmp_path / name)
        assert found.keys() == expected.keys()
        for image, (label, classes, probabilities) in found.items():
            assert (label, classes) == expected[image][:2]
            np.testing.assert_allclose(probabilities, expected[image][2], rtol=1e-3)
    assert table.read(tmp_path / "records").images[0].startswith("ILSVRC2012_val_")
    assert re.fullmatch(
        r"n\d{8}/ILSVRC2012_val_\d+\.JPEG", table.read(tmp_path / "by_class").images[0]
    )
    present = {label - 1 for label in validation_labels()[:NUM_IMAGES]}
    assert table.read(tmp_path / "by_class").manifest["data"]["classes"] == sorted(present)


def test_only_the_classes_of_a_subset_compete_if_asked(predict, by_class, tmp_path):
    """The answers are the network's own, without the others, and sum to one."""
    assert predict("-d", by_class, f"--output_dir={tmp_path}/all", "--top=1000") == 0
    argv = ["-d", by_class, f"--output_dir={tmp_path}/subset", "--classes=subset", "--top=1000"]
    assert predict(*argv) == 0
    full, subset = table.read(tmp_path / "all"), table.read(tmp_path / "subset")
    present = sorted({*full.labels.tolist()})
    assert subset.manifest["classes"] == "subset"
    assert subset.manifest["top"] == len(present)
    assert full.labels.tolist() == subset.labels.tolist()
    for row in range(NUM_IMAGES):
        dense = np.zeros(1000)
        dense[full.classes[row]] = full.probabilities[row]
        share = dense[present] / dense[present].sum()
        assert sorted(subset.classes[row].tolist()) == present
        found = np.zeros(1000)
        found[subset.classes[row]] = subset.probabilities[row]
        np.testing.assert_allclose(found[present], share, rtol=1e-5, atol=1e-8)


def _data_set(names, ids=(), labels=(0,)):
    images = tuple(DataImage(str(label), label, None) for label in labels)  # pyright: ignore
    return DataSet("pets", prediction.__file__, None, images, names, ids, None)  # pyright: ignore


_IDS = tuple(synset.wnid for synset in synsets())


@pytest.mark.parametrize(
    ("names", "ids", "expected"),
    [
        # Imagenette's first three, by id, whatever they are called.
        (("a", "b", "c"), ("n01440764", "n02102040", "n02979186"), [0, 217, 482]),
        # In another order, by the words of ImageNet or by one of them.
        (("cassette player", "tench, Tinca tinca", "English_springer"), (), [482, 0, 217]),
        # Both cranes, which have one name.
        (("crane", "crane"), ("n03126707", "n02012849"), [517, 134]),
        # A class without images that ImageNet does not have.
        (("tench, Tinca tinca", "unicorn"), (), [0, -1]),
    ],
)
def test_classes_are_matched_by_id_then_by_name(names, ids, expected):
    found = network_classes(_data_set(names, ids), class_names.imagenet(), _IDS, "lenet")
    assert found.tolist() == expected


@pytest.mark.parametrize(
    ("names", "ids", "network", "message"),
    [
        (("crane",), (), None, r"the class \(crane\) of .* is none of the 1,000 classes of lenet"),
        (("unicorn",), ("n00000001",), None, r"the class n00000001 \(unicorn\)"),
        (("cat", "dog", "gnu"), (), ["class 0", "class 1"], "has 3 classes and lenet 2, and they"),
        (("Cat", "cat"), (), ["cat", "dog"], "the classes Cat and cat are both 'cat'"),
    ],
)
def test_a_class_that_the_network_does_not_know_is_refused(names, ids, network, message):
    known = network or class_names.imagenet()
    with pytest.raises(DataError, match=message):
        network_classes(_data_set(names, ids), known, () if network else _IDS, "lenet")


def test_without_names_the_order_counts_and_is_warned_of(capsys):
    data = _data_set(("cat", "dog"))
    assert network_classes(data, ["class 0", "class 1"], (), "lenet").tolist() == [0, 1]
    assert re.fullmatch(
        "warning: the classes of lenet have no names[^\n]+\n", capsys.readouterr().err
    )


def _folders(root, *paths):
    for number, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(number)).save(root / path)
    return root


@pytest.mark.parametrize(
    ("paths", "subset", "expected"),
    [
        (["b/1.png", "a/2.png", "b/3.png"], None, [("a/2.png", 0), ("b/1.png", 1), ("b/3.png", 1)]),
        (["train/b/1.png", "train/a/2.png", "val/b/3.png"], None, [("b/3.png", 1)]),
        (["train/b/1.png", "train/a/2.png", "val/b/3.png"], "train",
         [("a/2.png", 0), ("b/1.png", 1)]),
        (["val/10/1.png", "val/9/2.png"], None, [("9/2.png", 0), ("10/1.png", 1)]),
    ],
)  # fmt: skip
def test_class_folders_in_the_forms_of_the_converter(tmp_path, paths, subset, expected):
    found = open_dataset(str(_folders(tmp_path, *paths)), subset)
    assert [(image.name, image.label) for image in found.images] == expected
    assert found.images_directory is not None
    assert all((found.images_directory / image.name).is_file() for image in found.images)


def test_an_image_on_its_side_is_turned_unless_it_is_imagenets(tmp_path):
    """As the converter stores them."""
    import tensorflow as tf

    from inference.predictions.sources.dataset import encoded
    from preprocessing.images.decoding import decode_window, whole_image

    for folder, shape in [("cat", (20, 30)), ("n01440764", (30, 20))]:
        (tmp_path / folder / folder).mkdir(parents=True)
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (20, 30)).save(tmp_path / folder / folder / "a.jpg", exif=exif)
        data = open_dataset(str(tmp_path / folder), None)
        content = encoded(data.images[0], data.rule)
        assert decode_window(tf.constant(content), whole_image).shape[:2] == shape


def _foreign_records(directory, name="imagenet", labels=(1, 1000), damage=None):
    """Shards without a manifest, as other converters write them."""
    import tensorflow as tf

    from download_and_convert_imagenet.records.tf_example import encode_image
    from tests.inference.predictions.test_tta import png

    place = directory / name
    place.mkdir()
    path = place / "validation-00000-of-00001"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number, label in enumerate(labels):
            content = png(pixels(number)).numpy()
            image = LabeledImage(content, 1, 1, label, "same.JPEG", image_format="PNG")
            writer.write(encode_image(image))
    if damage is not None:
        content = bytearray(path.read_bytes())
        content[damage] ^= 1
        path.write_bytes(content)
    return place


def test_records_without_names_are_named_by_their_place(tmp_path):
    found = open_dataset(str(_foreign_records(tmp_path)), None)
    assert [image.name for image in found.images] == [
        "validation-00000-of-00001:0",
        "validation-00000-of-00001:1",
    ]
    assert [image.label for image in found.images] == [0, 999]
    assert found.wordnet_ids[0] == "n01440764"


def _kaggle_without(kaggle, directory, name):
    place = directory / "imagenet"
    shutil.copytree(kaggle, place)
    target = place / name
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    return place


def _line(name, old, new):
    def change(kaggle, directory):
        place = directory / "imagenet"
        shutil.copytree(kaggle, place)
        text = (place / name).read_text()
        assert old in text
        (place / name).write_text(text.replace(old, new, 1))
        return place

    return change


_SOLUTION, _MAPPING = "LOC_val_solution.csv", "LOC_synset_mapping.txt"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda k, d: d / "absent", "absent does not exist: --data is a directory, or the name"),
        (lambda k, d: _kaggle_without(k, d, _SOLUTION), f"{_SOLUTION} does not exist: it comes w"),
        (lambda k, d: _kaggle_without(k, d, _MAPPING), f"{_MAPPING} does not exist: it comes with"),
        (lambda k, d: _kaggle_without(k, d, _VAL), 'val cannot be read: .*tar -xzf .* "\\*val\\*"'),
        (_line(_SOLUTION, "ImageId,", "Image,"), "line 1: must be ImageId,PredictionString"),
        (_line(_SOLUTION, "00000040,", "90000040,"), "00000040.JPEG is not in LOC_val_solution"),
        (_line(_SOLUTION, "00000040,n", "00000040,x"), "has the class x.*mapping.txt does not"),
        (_line(_MAPPING, "n01440764 tench", "tench"), "line 1: must be a WordNet id and words"),
        (lambda k, d: _folders(d, "train/a/1.png"), "has no validation split: add --data_subset=t"),
        (lambda k, d: _folders(d, "1.png"), "holds images, but no folders of classes"),
        (lambda k, d: _foreign_records(d, labels=(1, 1001)), "record 1 has the label 1001"),
        (lambda k, d: _foreign_records(d, damage=40), "record 0 at byte 0 is damaged"),
        (lambda k, d: _foreign_records(d, name="pets"), "cannot tell which data set"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(kaggle, tmp_path, make, message):
    place = make(kaggle, tmp_path)
    with pytest.raises(DataError) as raised:
        open_dataset(str(place), None)
    assert re.search(message, str(raised.value))
    assert "\n" not in str(raised.value)


def test_a_part_of_kaggles_images_is_said(kaggle, tmp_path):
    place = tmp_path / "imagenet"
    shutil.copytree(kaggle, place)
    (place / _VAL / "ILSVRC2012_val_00000002.JPEG").unlink()
    found = open_dataset(str(place), None)
    assert len(found.images) == NUM_IMAGES - 1
    assert found.notes[0].startswith("LOC_val_solution.csv lists 40 images, and ")
