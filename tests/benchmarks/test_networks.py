"""The measurement of all networks: its sizes, its order, and how it is stopped and resumed."""

from __future__ import annotations

import json

import pytest

from benchmarks import networks
from models import registry

MEASURED = {"engine": [10.0, 30.0, 20.0], "fit": [10.0, 10.0, 10.0]}


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("resnet50", 224),
        ("alexnet_v2", 224),
        ("overfeat", 231),  # has no smaller one
        ("efficientnet_lite4", 224),
        ("keras_nasnetlarge", 224),
        ("resnet20", 32),
        ("densenet40_k12", 32),
        ("lenet", 28),
    ],
)
def test_a_network_is_measured_at_224_pixels_where_it_can_be(name, pixels):
    assert networks.image_size(registry.get(name)) == pixels


def test_a_row_shows_another_size_and_what_is_missing():
    names = ("keras_resnet50", "keras_xception", "overfeat", "resnet20", "lenet")
    specs = [registry.get(name) for name in names]
    results = {
        "keras_resnet50": MEASURED,
        "keras_xception": {**MEASURED, "apart": True},
        "overfeat": {"engine": [7.0], "apart": True, "batch_size": 8},
        "resnet20": {"failed": "ended with exit code -9", "memory_gib": 8},
    }
    assert networks.table(specs, results)[2:] == [
        "| `keras_resnet50` | 20.0 (10.0-30.0) | 10.0 (10.0-10.0) | 2.00 (1.00-3.00) |",
        "| `keras_xception`, apart | 20.0 (10.0-30.0) | 10.0 (10.0-10.0) | 2.00 (1.00-3.00) |",
        "| `overfeat`, 231 px, batch 8 | 7.0 (7.0-7.0) |  |  |",
        "| `resnet20`, 32 px | not measured (limit 8 GiB): ended with exit code -9 |  |  |",
        "| `lenet`, 28 px | not measured yet |  |  |",
    ]


def test_no_time_begins_no_network(tmp_path, capsys):
    file = tmp_path / "speeds.json"
    file.write_text(json.dumps({"lenet": {"engine": [900.0]}}))
    assert networks.main([f"--file={file}", "--minutes=0"]) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert len(rows) == len(registry.names())
    assert rows[0] == "| `lenet`, 28 px | 900.0 (900.0-900.0) |  |  |"  # the smallest comes first
    assert sum("not measured yet" in row for row in rows) == len(rows) - 1


def test_a_failed_network_is_measured_again_and_a_measured_one_is_not(tmp_path, capsys):
    file = tmp_path / "speeds.json"
    known = {"resnet20": {"engine": [300.0]}, "lenet": {"failed": "SomeError", "memory_gib": 0.1}}
    file.write_text(json.dumps(known))
    argv = [f"--file={file}", "--models=resnet20,lenet", "--rounds=1"]
    assert networks.main(argv) == 0
    results = json.loads(file.read_text())
    assert results["resnet20"] == known["resnet20"]
    assert len(results["lenet"]["engine"]) == 1
    assert "apart" not in results["lenet"]
    assert "resnet20" not in capsys.readouterr().err


def test_the_speed_of_a_smaller_batch_counts_its_own_images(tmp_path, monkeypatch):
    asked = []

    def seconds(makers, kwargs, rounds, memory_gib):
        asked.append(kwargs)
        return {name: [2.0] * rounds for name in makers}

    monkeypatch.setattr(networks, "_seconds", seconds)
    file = tmp_path / "speeds.json"
    argv = [f"--file={file}", "--models=lenet", "--rounds=1", "--batch_size=4"]
    assert networks.main(argv) == 0
    assert json.loads(file.read_text()) == {"lenet": {"batch_size": 4, "engine": [2.0]}}
    assert asked == [{"image_size": 28, "batch_size": 4}]


@pytest.mark.slow  # two processes that build a network of Keras
def test_candidates_that_are_measured_apart_are_never_there_at_the_same_time(monkeypatch):
    there, most = set(), []

    class RecordedProcess(networks.CandidateProcess):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            there.add(self)
            most.append(len(there))

        def stop(self):
            super().stop()
            there.discard(self)

    monkeypatch.setattr(networks, "CandidateProcess", RecordedProcess)
    result = networks.measure(registry.get("keras_mobilenet"), 1, 4, apart=True)
    assert result["apart"]
    assert len(result["engine"]) == len(result["fit"]) == 1
    assert most == [1, 1]


def test_an_unknown_network_is_one_line(capsys):
    assert networks.main(["--models=lenett"]) == 2
    assert capsys.readouterr().err.startswith("error: unknown model 'lenett'")
