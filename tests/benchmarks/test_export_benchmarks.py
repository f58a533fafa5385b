"""Tables and parts of the benchmarks of exports and predictions; the long runs are slow tests."""

from __future__ import annotations

import pytest

from benchmarks import export
from benchmarks.exported import baselines, inference, tradeoff
from benchmarks.rounds import Speed
from tests.benchmarks.test_latency import tflite

pytest.importorskip("ai_edge_litert")


def test_ratios_are_taken_within_a_round():
    """Ours is twice the one and four times the other, though the second round is slow."""
    speeds = {
        "prediction.py, TFLite": [Speed(80.0, 40.0), Speed(20.0, 10.0)],
        export.KERAS: [Speed(40.0, 20.0), Speed(10.0, 5.0)],
        export.ONE_BY_ONE: [Speed(20.0, 10.0), Speed(5.0, 2.5)],
    }
    title, _, heading, _, *rows = export.prediction_table(1000, speeds)
    assert title == "predictions of 1,000 photos, images/s, 2 rounds"
    assert heading == "| way | median | lowest | highest |"
    assert rows == [
        "| prediction.py, TFLite | 50.0 | 20.0 | 80.0 |",
        "| keras predict | 25.0 | 10.0 | 40.0 |",
        "| one by one | 12.5 | 5.0 | 20.0 |",
        "| prediction.py, TFLite / keras predict | 2.00 | 2.00 | 2.00 |",
        "| prediction.py, TFLite / one by one | 4.00 | 4.00 | 4.00 |",
    ]


def test_photos_are_files_and_the_one_by_one_way_answers_each(tmp_path):
    pytest.importorskip("skimage", reason="the photos are scikit-image's")
    photos, output = tmp_path / "photos", tmp_path / "out"
    export.write_photos(photos, 5, 20_000)
    names = sorted(path.name for path in photos.rglob("*.jpg"))
    assert names == [f"photo_{n:06d}.jpg" for n in range(5)]
    network = tflite(tmp_path / "network.tflite", 8)
    run = baselines.make_one_by_one(network, None, photos, 5, output)
    assert run().per_sec > 0
    assert sorted(path.stem for path in output.iterdir()) == [name[:-4] for name in names]
    lines = [line.split() for line in (output / "photo_000000.txt").read_text().splitlines()]
    assert len(lines) == 5
    values = [float(value) for _, _, value in lines]
    assert values == sorted(values, reverse=True)


def test_the_table_of_accuracies_says_that_they_are_published():
    measured = {
        ("inception_v4", kind): {
            "runtime": "LiteRT 2", "threads": 2, "runs": 50, "input": "uint8 1x299x299x3",
            "file_mb": size, "median_ms": 1.25, "p99_ms": 2.5,
        }
        for kind, size in ((tradeoff.FLOAT, 170.6), (tradeoff.INT8, 43.2))
    }  # fmt: skip
    chosen = [network for network in tradeoff.NETWORKS if network.model == "inception_v4"]
    first, *_, row = tradeoff.table(chosen, measured)
    assert first.endswith("accuracies are published, not measured here")
    assert row == (
        "| `inception_v4` | 299 | 80.2 / - | 170.6 / 43.2 | 1.2 (2.5) / 1.2 (2.5) | "
        "tensorflow/models, TF-Slim |"
    )


def test_another_network_is_a_wrong_flag(tmp_path, capsys):
    assert tradeoff.main([f"--directory={tmp_path}", "--models=lenet"]) == 2
    assert capsys.readouterr().err.startswith("error: --models=lenet: the networks are efficient")


@pytest.mark.slow
def test_the_table_and_the_pictures_of_two_networks(tmp_path, capsys):
    argv = [f"--directory={tmp_path}", "--runs=2", "--models=efficientnet_lite0,mobilenet_v2_orig"]
    assert tradeoff.main(argv) == 0
    *_, lite0, mobilenet = capsys.readouterr().out.splitlines()
    assert lite0.startswith("| `efficientnet_lite0` | 224 | 75.1 / 74.4 | 18.")
    assert mobilenet.startswith("| `mobilenet_v2_orig` | 224 | 71.8 / 70.8 | ")
    for name in ("size.png", "latency.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    sizes = {path.name: path.stat().st_size for path in tmp_path.glob("*.tflite")}
    assert len(sizes) == 4
    assert (
        sizes["efficientnet_lite0_int8.tflite"] < 0.3 * sizes["efficientnet_lite0_float32.tflite"]
    )


def test_both_forms_of_a_network_are_measured_in_turn(capsys):
    argv = ["--models=resnet20", "--dtypes=float32", "--batch_size=2", "--rounds=2"]
    assert inference.main(argv) == 0
    row = capsys.readouterr().out.splitlines()[2]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:2] == ["`resnet20`", "float32"]
    folded, plain, ratio = (float(cell.split(" ")[0]) for cell in cells[2:])
    assert min(folded, plain, ratio) > 0
