"""The table of `python -m benchmarks.own_photos.distillation`; its trainings are not run here."""

from __future__ import annotations

import json

import pytest

from benchmark_cnn.params.values import parse_layer_pairs
from benchmarks.own_photos import distillation
from models import registry
from models.network import feature_layers


@pytest.fixture
def directory(tmp_path):
    """Letters, and the evaluations of two seeds of each row."""
    (tmp_path / "letters").mkdir()
    students = distillation.rows(tmp_path / "teacher")
    names = ["teacher", *(f"{row}-{seed}" for row in range(len(students)) for seed in (1, 2))]
    for number, name in enumerate(names):
        for part, top_1 in (("validation", 0.5), ("test", 0.6)):
            place = tmp_path / name / part / "model.ckpt-9"
            place.mkdir(parents=True)
            (place / "eval.json").write_text(json.dumps({"top_1": top_1 + number / 100}))
    return tmp_path


def test_finished_runs_are_not_run_again_and_make_the_table(directory, capsys, monkeypatch):
    def no_call(arguments):
        raise AssertionError(arguments)

    monkeypatch.setattr(distillation, "call", no_call)
    assert distillation.main([str(directory), "--seeds=2"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert "| the teacher, ResNet-20 | 50.0 | 60.0 | 60.0 |" in printed
    # The standard deviation of 61 and 62 is sqrt(1/2) = 0.7.
    assert "| LeNet-5 without a teacher | 51.5 ± 0.7 | 61.5 ± 0.7 | 61.0, 62.0 |" in printed
    features = "LeNet-5 with the teacher and its features"
    assert f"| {features} | 55.5 ± 0.7 | 65.5 ± 0.7 | 65.0, 66.0 |" in printed


def test_the_layers_of_a_pair_have_the_same_pixels():
    layers = [
        feature_layers(registry.get(name).build(num_classes=26, image_size=32).keras_model)
        for name in ("lenet", "resnet20")
    ]
    sides = []
    for pair in parse_layer_pairs(distillation.FEATURES):
        ours, its = (of[name].shape[1:3] for of, name in zip(layers, pair, strict=True))
        assert ours == its
        sides.append(ours[0])
    assert sides == [32, 16, 8]
