"""Calibration takes every class alike, from the right split, as the evaluation sees it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark_cnn.params.data_params import DataParams
from common.errors import DataError, UsageError
from download_and_convert_imagenet.sources.synsets import synsets
from exporters.int8 import calibration
from exporters.int8.calibration import Sample, choose, stratified
from inference.class_names import imagenet
from inference.signature import Signature
from inference.view import View
from preprocessing.registry import open_dataset
from tests.preprocessing.image_shards import damaged_within, encode, example, write_split

CLASSES = 5
NAMES = tuple(f"class {number}" for number in range(CLASSES))
SIGNATURE = Signature("lenet", 24, NAMES, View("vgg", "bicubic"))


def _pixels(seed: int) -> np.ndarray:
    """A coarse checkerboard at full contrast, each its own: bicubic overshoots at its edges."""
    blocks = np.random.default_rng(seed).integers(0, 2, [6, 8, 3], np.uint8) * 255
    return blocks.repeat(8, axis=0).repeat(8, axis=1)


def _examples(labels, first_seed: int) -> list[bytes]:
    seeds = range(first_seed, first_seed + len(labels))
    pairs = zip(seeds, labels, strict=True)
    return [example(encode(_pixels(seed), "PNG"), int(label)) for seed, label in pairs]


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> Path:
    """Records of ImageNet's form: 120 to train, 3 of class 4; 40 to evaluate; sorted by class."""
    directory = tmp_path_factory.mktemp("records")
    train = np.repeat([1, 2, 3, 4, 5], [37, 40, 20, 20, 3])
    write_split(directory, "train", _examples(train, 0), 4)
    write_split(directory, "validation", _examples(np.repeat([1, 2, 3, 4, 5], 8), 1000), 2)
    return directory


def _data(directory: Path) -> DataParams:
    return DataParams(
        data_dir=str(directory), data_name="imagenet", eval_method="vgg", resize_method="bicubic"
    )


def test_every_class_has_its_share_and_small_ones_are_made_up_for(records: Path):
    chosen = choose(SIGNATURE, _data(records), None, 50)
    counts = Counter(sample.label for sample in chosen.calibration.samples)
    assert sum(counts.values()) == 50
    assert counts[4] == 3
    # 47 more from four classes, in turns.
    assert sorted(counts[label] for label in range(4)) == [11, 12, 12, 12]
    assert "50 images of the training split of" in str(chosen.calibration)


def test_one_class_after_the_other_so_that_a_part_is_stratified_too(records: Path):
    images = choose(SIGNATURE, _data(records), None, 20).calibration
    for first in (5, 10, 15):
        counts = Counter(images.first(first).labels.tolist())
        assert set(counts.values()) == {first // 5}


def test_the_choice_depends_on_the_seed_alone(records: Path):
    def bytes_of(seed: int) -> list[bytes]:
        images = choose(SIGNATURE, _data(records), None, 30, seed).calibration
        return [sample.load() for sample in images.samples]

    assert bytes_of(1) == bytes_of(1)
    assert set(bytes_of(1)) != set(bytes_of(2))
    assert len(set(bytes_of(1))) == 30


@pytest.mark.parametrize(
    "flags", [{"augmentation_repeats": 3}, {"balanced_sampling": True}], ids=lambda f: next(iter(f))
)
def test_an_image_that_its_run_draws_several_times_counts_once(records: Path, flags):
    expected, chosen = (
        choose(SIGNATURE, data, None, 60).calibration.samples
        for data in (_data(records), replace(_data(records), **flags))
    )
    assert [sample.name for sample in chosen] == [sample.name for sample in expected]
    assert len({sample.name for sample in chosen}) == 60


def test_measured_images_are_the_validation_split_and_none_is_calibrated_on(records: Path):
    chosen = choose(SIGNATURE, _data(records), None, 100)
    calibrated, measured = ({sample.load() for sample in images.samples} for images in chosen)
    validation = {encode(_pixels(seed), "PNG") for seed in range(1000, 1040)}
    assert measured == validation
    assert not calibrated & measured
    assert Counter(chosen.measured.labels.tolist()) == dict.fromkeys(range(5), 8)


def test_the_network_sees_what_the_evaluation_shows_it(records: Path):
    """The same pixels as `eval_batches`, up to what is beyond a camera's range."""
    chosen = choose(SIGNATURE, _data(records), None, 10)
    dataset = open_dataset(_data(records))
    (batch,) = dataset.eval_batches(batch_size=40, image_size=24).take(1)
    evaluated = np.asarray(batch[0])
    assert evaluated.min() < -5
    assert evaluated.max() > 260
    expected = {np.clip(image, 0, 255).tobytes() for image in evaluated}
    assert {image.tobytes() for image in chosen.measured.pixels()} == expected


def test_batches_are_filled_up(records: Path):
    images = choose(SIGNATURE, _data(records), None, 5).calibration
    single = np.stack(list(images.pixels()))
    batches = [batch for (batch,) in images.representative(3)]
    assert [batch.shape for batch in batches] == [(3, 24, 24, 3)] * 2
    assert np.array_equal(np.concatenate(batches), single[[0, 1, 2, 3, 4, 4]])


def test_records_with_one_split_leave_some_to_measure(records: Path, tmp_path: Path):
    write_split(tmp_path, "validation", _examples(np.repeat([1, 2], 20), 2000), 1)
    chosen = choose(SIGNATURE, DataParams(), tmp_path, 500)
    assert (len(chosen.calibration), len(chosen.measured)) == (36, 4)
    assert "of the validation split of" in str(chosen.calibration)
    # Without a manifest it is not known whose classes these are.
    assert set(chosen.measured.labels.tolist()) == {-1}
    few = choose(SIGNATURE, DataParams(), tmp_path, 10)
    assert (len(few.calibration), len(few.measured)) == (10, 30)


def test_records_of_imagenet_keep_its_labels(records: Path):
    wordnet_ids = tuple(f"n{number:08}" for number in range(CLASSES))
    signature = replace(SIGNATURE, wordnet_ids=wordnet_ids)
    chosen = choose(signature, DataParams(), records, 25)
    assert set(chosen.measured.labels.tolist()) == set(range(5))


def _save(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(_pixels(seed)).save(path)


def test_class_folders_hold_out_what_the_converter_holds_out(tmp_path: Path):
    """A folder is matched with a class by its name, wherever it stands in the order."""
    folders = ("class 3", "class 0", "unknown")
    for number, folder in enumerate(folders):
        for image in range(20):
            _save(tmp_path / folder / f"{image}.png", 100 * number + image)
    chosen = choose(SIGNATURE, DataParams(), tmp_path, 30)
    assert Counter(chosen.calibration.labels.tolist()) == {0: 10, 3: 10, -1: 10}
    assert Counter(chosen.measured.labels.tolist()) == {0: 2, 3: 2, -1: 2}
    all_of_them = choose(SIGNATURE, DataParams(), tmp_path, 500)
    assert (len(all_of_them.calibration), len(all_of_them.measured)) == (54, 6)


def test_classes_of_imagenet_are_known_by_their_wordnet_ids(tmp_path: Path):
    """The bird and the machine are both called crane."""
    names, wnids = tuple(imagenet()), tuple(synset.wnid for synset in synsets())
    signature = replace(SIGNATURE, class_names=names, wordnet_ids=wnids)
    assert names.count("crane") == 2
    for wnid in ("n02012849", "n03126707", "n01440764"):
        for image in range(10):
            _save(tmp_path / wnid / f"{image}.png", image)
    chosen = choose(signature, DataParams(), tmp_path, 500)
    expected = {wnids.index(wnid): 9 for wnid in ("n02012849", "n03126707", "n01440764")}
    assert Counter(chosen.calibration.labels.tolist()) == expected


def test_folders_of_splits_are_kept_apart(tmp_path: Path):
    for split, number in (("train", 6), ("val", 3)):
        for image in range(number):
            _save(tmp_path / split / "class 1" / f"{split}{image}.png", 10 * number + image)
            _save(tmp_path / split / "class 2" / f"{split}{image}.png", 20 * number + image)
    chosen = choose(SIGNATURE, DataParams(), tmp_path, 500)
    assert (len(chosen.calibration), len(chosen.measured)) == (12, 6)


def test_a_folder_of_photos_has_no_classes(tmp_path: Path):
    for image in range(20):
        _save(tmp_path / f"{image}.png", image)
    (tmp_path / "notes.txt").write_text("x")
    chosen = choose(SIGNATURE, DataParams(), tmp_path, 500)
    assert (len(chosen.calibration), len(chosen.measured)) == (18, 2)
    assert set(chosen.calibration.labels.tolist()) == {-1}
    assert next(chosen.calibration.pixels()).shape == (24, 24, 3)


def test_what_cannot_calibrate_is_refused_in_one_line(tmp_path: Path, records: Path):
    advice = "--calibration_data=DIR gives images"
    with pytest.raises(UsageError, match=f"no data set here: {advice}"):
        choose(SIGNATURE, DataParams(), None, 5)
    gone = DataParams(data_dir=str(tmp_path / "gone"))
    with pytest.raises(DataError, match=f"gone does not exist; {advice}"):
        choose(SIGNATURE, gone, None, 5)
    with pytest.raises(DataError, match=r"--calibration_data=.*nowhere is not a directory"):
        choose(SIGNATURE, DataParams(), tmp_path / "nowhere", 5)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds no images"):
        choose(SIGNATURE, DataParams(), tmp_path / "empty", 5)
    damaged = tmp_path / "photos" / "damaged.jpg"
    damaged.parent.mkdir()
    damaged.write_bytes(b"\xff\xd8\xff")
    images = choose(SIGNATURE, DataParams(), damaged.parent, 5).calibration
    with pytest.raises(DataError, match=r"damaged\.jpg"):
        list(images.pixels())


def test_a_damaged_record_is_named(tmp_path: Path):
    write_split(tmp_path, "train", [example(encode(_pixels(0)), 1), example(b"no image", 1)], 1)
    with pytest.raises(DataError, match=r"train-00000-of-00001: record 1"):
        choose(SIGNATURE, DataParams(), tmp_path, 5)


def test_an_image_that_cannot_be_decoded_is_named(tmp_path: Path):
    """Its headers are good, and nothing but decoding shows the damage."""
    damaged = damaged_within(encode(_pixels(0), "PNG"))
    good = [example(encode(_pixels(seed), "PNG"), 1) for seed in range(9)]
    records, photos = tmp_path / "records", tmp_path / "photos"
    write_split(records, "train", [*good, example(damaged, 1)], 1)
    photos.mkdir()
    (photos / "damaged.png").write_bytes(damaged)
    images = choose(SIGNATURE, DataParams(), records, 9)
    with pytest.raises(DataError, match=r"train-00000-of-00001: record 9: the image cannot be dec"):
        [*images.calibration.pixels(), *images.measured.pixels()]
    with pytest.raises(DataError, match=r"damaged\.png"):
        list(choose(SIGNATURE, DataParams(), photos, 9).calibration.pixels())


def test_no_more_is_read_than_needed():
    """ImageNet's training split has 1.3 million records."""
    read = []

    def endless():
        for number in range(10**9):
            read.append(number)
            yield Sample(bytes, number % 10, number % 10)

    chosen, _ = stratified(endless(), 20, 10)
    assert len(chosen) == 20
    assert len(read) == 20
    assert calibration.NUM_MEASURED == 500
