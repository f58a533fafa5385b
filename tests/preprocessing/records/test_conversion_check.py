"""A split whose conversion was stopped, or not accepted, is not read: shards may be older ones."""

from __future__ import annotations

import pytest

from benchmark_cnn.params.data_params import DataParams
from common.errors import DataError
from download_and_convert_imagenet.journal import ConversionJournal
from preprocessing import registry, verify
from preprocessing.records.shards import find_shards
from tests.download_and_convert_imagenet.records.encoded_images import encode, picture
from tests.download_and_convert_imagenet.small_conversions import NUM_SHARDS, make_source, run
from tests.preprocessing.image_shards import open_imagenet, write_numbered_split


class PowerFailure(BaseException):
    """What ends a conversion between two shards."""


@pytest.fixture
def raw(tmp_path):
    directory = tmp_path / "raw"
    directory.mkdir()
    return directory


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "imagenet"


def change_images(raw, split):
    """As many images of the same names, with other pixels."""
    for path in raw.glob(f"{split}_*.jpg"):
        path.write_bytes(encode(picture(60, 50)))


def convert_and_stop(source, data_dir, monkeypatch, num_finished):
    """A conversion that is cut short when so many shards of it are finished."""
    append, finished = ConversionJournal.append, []

    def append_or_fail(journal, shard):
        append(journal, shard)
        finished.append(shard)
        if len(finished) == num_finished:
            raise PowerFailure

    with monkeypatch.context() as patched:
        patched.setattr(ConversionJournal, "append", append_or_fail)
        with pytest.raises(PowerFailure):
            run(source, data_dir)


def refusal(data_dir, split):
    return (
        f"the conversion of {split} in {data_dir} is not complete: repeat the converter's command, "
        "and see how it ends"
    )


@pytest.mark.parametrize("num_finished", [1, 2])
def test_old_and_new_shards_side_by_side(raw, data_dir, monkeypatch, capsys, num_finished):
    """Every name of the set is there, some shards are of the old images, some of the new ones."""
    run(make_source(raw), data_dir)
    change_images(raw, "train")
    convert_and_stop(make_source(raw), data_dir, monkeypatch, num_finished)
    assert len(list(data_dir.glob("train-*"))) == NUM_SHARDS["train"]
    for split in ("train", "validation"):
        with pytest.raises(DataError, match="not complete") as caught:
            find_shards(data_dir, split)
        assert str(caught.value) == refusal(data_dir, split)
    dataset = open_imagenet(data_dir)
    with pytest.raises(DataError, match="the conversion of train"):
        dataset.train_batches(batch_size=2, image_size=8, seed=1)
    assert verify.main([str(data_dir), "--data_name=imagenet"]) == 3
    assert refusal(data_dir, "train") in "".join(capsys.readouterr())

    run(make_source(raw), data_dir)
    assert registry.open_dataset(DataParams(data_dir=str(data_dir))).num_examples("train") == 23
    assert verify.main([str(data_dir)]) == 0


def test_the_other_split_can_be_read(raw, data_dir, monkeypatch, capsys):
    run(make_source(raw), data_dir)
    change_images(raw, "validation")
    convert_and_stop(make_source(raw, ("validation",)), data_dir, monkeypatch, 1)
    assert len(find_shards(data_dir, "train").paths) == NUM_SHARDS["train"]
    with pytest.raises(DataError, match="the conversion of validation in"):
        find_shards(data_dir, "validation")
    assert verify.main([str(data_dir)]) == 3
    assert refusal(data_dir, "validation") in "".join(capsys.readouterr())


def test_a_name_that_cannot_be_guessed_for_it(raw, tmp_path, monkeypatch):
    convert_and_stop(make_source(raw), tmp_path / "pets", monkeypatch, 1)
    with pytest.raises(DataError) as caught:
        registry.open_dataset(DataParams(data_dir=str(tmp_path / "pets")))
    assert str(caught.value) == refusal(tmp_path / "pets", "train")


def test_images_that_were_not_accepted(raw, data_dir):
    make_source(raw)
    (raw / "train_5.jpg").write_bytes(b"no image")
    result, _ = run(make_source(raw), data_dir)
    assert not result.is_accepted
    with pytest.raises(DataError, match="the conversion of train in"):
        find_shards(data_dir, "train")
    run(make_source(raw), data_dir, max_corrupt_images=1)
    assert len(find_shards(data_dir, "train").paths) == NUM_SHARDS["train"]


def test_folders_of_the_splits_have_their_own_manifests(raw, data_dir):
    for split in NUM_SHARDS:
        run(make_source(raw, (split,)), data_dir / split)
    assert len(find_shards(data_dir, "train").paths) == NUM_SHARDS["train"]
    assert find_shards(data_dir, "validation").listed
    (data_dir / "train" / "manifest.json").unlink()
    with pytest.raises(DataError, match=f"the conversion of train in {data_dir}/train is not"):
        find_shards(data_dir, "train")


def test_sets_of_other_converters_have_no_record(tmp_path):
    write_numbered_split(tmp_path, "train", 4, 2)
    (tmp_path / ".conversion").mkdir()
    assert len(find_shards(tmp_path, "train").paths) == 2


def test_a_record_that_cannot_be_read(tmp_path):
    write_numbered_split(tmp_path, "train", 4, 2)
    (tmp_path / ".conversion").write_bytes(b"")
    with pytest.raises(DataError, match=r"\.conversion/finished_shards\.jsonl cannot be read"):
        find_shards(tmp_path, "train")
