"""Runs with --quantization_aware: from float ones, resumed, and evaluated in 8 bits."""

from __future__ import annotations

import json

import numpy as np
import pytest

import eval as evaluation
import train
from benchmark_cnn import training
from benchmark_cnn.params.validation import make_params
from checkpoints import bundle, store
from checkpoints.tensor_roles import RANGE
from common.errors import DataError, UsageError
from inference import source
from inference.source import Request
from models import registry
from tests.benchmark_cnn.networks import ArrayData, random_examples

FLAGS = {
    "model": "lenet",
    "image_size": 8,
    "device": "cpu",
    "batch_size": 8,
    "num_warmup_batches": 0,
    "learning_rate": 0.02,
    "gradient_clip": 0.5,
    "moving_average_decay": 0.8,
}
STEPS = 6


def run(train_dir, *, num_batches=STEPS, quantization_aware=True, **flags):
    """Trains LeNet on arrays; returns the tensors of its last checkpoint."""
    images, labels = random_examples(40)
    switch = {"quantization_aware": quantization_aware, "num_batches": num_batches}
    params = make_params(**{**FLAGS, **switch, **flags}, train_dir=str(train_dir))
    training.train(params, registry.get("lenet"), ArrayData(images, labels))
    prefix = store.resolve(train_dir)
    return bundle.read(prefix, list(store.shapes(prefix)))


@pytest.fixture(scope="module")
def in_float(tmp_path_factory):
    """The directory of a run without quantization."""
    directory = tmp_path_factory.mktemp("float")
    run(directory, quantization_aware=False)
    return directory


@pytest.fixture(scope="module")
def quantized(in_float, tmp_path_factory):
    """The directory of a run in 8 bits from its weights, and the tensors of its end."""
    directory = tmp_path_factory.mktemp("quantized")
    return directory, run(directory, init_checkpoint=str(in_float))


def test_a_stopped_run_ends_with_the_same_bits(in_float, quantized, tmp_path):
    run(tmp_path, num_batches=3, init_checkpoint=str(in_float))
    resumed = run(tmp_path)
    _, expected = quantized
    assert resumed.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(resumed[name], value, err_msg=name)
    ranges = [name for name in expected if name.endswith(RANGE)]
    assert len(ranges) == 4
    assert all(f"{name}/ExponentialMovingAverage" in expected for name in ranges)


def test_a_first_step_with_all_but_the_classifier_frozen_measures_all_ranges(in_float, tmp_path):
    tensors = run(tmp_path, num_batches=2, init_checkpoint=str(in_float), freeze="backbone")
    assert all(value.max() > 0 for name, value in tensors.items() if name.endswith(RANGE))


def test_a_run_is_resumed_as_it_began(in_float, quantized):
    directory, _ = quantized
    with pytest.raises(
        DataError, match=r"ranges of activations .*: give --quantization_aware as b"
    ):
        run(directory, quantization_aware=False)
    with pytest.raises(DataError, match="it was not trained with --quantization_aware: leave that"):
        run(in_float)


def test_predictions_are_of_the_rounding_network(in_float, quantized):
    directory, tensors = quantized
    images = random_examples(8)[0] * 255
    loaded = source.load(Request(train_dir=directory, weights="raw"))
    network = registry.get("lenet").build(num_classes=5, image_size=8).quantization_aware()
    for name, variable in network.variables.items():
        variable.assign(tensors[name])
    expected = network(images, training=False).logits
    np.testing.assert_allclose(loaded.classifier.logits(images), expected, atol=1e-5)
    plain = loaded.classifier.in_float.logits(images)
    assert np.abs(plain - expected).max() > 1e-3
    assert loaded.classifier.rounds
    assert not source.load(Request(train_dir=in_float)).classifier.rounds


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ({"dtype": "bfloat16"}, "--dtype=bfloat16 cannot be used with --quantization_aware"),
        (
            {"teacher": "lenet", "teacher_features": "conv1.relu:conv1.relu"},
            "--teacher_features=conv1.relu:conv1.relu cannot be used with --quantization_aware",
        ),
        ({"forward_only": True}, "--quantization_aware has no effect with --forward_only"),
    ],
)
def test_flags_that_contradict_it_are_refused(flags, line):
    with pytest.raises(UsageError, match=line):
        make_params(quantization_aware=True, model="lenet", **flags)


def test_the_commands_say_so(tmp_path, capsys):
    """Also with a teacher, and with activations that are computed again."""
    data = ["--device=cpu", "--data_name=digits", f"--data_dir={tmp_path / 'digits'}"]
    flags = [*data, "--model=lenet", "--image_size=12", "--batch_size=8", "--num_batches=3"]
    assert train.main([*flags, f"--train_dir={tmp_path / 'float'}"]) == 0
    learned = [
        *("--quantization_aware", f"--init_checkpoint={tmp_path / 'float'}", "--recompute"),
        *(f"--teacher_checkpoint={tmp_path / 'float'}", f"--train_dir={tmp_path / 'run'}"),
    ]
    assert train.main([*flags, *learned]) == 0
    assert evaluation.main(["--device=cpu", f"--train_dir={tmp_path / 'run'}"]) == 0
    said = capsys.readouterr().out
    assert said.count("Precision:   8 bits, as its file of export.py --quantize=int8") == 2
    result = json.loads((tmp_path / "run" / "eval" / "eval.json").read_text())
    assert result["quantization_aware"] is True
    as_they_are = ["--device=cpu", f"--train_dir={tmp_path / 'run'}", "--quantization_aware=false"]
    assert evaluation.main(as_they_are) == 0
    folder = tmp_path / "run" / "eval" / "quantization_aware=False"
    assert json.loads((folder / "eval.json").read_text())["loss"] != result["loss"]
    assert train.main([*flags, "--model=resnet20_v2", "--quantization_aware"]) == 2
    assert "resnet20_v2 cannot be trained with --quantization_aware" in capsys.readouterr().err
