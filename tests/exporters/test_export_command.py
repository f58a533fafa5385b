"""export.py as users run it, with the commands of its documentation and of its predecessor."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import export
import train
from benchmark_cnn.params.data_params import DataParams
from benchmark_cnn.params.params import write_parameters
from benchmark_cnn.params.validation import make_params
from checkpoints import bundle
from download_and_convert_imagenet import digits
from exporters import exporting
from inference.artifacts import open_artifact
from models import registry
from models.pretrained import importing
from preprocessing import registry as data_sets
from tests.checkpoints import tf1_saver
from tests.exporters.conftest import random_values

pytest.importorskip("onnx")
ROOT = Path(export.__file__).parent
IMAGES = np.random.default_rng(5).uniform(0, 255, [2, 28, 28, 3]).astype(np.float32)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of LeNet; the averages are other weights than the raw ones."""
    directory = tmp_path_factory.mktemp("run")
    write_parameters(make_params(model="lenet", moving_average_decay=0.9), directory)
    random = np.random.default_rng(0)
    tensors = {}
    for name, shape in importing.network_shapes("lenet", 10).items():
        tensors[name] = random_values(random, name, shape)
        tensors[f"{name}/ExponentialMovingAverage"] = random_values(random, name, shape)
    bundle.write(directory / "model.ckpt-7", tensors)
    return directory


def answers(directory: Path, averages: bool, step: int = 7) -> np.ndarray:
    """What the weights of the checkpoint answer, by a network that is filled here."""
    network = registry.get("lenet").build(num_classes=10, image_size=28)
    names = {
        name: f"{name}/ExponentialMovingAverage" if averages else name for name in network.variables
    }
    values = bundle.read(directory / f"model.ckpt-{step}", list(names.values()))
    for name, variable in network.variables.items():
        variable.assign(values[names[name]])
    logits = network(IMAGES, training=False).logits.numpy()
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_a_run_is_exported_with_its_averages_or_raw(run, tmp_path, capsys):
    assert np.abs(answers(run, True) - answers(run, False)).max() > 0.01
    for averages, flags in (
        (True, []),
        (False, ["--weights=raw"]),
        (False, ["--enable_ema=False"]),
    ):
        path = tmp_path / "new" / "lenet.tflite"
        assert export.main([f"--train_dir={run}", f"--output_tflite={path}", *flags]) == 0
        artifact = open_artifact(path)
        assert np.abs(artifact.probabilities(IMAGES) - answers(run, averages)).max() < 1e-5
        assert artifact.signature is not None
        assert artifact.signature.weights == ("ema" if averages else "raw")
    line = capsys.readouterr().out.splitlines()[0]
    assert re.fullmatch(
        r"TFLite file written to .*/lenet\.tflite \(\d\.\d MB\); it differs from the network by at "
        r"most \d\.\de-\d\d, with the same first class on \d of \d photographs",
        line,
    )


def test_a_run_of_train_py_is_exported_with_its_averages(tmp_path, capsys):
    pytest.importorskip("sklearn", reason="the digits are scikit-learn's")
    directory = tmp_path / "run"
    argv = [
        "--model=lenet", "--device=cpu", "--batch_size=32", "--num_batches=10",
        "--learning_rate=0.05", "--moving_average_decay=0.9", "--data_name=digits",
        f"--data_dir={tmp_path}/data", f"--train_dir={directory}",
    ]  # fmt: skip
    assert train.main(argv) == 0
    wanted, raw = (answers(directory, averages, step=10) for averages in (True, False))
    assert np.abs(wanted - raw).max() > 1e-3
    capsys.readouterr()
    paths = [tmp_path / "lenet.tflite", tmp_path / "lenet.onnx"]
    flags = [f"--output_{path.suffix[1:]}={path}" for path in paths]
    assert export.main([f"--train_dir={directory}", *flags]) == 0
    assert capsys.readouterr().out.count("on 8 of 8 validation images") == 2
    for path in paths:
        artifact = open_artifact(path)
        assert np.abs(artifact.probabilities(IMAGES) - wanted).max() < 1e-5
        assert artifact.signature is not None
        assert artifact.signature.weights == "ema"
        assert artifact.signature.class_names == digits.CLASS_NAMES


@pytest.mark.slow
def test_the_commands_of_the_official_program(tmp_path, monkeypatch, capsys):
    """Its model name, directory of a TF1 checkpoint with averages, and switches, word for word."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    tensors = {}
    for name, shape in importing.network_shapes("efficientnet_lite0", 1000).items():
        tensors[name] = np.zeros(shape, np.float32)
        tensors[f"{name}/ExponentialMovingAverage"] = random_values(random, name, shape)
    tensors["global_step"] = np.array(5, np.int64)
    Path("efficientnet-lite0").mkdir()
    tf1_saver.save("efficientnet-lite0/model.ckpt", tensors)
    command = (
        "--model_name=efficientnet-lite0 --ckpt_dir=efficientnet-lite0 "
        "--output_saved_model_dir=output_saved_model/ "
        "--output_tflite=efficientnet-lite0_float.tflite --quantize=False --image_size=32"
    )
    assert export.main(command.split()) == 0
    output = capsys.readouterr().out
    assert "TFLite file written to efficientnet-lite0_float.tflite" in output
    assert "SavedModel written to output_saved_model" in output
    images = np.zeros([1, 32, 32, 3], np.float32)
    tflite = open_artifact("efficientnet-lite0_float.tflite").probabilities(images)
    saved_model = open_artifact("output_saved_model").probabilities(images)
    assert np.abs(tflite - saved_model).max() < 1e-5
    assert tflite.max() > 2e-3  # the raw weights, all zeros, would answer 0.001 everywhere


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("", "give an output: --output_tflite=FILE, --output_onnx=FILE or"),
        ("--output_tflite=a.tflite", "give the weights: --pretrained or --train_dir=DIR"),
        ("--pretrained --output_tflite=a.onnx", "a name that ends in .tflite is needed"),
        ("--pretrained --output_onnx=a", "a name that ends in .onnx is needed"),
        ("--pretrained --output_saved_model_dir=a.tflite", "a SavedModel is a directory"),
        ("--pretrained --output_tflite=d.tflite", "d.tflite is a directory: give a file"),
        ("--pretrained --output_saved_model_dir=full", "holds other files than a SavedModel"),
        ("--pretrained --output_saved_model_dir=file", "is a file: give a directory"),
        ("--pretrained --output_saved_model_dir=.", "is the working directory"),
        ("--pretrained --output_saved_model_dir=dangling", "is a link to nowhere, which does not"),
        ("--pretrained --output_saved_model_dir=s --output_tflite=s/a.tflite", "a.tflite is in --"),
        ("--pretrained --output_saved_model_dir=s --output_onnx=d/../s/b/a.onnx", "is in --outp"),
        (
            "--pretrained --output_saved_model_dir=s --output_tflite=a.tflite --quantize=int8 "
            "--report=s/a.csv",
            "--report=s/a.csv is in --output_saved_model_dir=s, which holds nothing but the Saved",
        ),
        ("--pretrained --output_tflite=a.tflite --quantize=int8 --float_layers=", "is empty"),
        (
            "--pretrained --output_tflite=a.tflite --quantize=int8",
            "there is no data set here: --calibration_data=DIR gives images",
        ),
        ("--pretrained --output_onnx=a.onnx --quantize=int8", "--quantize has no effect without"),
        ("--pretrained --output_onnx=a.onnx --report=r", "--report has no effect without --output"),
        (
            "--pretrained --output_tflite=a.tflite --input_type=int8",
            "--input_type has no effect without --quantize=int8",
        ),
        (
            "--pretrained --output_tflite=a.tflite --quantize=False --data_dir=d.tflite",
            "--calibration_data has no effect without --quantize=int8",
        ),
        ("--pretrained --output_tflite=a.tflite --quantize=int4", "'int4' is not one of none, "),
        ("--pretrained --output_tflite=a.tflite --endpoint_name=pool", "--logits exports it"),
        ("--pretrained --output_tflite=a.tflite --num_classes=9", "--num_classes has no effect"),
        ("--pretrained --output_tflite=a.tflite --enable_ema", "no effect with --pretrained"),
        ("--train_dir=r --output_tflite=a.tflite --weights_dir=w", "--weights_dir has no effect"),
        ("--pretrained --output_tflite=a.tflite --model=lite0", "unknown model 'lite0'; did you"),
    ],
)
def test_a_wrong_command_line_is_answered_in_one_line(
    flags, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("d.tflite").mkdir()
    Path("full").mkdir()
    Path("full/precious").touch()
    Path("file").touch()
    Path("dangling").symlink_to("nowhere")
    before = sorted(Path().rglob("*"))
    try:
        code = export.main(flags.split())
    except SystemExit as ended:  # of the parser
        code = ended.code
    assert code == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1
    assert sorted(Path().rglob("*")) == before


def test_missing_weights_and_unwritable_places(run, tmp_path, capsys):
    assert export.main([f"--train_dir={tmp_path}", f"--output_tflite={tmp_path}/a.tflite"]) == 3
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "a.tflite"
    assert export.main([f"--train_dir={run}", f"--output_tflite={path}"]) == 3
    errors = capsys.readouterr().err
    assert f"cannot write {path}: " in errors
    assert not list(tmp_path.glob("*.tflite"))


def test_class_names_that_cannot_be_written_are_one_line(run, tmp_path, capsys):
    (tmp_path / "labels.txt").mkdir()
    assert export.main([f"--train_dir={run}", f"--output_tflite={tmp_path}/a.tflite"]) == 3
    errors = capsys.readouterr().err
    assert f"cannot write {tmp_path}/a.tflite: Is a directory; mend that or write else" in errors
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.txt"]


def test_a_file_that_its_runtime_refuses_is_named_by_its_own_name(
    run, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(exporting, "with_metadata", lambda content, *_: content[:100])
    assert export.main([f"--train_dir={run}", f"--output_tflite={tmp_path}/a.tflite"]) == 3
    assert f"error: {tmp_path}/a.tflite cannot be opened: " in capsys.readouterr().err


def test_half_characters_and_lines_of_names_are_escaped(run, tmp_path, capsys):
    """Python's JSON reads a lone surrogate, which no file of UTF-8 holds."""
    names = tmp_path / "names.json"
    names.write_text(json.dumps(["\ud800", "two\nlines", *"abcdefgh"]))
    path = tmp_path / "line\nbreak" / "a.tflite"
    flags = [f"--output_tflite={path}", f"--labels_map_file={names}"]
    assert export.main([f"--train_dir={run}", *flags]) == 0
    assert path.with_name("labels.txt").read_text().split()[:2] == [r"\ud800", r"two\nlines"]
    assert capsys.readouterr().out.count("\n") == 1
    names.write_text("[" * 9999)
    assert export.main([f"--train_dir={run}", *flags]) == 3
    assert "not valid JSON: " in capsys.readouterr().err
    for labels in ("null", '["n01440764", null]', "{}"):
        names.write_text(f'{{"2": "two", "3": {labels}}}')
        assert export.main([f"--train_dir={run}", *flags]) == 3
        assert "the label of class 3 is no text" in capsys.readouterr().err


# A process that stops itself while it writes a file: the moment is the program's, not the clock's.
STOPS_ITSELF = """
import os, sys, time
import export
from exporters import exporting

def write(source, plan, path):
    path.write_bytes(b"half a file")
    os.kill(os.getpid(), int(sys.argv[1]))
    time.sleep(600)  # the handler of the signal ends it

exporting._write_tflite = write
sys.exit(export.main(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_stopped_export_leaves_nothing(run, tmp_path, number):
    flags = [f"--output_saved_model_dir={tmp_path}/s", f"--output_tflite={tmp_path}/a.tflite"]
    command = [sys.executable, "-c", STOPS_ITSELF, str(int(number)), f"--train_dir={run}", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    code, line = {
        signal.SIGTERM: (75, "stopped by SIGTERM while starting"),
        signal.SIGINT: (130, "error: interrupted"),
    }[number]
    assert done.returncode == code, done.stderr
    assert done.stderr.splitlines()[-1] == line
    assert not list(tmp_path.iterdir())


def test_an_export_stopped_at_its_last_file_keeps_the_others(run, tmp_path, monkeypatch, capsys):
    def stop(_source, _plan, path):
        path.mkdir()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(600)

    monkeypatch.setattr(exporting, "_write_saved_model", stop)
    flags = [f"--output_saved_model_dir={tmp_path}/s", f"--output_tflite={tmp_path}/a.tflite"]
    assert export.main([f"--train_dir={run}", *flags]) == 75
    output, errors = capsys.readouterr()
    assert errors == "stopped by SIGTERM while starting\n"
    assert output.startswith(f"TFLite file written to {tmp_path}/a.tflite ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tflite", "labels.txt"]
    found = open_artifact(tmp_path / "a.tflite").probabilities(IMAGES)
    assert np.abs(found - answers(run, True)).max() < 1e-5


def test_a_full_disk_leaves_nothing(run, tmp_path):
    """A limit on the size of files stands for the disk: the file is larger, in a real process."""
    command = (
        f"ulimit -f 100; exec {sys.executable} export.py --train_dir={run} "
        f"--output_tflite={tmp_path}/a.tflite"
    )
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert "cannot write" in done.stderr
    assert not list(tmp_path.iterdir())


def test_noise_is_said_to_be_noise(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("exporters.check._PHOTOGRAPHS", {})
    assert export.main([f"--train_dir={run}", f"--output_onnx={tmp_path}/a.onnx"]) == 0
    assert "8 images of noise, as there is no photograph here" in capsys.readouterr().out
    signature = open_artifact(tmp_path / "a.onnx").signature
    assert signature is not None
    assert signature.model == "lenet"


def test_a_missing_library_is_named_before_any_work(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    flags = [f"--output_tflite={tmp_path}/a.tflite", f"--output_onnx={tmp_path}/a.onnx"]
    assert export.main([f"--train_dir={run}", *flags]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: not installed: onnxruntime. Run: pip install onnxruntime")
    assert not list(tmp_path.iterdir())


def test_a_run_on_whole_images_is_checked_on_its_validation_images(run, tmp_path, capsys):
    """Its SavedModel gives whole photos to the network, as its evaluations do."""
    pytest.importorskip("sklearn", reason="the digits are scikit-learn's")
    directory = tmp_path / "digits_run"
    shutil.copytree(run, directory)
    write_parameters(make_params(model="lenet", data_name="digits"), directory)
    data_sets.open_dataset(DataParams(data_name="digits"), default_subset="validation")
    target = tmp_path / "model"
    flags = [f"--train_dir={directory}", f"--output_saved_model_dir={target}"]
    assert export.main(flags) == 0
    assert "on 8 of 8 validation images" in capsys.readouterr().out
    photo = tmp_path / "photo.png"
    pixels = np.random.default_rng(3).integers(0, 256, [30, 50, 3], np.uint8)
    Image.fromarray(pixels).save(photo)
    serve = tf.saved_model.load(str(target)).signatures["image_bytes"]
    found = serve(image_bytes=tf.constant([photo.read_bytes()]))["probabilities"].numpy()
    whole = tf.image.resize(pixels[np.newaxis], [28, 28]).numpy()
    assert np.abs(found - open_artifact(target).probabilities(whole)).max() < 1e-5
