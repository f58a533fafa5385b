"""Class folders named by WordNet ids, seen by a network of all 1000 classes: both ways to count."""

from __future__ import annotations

import json

import numpy as np
import pytest

import accuracy
import prediction
from inference.predictions import table
from tests.inference import photographs

# The cat is an Egyptian cat to the network: as a tabby it is wrong, unless only these compete.
FOLDERS = {"n02123045": ["cat"], "n07920052": ["coffee"], "n04266014": ["rocket", "astronaut"]}
LABELS = {"n02123045": 281, "n07920052": 967, "n04266014": 812}


@pytest.mark.slow
def test_a_subset_is_counted_alike_from_all_classes_and_from_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder, names in FOLDERS.items():
        (tmp_path / "subset" / folder).mkdir(parents=True)
        for name in names:
            source = photographs.file(name)
            (tmp_path / "subset" / folder / source.name).write_bytes(source.read_bytes())
    common = ["-m", "efficientnet_lite0", "-d", "subset"]
    assert prediction.main([*common, "--top=1000", "--output_dir=all"]) == 0
    assert prediction.main([*common, "--classes=subset", "--output_dir=own"]) == 0
    results = {}
    for name, argv in {
        "all": ["all"], "filtered": ["all", "--classes=subset"], "own": ["own"]
    }.items():  # fmt: skip
        assert accuracy.main([*argv, "--worst=0", f"--output_dir={name}_out"]) == 0
        results[name] = json.loads((tmp_path / f"{name}_out" / "accuracy.json").read_text())
    everything = table.read(tmp_path / "all")
    expected = [LABELS[image.split("/")[0]] for image in everything.images]
    assert everything.labels.tolist() == expected
    dense = np.zeros((4, 1000))
    np.put_along_axis(dense, everything.classes, everything.probabilities, axis=1)
    own = sorted(LABELS.values())
    assert results["all"]["top_1"] == np.mean(dense.argmax(axis=1) == expected) < 1
    of_own = np.mean(np.array(own)[dense[:, own].argmax(axis=1)] == expected)
    assert results["filtered"]["top_1"] == of_own > results["all"]["top_1"]
    for entry in ("top_1", "top_5", "macro_f1", "classes", "confused_pairs", "competing_classes"):
        assert results["filtered"][entry] == results["own"][entry]
    assert results["own"]["competing_classes"] == 3
