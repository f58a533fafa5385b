"""eval.py --saved_model: the counts of the checkpoint that it was exported from."""

from __future__ import annotations

import contextlib
import io
import json

import pytest
import tensorflow as tf

import eval as evaluation
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
        network = Classifier("lenet", prefix)._network
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
