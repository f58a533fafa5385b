from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipapp
from collections import Counter
from pathlib import Path

from download_and_convert_imagenet.sources.synsets import labels_by_wnid, synsets, validation_labels
from inference import class_names

PACKAGE = "download_and_convert_imagenet"
ROOT = Path(__file__).resolve().parents[3]


def test_classes_are_sorted_and_have_the_published_ends():
    wnids = [synset.wnid for synset in synsets()]
    assert len(wnids) == 1000
    assert wnids == sorted(set(wnids))
    assert (synsets()[0].wnid, synsets()[0].words) == ("n01440764", "tench, Tinca tinca")
    assert synsets()[-1].wnid == "n15075141"
    assert synsets()[-1].words.startswith("toilet tissue")


def test_words_are_those_that_predictions_are_printed_with():
    assert [synset.words for synset in synsets()] == class_names.imagenet()


def test_labels_count_from_one():
    assert labels_by_wnid()["n01440764"] == 1
    assert labels_by_wnid()["n15075141"] == 1000


def test_validation_has_fifty_images_of_each_class():
    counts = Counter(validation_labels())
    assert sorted(counts) == list(range(1, 1001))
    assert set(counts.values()) == {50}


def test_validation_labels_are_the_published_ones():
    # Caffe's val.txt counts the same classes from 0; its MD5 has been published.
    lines = [
        f"ILSVRC2012_val_{number:08d}.JPEG {label - 1}\n"
        for number, label in enumerate(validation_labels(), start=1)
    ]
    assert lines[:3] == [
        "ILSVRC2012_val_00000001.JPEG 65\n",
        "ILSVRC2012_val_00000002.JPEG 970\n",
        "ILSVRC2012_val_00000003.JPEG 230\n",
    ]
    digest = hashlib.md5("".join(lines).encode()).hexdigest()
    assert digest == "b6284a7c08fba47457c2c1f6049a156e"


def test_lists_are_found_inside_a_zip_file(tmp_path):
    source, package = ROOT / PACKAGE, tmp_path / "app" / PACKAGE
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source, package, ignore=ignored)
    (tmp_path / "app" / "__main__.py").write_text(
        "from download_and_convert_imagenet.sources.synsets import synsets, validation_labels\n"
        "print(len(synsets()), len(validation_labels()))\n"
    )
    zipapp.create_archive(tmp_path / "app", tmp_path / "app.pyz")
    completed = subprocess.run(
        [sys.executable, "-I", str(tmp_path / "app.pyz")],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert completed.stdout.split() == ["1000", "50000"]
