"""eval.py --saved_model: the counts of the checkpoint that it was exported from."""

from __future__ import annotations

import contextlib
import io
import json
import re

import pytest
import tensorflow as tf

import eval as evaluation
import export
import train
from checkpoints import store
from inference.classifier import Classifier

CLASSES = 10
BACKGROUND = "background"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of lenet, its data, and what eval.py says of its checkpoint."""
    directory = tmp_path_factory.mktemp("trained")
    argv = [
        "--model=lenet", "--device=cpu", "--batch_size=32", "--data_name=digits",
        f"--data_dir={directory}/data", f"--train_dir={directory}/run", "--num_batches=12",
        "--learning_rate=0.02",
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        assert train.main(argv) == 0
        assert evaluation.main(["--device=cpu", f"--train_dir={directory}/run"]) == 0
    result = json.loads((directory / "run/eval/eval.json").read_text())
    assert 0.3 < result["top_1"] < result["top_5"] < 1.0  # wrong answers of every kind
    return directory, result


class Exported(tf.Module):
    """What exporters of this field write: constants or variables, any range, any output."""

    def __init__(self, prefix, *, std, outputs, mean=0.0, classes=CLASSES, dtype=tf.float32):
        super().__init__()
        network = Classifier("lenet", prefix).network
        self.kept = list(network.variables.values())
        shape = tf.TensorSpec([None, 28, 28, 3], dtype)

        @tf.function(input_signature=[shape], autograph=False)
        def call(images):
            pixels = tf.cast(images, tf.float32) * std + mean
            logits = network(pixels, training=False).logits
            if classes == BACKGROUND:
                logits = tf.concat([tf.fill([tf.shape(logits)[0], 1], -50.0), logits], 1)
            return tf.nn.softmax(logits) if outputs == "probabilities" else logits

        self.call = call

    @tf.function(autograph=False)
    def __call__(self, images, training=False):
        return self.call(images)


def save(directory, module, *, signature=True):
    signatures = {"serving_default": module.call} if signature else None
    if not signature:
        module(tf.zeros([1, 28, 28, 3]))
    tf.saved_model.save(module, str(directory), signatures=signatures)
    return directory


def evaluate(capsys, *argv, code=0):
    capsys.readouterr()
    assert evaluation.main(["--device=cpu", *argv]) == code
    written = capsys.readouterr()
    assert "Traceback" not in written.err
    return written.out.splitlines(), written.err.splitlines()


# What is exported, and the flags that evaluate it.
FORMS = {
    "a module of TF Hub": ({"std": 255.0, "outputs": "logits"}, []),
    "with a background class": (
        {"std": 255.0, "outputs": "probabilities", "classes": BACKGROUND},
        [],
    ),
    "called directly": ({"std": 255.0, "outputs": "logits"}, ["--image_size=28"]),
    "-1 to 1, on two towers": (
        {"std": 127.5, "mean": 127.5, "outputs": "probabilities"},
        ["--saved_model_mean_std=127.5,127.5", "--num_gpus=2", "--batch_size=50"],
    ),
    "normalized as by EfficientNet's programs": (
        {"std": 128.0, "mean": 127.0, "outputs": "logits"},
        ["--saved_model_mean_std=127,128"],
    ),
    "bytes": ({"std": 1.0, "outputs": "logits", "dtype": tf.uint8}, []),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_counts_are_those_of_the_checkpoint(trained, tmp_path, capsys, form):
    """Seed 000 saw the same accuracy from TF Hub's modules, up to the 13th decimal."""
    directory, expected = trained
    options, flags = FORMS[form]
    module = Exported(store.resolve(f"{directory}/run"), **options)
    exported = save(tmp_path / "exported", module, signature=form != "called directly")
    evaluate(capsys, f"--saved_model={exported}", f"--data_dir={directory}/data", *flags)
    result = json.loads((tmp_path / "exported-eval/eval.json").read_text())
    names = ("examples", "top_1", "top_5")
    if form == "bytes":  # rounded pixels
        assert result["top_1"] == pytest.approx(expected["top_1"], abs=0.01)
    else:
        assert [result[name] for name in names] == [expected[name] for name in names]
        assert result["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert (result["model"], result["weights"]) == ("exported", "exported")
    assert result["image_size"] == 28


@pytest.mark.parametrize("flags", [[], ["--logits", "--batch_size=7"]], ids=["default", "logits"])
def test_an_export_of_ours_says_its_range_and_its_view(trained, tmp_path, capsys, flags):
    directory, expected = trained
    exported = tmp_path / "lenet"
    argv = [f"--train_dir={directory}/run", f"--output_saved_model_dir={exported}", *flags]
    assert export.main(argv) == 0
    argv = [f"--saved_model={exported}", f"--data_dir={directory}/data"]
    lines, _ = evaluate(capsys, *argv)
    result = json.loads((tmp_path / "lenet-eval/eval.json").read_text())
    assert (result["top_1"], result["top_5"]) == (expected["top_1"], expected["top_5"])
    assert result["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert f"Batch size:  {7 if flags else 32} global" in lines
    # What is typed wins: fed as TF Hub's modules are, the network sees black images.
    evaluate(capsys, *argv, "--saved_model_mean_std=0,255", f"--eval_dir={tmp_path}/hub")
    assert json.loads((tmp_path / "hub/eval.json").read_text())["top_1"] < expected["top_1"]


def test_a_recorded_view_that_has_no_effect_is_replaced_as_the_line_says(
    trained, tmp_path, capsys, caplog
):
    exported = tmp_path / "lenet"
    argv = [f"--train_dir={trained[0]}/run", f"--output_saved_model_dir={exported}"]
    assert export.main([*argv, "--eval_method=efficientnet"]) == 0
    argv = [f"--saved_model={exported}", f"--data_dir={trained[0]}/data"]
    _, errors = evaluate(capsys, *argv, code=2)
    (typed,) = re.findall(r"leave it out, or give (\S+) if a run or an exported", errors[-1])
    tf.get_logger().addHandler(caplog.handler)
    try:
        evaluate(capsys, *argv, typed)
    finally:
        tf.get_logger().removeHandler(caplog.handler)
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == []


MISTAKES = {
    "no directory": (["--saved_model={tmp}/none"], 3, "{tmp}/none is no SavedModel: No such file"),
    "another size": (
        ["--image_size=32"],
        2,
        "--image_size=32 cannot be: {model} was exported for 28; leave it out",
    ),
    "data of other classes": (
        ["--num_classes=20"],
        3,
        "{model} gives outputs of shape (32, 10), for 20 classes",
    ),
    "a range that is none": (
        ["--saved_model_mean_std=0,0"],
        2,
        "--saved_model_mean_std=0,0 needs a finite mean and a standard deviation above 0",
    ),
    "a checkpoint, too": (
        ["--train_dir={model}"],
        2,
        "--train_dir and --saved_model exclude each other",
    ),
    "a network, too": (
        ["--model=lenet"],
        2,
        "--model has no effect with --saved_model={model}, which is a network with its weights",
    ),
    "a precision": (["--dtype=bfloat16"], 2, "--dtype has no effect with --saved_model={model}"),
}


@pytest.fixture(scope="module")
def model(trained, tmp_path_factory):
    module = Exported(store.resolve(f"{trained[0]}/run"), std=255.0, outputs="logits")
    return save(tmp_path_factory.mktemp("saved") / "lenet", module)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(trained, model, tmp_path, capsys, mistake):
    flags, code, text = MISTAKES[mistake]
    places = {"tmp": tmp_path, "model": model}
    argv = [f"--saved_model={model}", f"--data_dir={trained[0]}/data"]
    argv += [flag.format(**places) for flag in flags]
    _, errors = evaluate(capsys, *argv, code=code)
    reported = [line for line in errors if line.startswith("error: ")]
    assert len(reported) == 1
    assert text.format(**places) in reported[0]


def test_damage_and_missing_data_are_one_line_each(trained, tmp_path, capsys):
    (tmp_path / "saved_model.pb").write_bytes(b"not a graph")
    data = f"--data_dir={trained[0]}/data"
    _, errors = evaluate(capsys, f"--saved_model={tmp_path}", data, code=3)
    assert errors[-1] == f"error: {tmp_path}/saved_model.pb is damaged"
    tf.saved_model.save(tf.Module(), str(tmp_path / "empty"))
    argv = [f"--saved_model={tmp_path}/empty", data, "--image_size=28"]
    _, errors = evaluate(capsys, *argv, code=3)
    assert errors[-1].startswith(f"error: {tmp_path}/empty cannot be run: it has no signature")
    _, errors = evaluate(capsys, f"--saved_model={tmp_path}/empty", "--image_size=28", code=2)
    assert errors[-1].startswith("error: --data_dir is missing: the images to evaluate the Saved")
    _, errors = evaluate(
        capsys, f"--train_dir={trained[0]}/run", "--saved_model_mean_std=0,1", code=2
    )
    assert errors[-1] == "error: --saved_model_mean_std has no effect without --saved_model"
