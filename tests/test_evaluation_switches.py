"""The evaluation switches of seed 000 change eval.py's result as NumPy predicts on photographs."""

from __future__ import annotations

import json

import numpy as np
import pytest

import eval as evaluation
import models.registry
from checkpoints import bundle
from preprocessing.images import photos
from tests.inference import photograph_records, photographs
from tests.preprocessing.images.test_resize import bilinear, sample_positions

pytest.importorskip("skimage", reason="the photographs are scikit-image's")
pytest.importorskip("sklearn", reason="the photographs are scikit-learn's")

MODEL, SIZE, CLASSES = "lenet", 28, 1000
TOLERANCE = 2e-5  # of a mean loss of about 7


def bicubic(pixels, size, a):
    """Keys' kernel on TensorFlow 1's grid; its table of weights has 1,024 steps to a pixel."""
    resized = pixels.astype(np.float64)
    for axis, num_out in enumerate(size):
        num_in = resized.shape[axis]
        positions = sample_positions(num_in, num_out, half_pixel_centers=False)
        first = np.floor(positions).astype(int)
        t = np.rint((positions - first) * 1024) / 1024
        near = [(a + 2) * d**3 - (a + 3) * d**2 + 1 for d in (t, 1 - t)]
        far = [a * (d**3 - 5 * d**2 + 8 * d - 4) for d in (1 + t, 2 - t)]
        total = 0.0
        for offset, weights in zip((-1, 0, 1, 2), (far[0], *near, far[1]), strict=True):
            taken = np.take(resized, np.clip(first + offset, 0, num_in - 1), axis)
            total = total + taken * np.expand_dims(weights, [n for n in range(3) if n != axis])
        resized = total
    return resized


def center_square(pixels, fraction):
    height, width, _ = pixels.shape
    side = int(np.float32(fraction) * np.float32(min(height, width)))
    y, x = (height - side + 1) // 2, (width - side + 1) // 2
    return pixels[y : y + side, x : x + side]


def view(pixels, *, size=SIZE, fraction=None, kernel=bilinear, grid=False):
    """The official pad-32 rule and the grid of TensorFlow 1, unless told otherwise."""
    cropped = center_square(pixels, fraction or size / (size + 32))
    return kernel(cropped, (size, size), grid)


# The flag, and the view that NumPy makes of it.
SWITCHES = {
    "none": ([], {}),
    "kernel": (
        ["--resize_method=bicubic"],
        {"kernel": lambda pixels, size, _: bicubic(pixels, size, -0.75)},
    ),
    "grid": (["--resize_kernels=tf2"], {"grid": True}),
    "crop": (["--eval_crop_fraction=0.875"], {"fraction": 0.875}),
    "resolution": ([f"--image_size={SIZE + 2}"], {"size": SIZE + 2}),  # the same pooled grid
}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A network with random weights and its checkpoint, the photographs and their labels."""
    import tensorflow as tf

    directory = tmp_path_factory.mktemp("switches")
    (directory / "data").mkdir()
    photograph_records.write(directory / "data", "efficientnet_lite0")
    spec = models.registry.get(MODEL)
    tf.keras.utils.set_random_seed(3)
    built = spec.build(num_classes=CLASSES, image_size=SIZE)
    bundle.write(directory / "model.ckpt", {k: v.numpy() for k, v in built.variables.items()})
    with np.load(photograph_records.GOLDEN) as golden:
        order = np.argsort(-golden["efficientnet_lite0/probabilities"], axis=1)
    labels = order[np.arange(8), photograph_records.RANKS]
    pixels = [photos.read(photographs.file(name)) for name in photographs.PHOTOGRAPHS]
    return directory, built, pixels, labels


def measured(directory, *flags):
    argv = [
        "--device=cpu", f"--model={MODEL}", f"--train_dir={directory}/model.ckpt",
        f"--data_dir={directory}/data", "--eval_method=efficientnet", f"--eval_dir={directory}/out",
    ]  # fmt: skip
    assert evaluation.main([*argv, *flags]) == 0
    return json.loads((directory / "out" / "eval.json").read_text())


def predicted(network, **options):
    _, built, pixels, labels = network
    size = options.get("size", SIZE)
    if size != SIZE:
        other = models.registry.get(MODEL).build(num_classes=CLASSES, image_size=size)
        for name, variable in built.variables.items():
            other.variables[name].assign(variable)
        built = other
    views = np.stack([view(image, **options) for image in pixels]).astype(np.float32)
    logits = built(views, training=False).logits.numpy().astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    log_sums = np.log(np.exp(logits).sum(axis=1))
    return float((log_sums - logits[np.arange(8), labels]).mean())


@pytest.mark.parametrize("switch", SWITCHES)
def test_a_switch_gives_the_loss_that_numpy_predicts(network, switch):
    flags, options = SWITCHES[switch]
    loss = measured(network[0], *flags)["loss"]
    assert loss == pytest.approx(predicted(network, **options), abs=TOLERANCE)
    if switch != "none":
        assert abs(loss - predicted(network)) > 10 * TOLERANCE


def test_the_precision_changes_the_loss_by_its_rounding(network):
    """bfloat16 keeps 8 bits: a loss near ln 1000 moves, by less than its 2^-8 a layer."""
    exact = predicted(network)
    result = measured(network[0], "--dtype=bfloat16")
    assert result["dtype"] == "bfloat16"
    assert 1e-5 < abs(result["loss"] - exact) < 5 * exact * 2**-8
