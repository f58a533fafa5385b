"""The comparison with peers: its candidates, its rounds, its tables, and how it is resumed."""

from __future__ import annotations

import functools
import json
import sys

import numpy as np
import pytest

from benchmarks import rounds
from benchmarks.gpu import program
from benchmarks.gpu.peer import TIMM_NAMES
from benchmarks.peers import __main__ as command
from benchmarks.peers import candidates, inference, table
from benchmarks.peers.candidates import Task

# Answers every line, as timm's program does, until its sixth run.
_PROGRAM = """
import sys
print('{"versions": {"torch": "9.9"}}', flush=True)
for number, _ in enumerate(sys.stdin):
    if number == 5:
        sys.exit("no more")
    print(flush=True)
"""
_TITLE = "resnet50, train, batch 32, 224 px"


def test_a_program_announces_itself_runs_and_fails_with_its_last_line():
    candidate = program.ProgramCandidate([sys.executable, "-c", _PROGRAM])
    assert candidate.run() == {"versions": {"torch": "9.9"}}
    assert [candidate.run() for _ in range(5)] == [None] * 5
    for _ in range(2):
        with pytest.raises(rounds.CandidateFailed, match=r"^no more$"):
            candidate.run()
    candidate.stop()


def test_the_tables_name_timms_best_mode_and_the_share_of_the_peak():
    """ResNet-50 with 4 GFLOP forward: 10 images/s are 3 * 2 * 2e9 * 10 = 0.12 TFLOP/s."""
    speeds = {
        "ours, float32": 5.0,
        "ours, bfloat16": 10.0,
        "Keras, float32": 2.5,
        "timm, float32, compiled": 4.0,
        "timm, bfloat16": 8.0,
    }
    disturbed = {**speeds, "ours, bfloat16": 12.0, "timm, float32, compiled": 100.0}
    record = {
        "macs": 2e9,
        "rounds": [speeds, disturbed, speeds],
        "peaks": [{"float32": 0.1, "bfloat16": 0.24}] * 3,
        "failed": {"timm, bfloat16, compiled": "failed: no compiler"},
        "about": {"date": "2026-01-31", "processor": "2 cores", "versions": {"timm": "1.0"}},
    }
    text = list(table.lines({_TITLE: record, "lenet, infer": {"rounds": []}}))
    assert text[1].startswith(f"**{_TITLE}**: 3 rounds, 2026-01-31, 2 cores, timm 1.0; peak 100")
    assert "| ours, bfloat16 | 10.0 (10.0-12.0) | 50% |  |" in text
    assert "| timm, bfloat16 | 8.0 (8.0-8.0) | 40% | 1.25 (1.25-1.50) |" in text
    assert "| timm, bfloat16, compiled | failed: no compiler | | |" in text
    summary = (
        "10.0 (10.0-12.0) bfloat16 | 50% | 1.25 (1.25-1.50) | bfloat16, 40% | 2.00 (2.00-2.00)"
    )
    assert text[-1] == f"| resnet50, train | {summary} |  |"


def _constant(value):
    return lambda: value


def test_an_interrupted_comparison_resumes_at_its_next_round(tmp_path, monkeypatch, capsys):
    file = tmp_path / "runs" / "peers.json"
    ours = functools.partial(rounds.CandidateProcess, _constant, None)
    broken = functools.partial(program.ProgramCandidate, [sys.executable, "-c", "import none"])
    peer = functools.partial(program.ProgramCandidate, [sys.executable, "-c", _PROGRAM])
    peaks = dict.fromkeys(candidates.DTYPES, 0.2)
    peak = functools.partial(rounds.CandidateProcess, _constant, peaks)
    made = {"ours, float32": ours, "timm, float32": peer, "timm, bfloat16": broken}
    monkeypatch.setattr(candidates, "makers", lambda task: {**made, candidates.MACHINE: peak})
    monkeypatch.setattr("benchmarks.gpu.settings.macs", lambda network, size: 1e9)
    argv = [f"--output={file}", "--networks=resnet50", "--modes=infer", "--batch_size=4"]
    assert command.main([*argv, "--rounds=1"]) == 0
    (first,) = json.loads(file.read_text()).values()
    assert command.main([*argv, "--rounds=4"]) == 0
    ((title, record),) = json.loads(file.read_text()).items()
    assert title == "resnet50, infer, batch 4, 224 px"
    assert record["rounds"][0] == first["rounds"][0]
    # The peer fails in its sixth run, the third round of the second start: three are warm-ups.
    assert [sorted(speeds) for speeds in record["rounds"]] == [
        ["ours, float32", "timm, float32"],
        ["ours, float32", "timm, float32"],
        ["ours, float32", "timm, float32"],
        ["ours, float32"],
    ]
    assert record["failed"]["timm, float32"] == "failed: no more"
    assert "No module named 'none'" in record["failed"]["timm, bfloat16"]
    assert record["about"]["versions"]["torch"] == "9.9"
    capsys.readouterr()
    assert command.main([*argv, "--rounds=4"]) == 0  # nothing is left to measure
    assert "ready after" not in capsys.readouterr().out
    assert command.main([*argv, "--rounds=5", "--dtypes=float32"]) == 3
    assert "with --dtypes=bfloat16,float32: repeat that, or name" in capsys.readouterr().err


def test_precisions_are_left_out():
    names = candidates.makers(Task("resnet50", "infer", 1, 32, 1, ("float32",)))
    assert {"ours, float32", candidates.MACHINE} < set(names)
    assert not any("bfloat16" in name for name in names)


def test_mistakes_are_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        command.main(["--networks=resnet51"])
    assert caught.value.code == 2
    assert "'resnet51' is none of efficientnet_lite0, resnet50" in capsys.readouterr().err
    file = tmp_path / "peers.json"
    file.write_text("{")
    assert command.main([f"--output={file}"]) == 3
    assert "give another file with --output" in capsys.readouterr().err


def test_every_form_of_inference_answers(monkeypatch):
    """LeNet, which has no batch norm to fold, and one call of Keras: none raises an error."""
    monkeypatch.setattr("benchmarks.training.prepare_cpu", lambda *_: None)  # tests share a runtime
    sizes = {"image_size": 28, "batch_size": 2}
    inference.folded("lenet", 1, dtype="bfloat16", **sizes)()
    inference.as_trained("lenet", 1, **sizes)()
    inference.predict("lenet", 1, **sizes)()


@pytest.mark.slow  # nine processes, and compilers of timm's networks
@pytest.mark.parametrize("mode", candidates.MODES)
def test_all_candidates_run(tmp_path, mode):
    file = tmp_path / "peers.json"
    argv = ["--networks=efficientnet_lite0", f"--modes={mode}", "--batch_size=2", "--steps=1"]
    assert command.main([*argv, "--image_size=32", "--rounds=2", f"--output={file}"]) == 0
    (record,) = json.loads(file.read_text()).values()
    names = set(candidates.makers(Task("efficientnet_lite0", mode, 2, 32, 1)))
    assert record["failed"] == {}
    for speeds in record["rounds"]:
        assert set(speeds) == names - {candidates.MACHINE}
        assert all(np.isfinite(speed) and speed > 0 for speed in speeds.values())
        assert any("timm" in name for name in speeds) == program.PYTHON.exists()
    assert all(0 < peak["float32"] < 100 for peak in record["peaks"])


@pytest.mark.slow
@pytest.mark.skipif(not program.PYTHON.exists(), reason="needs make venv-peers")
@pytest.mark.parametrize("network", TIMM_NAMES)
def test_timms_network_is_the_same(network):
    """The numbers of trained values agree."""
    from models import cost, registry

    made = candidates.makers(Task(network, "infer", 1, 64, 1))["timm, float32"]()
    try:
        theirs = made.run()["parameters"]
    finally:
        made.stop()
    ours = registry.get(network).build(num_classes=1000, image_size=64)
    assert cost.num_parameters(ours) == theirs
