from __future__ import annotations

import itertools
import re
import time

import pytest

from preprocessing import benchmark
from tests.preprocessing.image_shards import example, photographs, write_split


def test_speed_of_a_known_iterator(monkeypatch):
    """A clock that moves by 10 ms for every batch of 32: 3200 examples a second."""
    now = itertools.count()
    clock = [0.0]

    def batches():
        while True:
            clock[0] += 0.01
            yield next(now)

    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    speed = benchmark.measure(batches(), batch_size=32, seconds=1.0)
    assert speed.median == pytest.approx(3200)
    assert speed.slowest == pytest.approx(3200)
    assert speed.fastest == pytest.approx(3200)
    assert next(now) == 3 + 5 * 20  # warm-up, then five stretches of 0.2 seconds


@pytest.mark.parametrize(
    ("arguments", "stages"),
    [([], ["read", "decode", "view", "pipeline"]), (["--eval"], ["read", "decode", "pipeline"])],
)
def test_a_row_for_every_stage(tmp_path, capsys, arguments, stages):
    images = [example(encoded, 1) for encoded in photographs(40)]
    write_split(tmp_path, "train", images, 2)
    write_split(tmp_path, "validation", images, 1)
    code = benchmark.main(
        [
            f"--data_dir={tmp_path}",
            "--data_name=imagenet",
            "--image_size=32",
            "--batch_size=8",
            "--seconds=0.2",
            *arguments,
        ]
    )
    assert code == 0
    heading, columns, *rows = capsys.readouterr().out.splitlines()
    assert heading.startswith(f"imagenet, {'validation' if arguments else 'train'}: 32 px, batch 8")
    assert columns.split() == ["examples/s", "slowest", "fastest", "per", "core"]
    assert [row.split()[0] for row in rows] == stages
    for row in rows:
        median, slowest, fastest, per_core = map(int, re.findall(r"\d+", row))
        assert 0 < slowest <= median <= fastest
        assert 0 < per_core <= median


def test_missing_data(capsys):
    assert benchmark.main(["--data_dir=/nowhere"]) == 3
    assert "error: data directory /nowhere does not exist" in capsys.readouterr().err
