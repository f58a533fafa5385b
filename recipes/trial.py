"""A few updates of a recipe on random images, small and few, on the CPU."""

from __future__ import annotations

import contextlib
import gc
import io
import time
from collections.abc import Sequence

import models.registry
import preprocessing.registry
from benchmark_cnn.distribution import devices
from benchmark_cnn.params.data_params import DataParams
from benchmark_cnn.params.hardware_params import HardwareParams
from common import process
from common.errors import RunError, UsageError
from models.model_spec import ModelSpec
from recipes import catalog
from recipes.catalog import Recipe

STEPS = 20
_BATCH_SIZE = 4
_IMAGE_SIZE = 32
# TF-Slim's networks say only when they are built that they need more.
_LARGER = {"inception_v3": 107, "inception_v4": 107}
_SMALL_DATA = ("cifar10", "digits")


def prepare() -> None:
    """Configures TensorFlow for the runs; it must not have computed anything yet."""
    devices.prepare(HardwareParams(device="cpu"))


def run(recipe: Recipe, steps: int = STEPS, flags: Sequence[str] = ()) -> float:
    """Makes `steps` updates with everything that the recipe says, and returns the seconds.

    `flags` are those of its variant.

    Only the size changes: few small images, one tower, at most two batches an update; a second
    phase or image size begins after half of the updates. A gradient that is not finite ends it.

    Raises:
        UsageError: the training failed; the text begins with the name of the file.
    """
    began = time.monotonic()
    spec = models.registry.get(recipe.params.network.model)
    argv = [f"--flagfile={recipe.path}", *flags, *_small(recipe, spec, steps)]
    output = io.StringIO()
    try:
        params = catalog.parse(argv).params
        with process.quiet_startup():
            dataset = preprocessing.registry.open_dataset(params.data, default_subset="train")
            from benchmark_cnn import training
        with contextlib.redirect_stdout(output):
            result = training.train(params, spec, dataset)
    except RunError as error:
        raise UsageError(f"{catalog.shown(recipe.path)}: {error}") from error
    finally:
        gc.collect()  # a network is a cycle of references
    if result["global_step"] != steps:
        raise UsageError(
            f"{catalog.shown(recipe.path)}: made {result['global_step']} updates, not {steps}"
        )
    return time.monotonic() - began


def _small(recipe: Recipe, spec: ModelSpec, steps: int) -> list[str]:
    """Returns the flags that make a run of the recipe small."""
    smallest = spec.options.get("minimum_image_size", _LARGER.get(spec.name, _IMAGE_SIZE))
    batch_size = _BATCH_SIZE if smallest <= _IMAGE_SIZE else _BATCH_SIZE // 2
    micro_batches = min(recipe.micro_batches, 2)
    data_name = "cifar10" if recipe.params.data.data_name in _SMALL_DATA else "imagenet"
    flags = {
        "device": "cpu",
        "num_gpus": 1,
        "batch_size": batch_size,
        "gradient_accumulation_steps": micro_batches,
        "image_size": max(smallest, _IMAGE_SIZE),
        "num_batches": steps,
        "num_warmup_batches": 0,
        "data_name": data_name,
        "data_dir": None,
        "train_dir": None,
        "pretrained": "off",
        "eval_every_epochs": None,
        "eval_every_steps": None,
        "display_every": steps,
    }
    dataset = preprocessing.registry.open_dataset(DataParams(data_name=data_name))
    images = steps // 2 * batch_size * micro_batches
    half = f"{images / dataset.examples_per_epoch('train'):.12f}"  # in epochs
    if recipe.params.fine_tuning.freeze_epochs is not None:
        flags["freeze_epochs"] = half
    if recipe.params.network.image_size_schedule is not None:
        first, *later = (f"{_IMAGE_SIZE * factor}" for factor in (1, 2)[: len(recipe.image_sizes)])
        flags["image_size_schedule"] = ",".join(
            [f"{first}:0", *(f"{size}:{half}" for size in later)]
        )
    return [f"--{name}={value}" for name, value in flags.items()]
