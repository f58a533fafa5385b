"""The command for GPU machines, on the CPU and small."""

from __future__ import annotations

import json

import pytest

from benchmarks.gpu import settings
from benchmarks.gpu.__main__ import main


def event(name, pid, kind="X"):
    return {"name": name, "pid": pid, "ph": kind, "args": {"name": name}}


def test_a_trace_with_a_gpu_counts_its_streams_alone():
    names = {**event("/device:GPU:0", 2, "M"), "name": "process_name"}
    host = {**event("/host:CPU", 1, "M"), "name": "process_name"}
    slices = [event("conv", 2), event("MemcpyHtoD", 2), event("add", 2), event("MatMul", 1)]
    assert settings.counted({"traceEvents": [host, names, *slices]}) == (2, 1)


def test_a_failed_setting_has_its_last_line_in_its_row():
    setting = settings.Setting("lenet", "float32", 4, "off")
    row = settings.Result(setting, 0.0, failure="error: out of memory").row()
    assert row.endswith("error: out of memory")


@pytest.mark.slow
def test_all_settings_run_on_a_cpu(tmp_path, capsys):
    output = tmp_path / "gpu.json"
    flags = ["--models=lenet", "--dtypes=float32", "--batch_sizes=4", "--device=cpu"]
    assert main([*flags, "--num_batches=3", f"--output={output}"]) == 0
    rows = json.loads(output.read_text())["rows"]
    assert [row["xla"] for row in rows] == ["off", "towers", "step"]
    assert all(row["images_per_sec"] > 0 and 0 < row["share_of_peak"] < 1 for row in rows)
    assert all(row["launches"] > 0 for row in rows), rows
    assert "lenet" in capsys.readouterr().out
