"""The published line format, byte for byte, and the positions that other tools read."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmark_cnn.distribution.devices import Devices
from benchmark_cnn.params.validation import make_params
from benchmark_cnn.reporting import console
from benchmark_cnn.reporting.speed import SpeedReport
from benchmark_cnn.run import RunPlan

ROOT = Path(__file__).resolve().parents[3]
SPEED = SpeedReport(146.64, 0.349, 0.6, 0.02)


def header(
    mode="training", *, synthetic=True, gpus=True, accumulation=1, steps=100, batch_size=64, **flags
):
    flags = {"optimizer": "sgd", "all_reduce_spec": "nccl", **flags}
    kind = "GPU" if gpus else "CPU"
    return console.header_lines(
        make_params(data_format="NCHW", num_gpus=2, **flags),
        SimpleNamespace(name="resnet50", batch_size=batch_size),
        SimpleNamespace(name="imagenet", synthetic=synthetic),
        Devices(kind.lower(), (f"/device:{kind}:0", f"/device:{kind}:1"), "/device:CPU:0"),
        RunPlan(64, 2, accumulation, 1281167, warmup_steps=10, total_steps=10 + steps),
        mode=mode,
    )


class TestHeader:
    def test_it_is_the_published_one(self):
        assert "\n".join(header()) == (
            "TensorFlow:  2.21\n"
            "Model:       resnet50\n"
            "Dataset:     imagenet (synthetic)\n"
            "Mode:        training\n"
            "SingleSess:  False\n"
            "Batch size:  128 global\n"
            "             64 per device\n"
            "Num batches: 100\n"
            "Num epochs:  0.01\n"
            "Devices:     ['/gpu:0', '/gpu:1']\n"
            "NUMA bind:   False\n"
            "Data format: NCHW\n"
            "Optimizer:   sgd\n"
            "Variables:   replicated\n"
            "AllReduce:   nccl\n"
            "=========="
        )

    def test_real_data(self):
        assert "Dataset:     imagenet" in header(synthetic=False)

    @pytest.mark.parametrize(("gpus", "algorithm"), [(True, "nccl"), (False, "pscpu")])
    def test_an_all_reduce_that_was_not_chosen(self, gpus, algorithm):
        assert f"AllReduce:   {algorithm}" in header(gpus=gpus, all_reduce_spec=None)

    @pytest.mark.parametrize("variables", ["parameter_server", "independent"])
    def test_no_all_reduce_where_nothing_is_reduced(self, variables):
        lines = header(variable_update=variables, all_reduce_spec=None)
        assert not [line for line in lines if "AllReduce" in line]

    def test_a_smaller_default_on_a_cpu_is_said(self):
        lines = header(gpus=False, batch_size=128)
        after = lines[lines.index("             64 per device") + 1]
        assert after == "             the default on a CPU; resnet50's is 128"

    def test_accumulation_counts_in_the_global_batch(self):
        lines = header(accumulation=3)
        start = lines.index("Batch size:  384 global")
        assert lines[start + 1 : start + 3] == [
            "             64 per device",
            "             3 batches accumulated per update",
        ]

    def test_an_evaluation_is_one_epoch_without_updates(self):
        lines = header("evaluation", steps=10009)
        assert "Num batches: 10009" in lines
        assert "Num epochs:  1.00" in lines
        assert "Optimizer:   none" in lines
        assert "AllReduce:   none" in lines

    def test_device_names_are_short(self):
        assert "Devices:     ['/cpu:0', '/cpu:1']" in header(gpus=False, all_reduce_spec=None)


class TestStepLines:
    def test_columns(self):
        assert console.column_header() == "Step\tImg/sec\ttotal_loss"
        assert (
            console.column_header(with_accuracy=True)
            == "Step\tImg/sec\ttotal_loss\ttop_1_accuracy\ttop_5_accuracy"
        )

    def test_without_accuracy(self):
        line = console.step_line(10, SPEED, 7.2549)
        assert line == "10\timages/sec: 146.6 +/- 0.3 (jitter = 0.6)\t7.255"

    def test_with_accuracy(self):
        line = console.step_line(1, SpeedReport(147.1, 0.0, 0.0, 0.0), 7.255, 0.001, 0.0049)
        assert line == "1\timages/sec: 147.1 +/- 0.0 (jitter = 0.0)\t7.255\t0.001\t0.005"

    def test_the_positions_that_tools_read(self):
        tokens = console.step_line(120, SPEED, 7.2549, 0.0127, 0.0518).split()
        assert len(tokens) == 11
        assert tokens[0] == "120"
        assert tokens[2] == "146.6"
        assert tokens[4] == "0.3"
        assert tokens[8] == "7.255"
        assert tokens[9] == "0.013"
        assert tokens[10] == "0.052"
        assert len(console.step_line(120, SPEED, 7.2549).split()) == 9

    def test_a_loss_that_is_not_a_number_keeps_its_place(self):
        assert console.step_line(1, SPEED, float("nan")).split()[8] == "nan"


def test_total():
    assert "\n".join(console.total_lines(146.379)) == (
        "----------------------------------------------------------------\n"
        "total images/sec: 146.38\n"
        "----------------------------------------------------------------"
    )


def test_evaluation():
    assert console.evaluation_step_line(10, 812.34) == "10\t812.3 examples/sec"
    assert (
        console.accuracy_line(0.761234, 0.92871, 50000)
        == "Accuracy @ 1 = 0.7612 Accuracy @ 5 = 0.9287 [50000 examples]"
    )
    assert console.running_evaluation_line(5004) == "Running evaluation at global_step 5004"
    assert console.RESUMING_TRAINING == "Resuming training"
    assert console.DONE_WITH_TRAINING == "Done with training"


def test_a_line_reaches_a_pipe_before_the_process_ends():
    program = (
        "import sys; from benchmark_cnn.reporting.reporter import console\n"
        "console.log('first', 'second'); sys.stdin.readline()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": ""},
    ) as process:
        assert process.stdout.readline() == b"first\n"
        assert process.stdout.readline() == b"second\n"
        assert process.poll() is None
        process.stdin.close()


def test_lines_go_to_a_destination_while_there_is_one(capsys):
    seen = []
    with contextlib.suppress(RuntimeError), console.routed_through(seen.append):
        console.log("above the bar")
        raise RuntimeError
    console.log("plain")
    assert seen == ["above the bar"]
    assert capsys.readouterr().out == "plain\n"


def test_it_needs_no_tensorflow():
    modules = "console, speed, progress, metrics_log, run_record, curves, confusion"
    program = (
        f"import sys; from benchmark_cnn.reporting import {modules}\n"
        "print({'tensorflow', 'matplotlib', 'rich'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout == "set()\n"


def test_the_next_command_of_a_run_on_synthetic_images_asks_for_data():
    """The run names no data, so that eval.py could not do without --data_dir."""
    result = {"global_step": 3}
    assert console.closing_lines("run", result, num_classes=10)[-1].endswith(
        "eval.py --train_dir=run"
    )
    line = console.closing_lines("run", result, num_classes=10, synthetic=True)[-1]
    assert line == "Next:       python eval.py --train_dir=run --data_dir=DIR"


def test_the_end_of_an_evaluated_run_names_pictures_and_the_next_commands():
    result = {"global_step": 3, "top_1": 0.5, "top_5": 1.0, "weights": "raw"}
    lines = console.closing_lines("a run", result, num_classes=2, classes=["Top-1 of each class"])
    assert lines[2:] == [
        "Top-1 of each class",
        "Curves:     'a run/curves.png', or tensorboard --logdir='a run'",
        "Confusion:  'a run/confusion.png'",
        "Next:       python prediction.py --train_dir='a run' PHOTO",
        "            python export.py --train_dir='a run' --output_tflite=FILE",
        "            python eval.py --train_dir='a run'",
    ]


def test_top_5_is_left_out_where_five_answers_are_all_there_are():
    result = {"global_step": 3, "top_1": 0.5, "top_5": 1.0, "weights": "raw", "examples": 12}
    few, many = (console.closing_lines("run", result, num_classes=n)[1] for n in (5, 6))
    assert few == "Learned:    top-1 50.00% on the 12 validation images, with the raw weights"
    assert many.startswith("Learned:    top-1 50.00%, top-5 100.00% on the 12 validation images")
    lines = console.evaluating_lines("run/model.ckpt-3", "raw", {"validation": 12}, 3)
    assert lines == [
        "Evaluating run/model.ckpt-3: raw weights, 12 validation images",
        "3 classes: top-5 and accuracy @ 5 say nothing: they need more than 5 classes",
    ]
    assert len(console.evaluating_lines("run/model.ckpt-3", "raw", {"validation": 12}, 6)) == 1


def test_what_a_newcomer_reads_after_the_block_explains_itself():
    about = {
        "class_names": ["cat", "dog"],
        "data": {"title": "photos", "examples": {"train": 48, "validation": 4}},
        "run": {
            "classes": 2, "parameters": 1000, "steps_per_epoch": 3.0, "global_batch": 16,
            "total_steps": 7, "learning_rate": 0.01, "checkpoint_bytes": 8000, "loss": "focal",
            "balanced_sampling": False,
            "augmentation_repeats": 1,
        },
    }  # fmt: skip
    assert console.about_lines(about, "cosine")[1:7] == [
        "Classes:     2: cat, dog",
        "             top-5 and accuracy @ 5 say nothing: they need more than 5 classes",
        "Parameters:  1,000",
        "Epoch:       all training images once: 3.0 steps of 16 images",
        "End:         at step 7, after 2.33 epochs",
        "Loss:        focal",
    ]
