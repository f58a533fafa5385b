"""How the process of a network ended, and what is made of it."""

from __future__ import annotations

import json
import signal

import pytest
import tensorflow as tf

from benchmarks.bulk import child
from benchmarks.bulk.attempts import Attempt
from checkpoints import store
from common.errors import UsageError


def test_the_child_gives_what_eval_py_writes_and_what_the_network_costs(digits_run, tmp_path):
    result_file = tmp_path / "result.json"
    argv = [f"--train_dir={digits_run}", "--device=cpu", "--batch_size=50"]
    assert child.main([str(result_file), "0", *argv]) == 0
    result = json.loads(result_file.read_text())["result"]
    of_eval = json.loads((digits_run / "eval" / "eval.json").read_text())
    assert {name: result[name] for name in of_eval} == of_eval
    shapes = store.shapes(str(digits_run / "model.ckpt-8"))
    averaged = [
        shape for name, shape in shapes.items() if name.endswith("/ExponentialMovingAverage")
    ]
    assert result["parameters"] == sum(tf.TensorShape(shape).num_elements() for shape in averaged)
    # Convolutions 5x5 of 32 and 64 channels at 28 and 14 pixels, dense layers of 1024 and 10.
    activations = 28 * 28 * 32 + 14 * 14 * 64
    macs = 28 * 28 * 32 * 25 * 3 + 14 * 14 * 64 * 25 * 32 + 7 * 7 * 64 * 512 + 512 * 10
    assert result["madds"] == macs + 3 * activations
    assert result["images_per_sec"] > 0


def test_an_error_is_written_before_the_child_ends(digits_run, tmp_path, capsys):
    result_file = tmp_path / "result.json"
    argv = [f"--train_dir={tmp_path}", "--model=lenet", f"--data_dir={digits_run.parent}/data"]
    assert child.main([str(result_file), "0", *argv, "--device=cpu"]) == 3
    outcome = json.loads(result_file.read_text())
    assert not outcome["out_of_memory"]
    assert outcome["error"] in capsys.readouterr().err


def test_the_end_of_memory_is_known_by_what_led_to_an_error():
    with pytest.raises(tf.errors.ResourceExhaustedError) as caught:
        tf.zeros([1 << 46])
    explained = UsageError("lower --batch_size")
    explained.__cause__ = caught.value
    assert child._is_out_of_memory(explained)
    assert child._is_out_of_memory(MemoryError())
    assert not child._is_out_of_memory(UsageError("another mistake"))


@pytest.mark.parametrize(
    ("exit_code", "tail", "was_limited", "expected"),
    [
        (-signal.SIGKILL, "", False, True),
        (-signal.SIGABRT, "terminate called after throwing 'std::bad_alloc'", False, True),
        (-signal.SIGABRT, "pure virtual method called", False, False),
        (-signal.SIGSEGV, "", False, False),
        (-signal.SIGSEGV, "", True, True),
        (1, "ImportError", True, False),
    ],
)
def test_a_process_without_a_last_word(exit_code, tail, was_limited, expected):
    attempt = Attempt(None, exit_code, 1.0, tail, was_limited=was_limited)
    assert attempt.ran_out_of_memory == expected
    assert ("killed by SIG" in attempt.error) == (exit_code < 0)


def test_a_last_word_counts_more_than_the_output():
    said = Attempt({"error": "no checkpoint", "out_of_memory": False}, 3, 1.0, "std::bad_alloc")
    assert not said.ran_out_of_memory
    assert said.error == "exit code 3: no checkpoint"
