"""benchmarks.latency on files of known networks, in their own runtimes."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import latency
from benchmarks.exported import latencies, timing

onnx = pytest.importorskip("onnx")
pytest.importorskip("ai_edge_litert")


def tflite(path, channels, side=16):
    """A convolution of 3 to `channels` channels: 27 x 4 bytes of weights a channel."""
    random = np.random.default_rng(1)
    kernel = tf.constant(random.normal(size=(3, 3, 3, channels)), tf.float32)

    @tf.function(input_signature=[tf.TensorSpec([1, side, side, 3])], autograph=False)
    def call(images):
        return tf.reduce_mean(tf.nn.conv2d(images, kernel, 1, "SAME"), [1, 2])

    module = tf.Module()
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [call.get_concrete_function()], module
    )
    path.write_bytes(converter.convert())
    return path


def mean_onnx(path):
    """The mean of each channel of images of any size and number."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    shape = ["batch", "height", "width", 3]
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["images"], ["means"], axes=[1, 2], keepdims=0)],
        "mean",
        [helper.make_tensor_value_info("images", kind, shape)],
        [helper.make_tensor_value_info("means", kind, ["batch", 3])],
    )
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), str(path))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("files")
    small = tflite(directory / "small.tflite", 8)
    large = tflite(directory / "large.tflite", 100_000)
    return small, large, mean_onnx(directory / "mean.onnx")


def test_a_row_for_each_file_with_its_size_time_and_memory(files, capsys):
    small, large, mean = files
    argv = [str(small), str(large), str(mean), "--threads=1", "--runs=7", "--warmup=1"]
    started = time.perf_counter()
    assert latency.main([*argv, "--image_size=48", "--json"]) == 0
    seconds = time.perf_counter() - started
    rows = json.loads(capsys.readouterr().out)
    assert [row["file"] for row in rows] == [str(path) for path in files]
    assert [row["file_mb"] for row in rows] == [round(p.stat().st_size / 1e6, 3) for p in files]
    assert [row["input"] for row in rows] == [
        "float32 1x16x16x3", "float32 1x16x16x3", "float32 1x48x48x3"
    ]  # fmt: skip
    assert [row["runtime"].split()[0] for row in rows] == ["LiteRT", "LiteRT", "onnxruntime"]
    for row in rows:
        assert (row["threads"], row["runs"]) == (1, 7)
        assert 0 < row["median_ms"] <= row["p99_ms"] < 1000 * seconds
    # 100,000 channels of 27 weights and 16 x 16 outputs, 4 bytes each.
    weights, outputs = (100_000 * 4 * count / 1e6 for count in (27, 256))
    assert rows[1]["peak_mb"] > weights + outputs > 5 * rows[0]["peak_mb"]
    assert rows[1]["median_ms"] > 10 * rows[0]["median_ms"]


def test_median_and_99th_percentile_of_known_times(tmp_path):
    path = tmp_path / "file.tflite"
    path.write_bytes(bytes(2_500_000))
    # 1 to 101 ms: the median is 51, and 99% of the 100 steps end at 100.
    timings = [
        timing.Timing("LiteRT 2", "uint8 1x8x8x3", (n / 1000,), 1_000_000 * n)
        for n in range(101, 0, -1)
    ]
    row = latencies.row_of(path, 3, timings)
    assert (row["median_ms"], row["p99_ms"]) == (51.0, 100.0)
    assert (row["peak_mb"], row["file_mb"], row["runs"]) == (101.0, 2.5, 101)
    title, heading, line = latencies.table([row])
    assert title == "batch 1, 3 threads, 101 runs of each file"
    assert heading.split("  ")[-1].strip() == "peak MB"
    assert line.split()[-4:] == ["51.00", "100.00", "2.50", "101.00"]


def test_a_mistake_is_one_line(files, tmp_path, capsys):
    (tmp_path / "text.tflite").write_text("no network")
    noise = np.random.default_rng(0).bytes(40)
    (tmp_path / "damaged.tflite").write_bytes(b"\0\0\0\0TFL3" + noise)
    mistakes = {
        "none.onnx": "does not exist",
        "text.tflite": "is not a TFLite file or an .onnx file",
        "damaged.tflite": "cannot be run: ",
    }
    for name, text in mistakes.items():
        assert latency.main([str(tmp_path / name)]) == 3
        assert capsys.readouterr().err.startswith(f"error: {tmp_path / name} {text}")
    assert latency.main([str(files[2]), "--runs=1"]) == 3
    assert "takes images of any size: give --image_size" in capsys.readouterr().err
