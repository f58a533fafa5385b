"""The table of `python -m benchmarks.own_photos.quantization`."""

from __future__ import annotations

from benchmarks.own_photos.quantization import markdown


def test_rows_are_mean_and_spread_of_the_seeds():
    table = markdown({"Net": [(50.0, 40.0, 45.0, 48.0), (52.0, 44.0, 45.0, 50.0)]})
    assert table[2:] == [
        "| Net | float | 51.0 ± 1.4 | 50.0, 52.0 |",
        "| Net | calibrated INT8 | 42.0 ± 2.8 | 40.0, 44.0 |",
        "| Net | calibrated INT8, further epochs | 45.0 ± 0.0 | 45.0, 45.0 |",
        "| Net | quantization-aware INT8 | 49.0 ± 1.4 | 48.0, 50.0 |",
    ]
