"""The sdist, installed into a new virtual environment and used from another directory."""

from __future__ import annotations

import re

import pytest

pytestmark = pytest.mark.slow

TRAIN = ("--device=cpu", "--model=lenet", "--batch_size=4", "--num_batches=10")


def test_the_environment_gets_one_package(place):
    listed = place.run("python", "-m", "pip", "show", "--files", "tensorflow-imagenet").stdout
    files = listed.partition("Files:\n")[2].split()
    tops = {name.partition("/")[0] for name in files if not name.startswith("..")}
    assert tops == {"tensorflow_imagenet", "tensorflow_imagenet-0.1.0.dist-info"}


def test_training_evaluation_and_workers(place):
    place.run("imagenet-train", "--help")
    done = place.run("imagenet-train", *TRAIN, "--num_gpus=2")
    assert re.search(r"total images/sec: [\d.]+", done.stdout)
    train = ("imagenet-train", *TRAIN[:3], "--num_batches=2")
    local = ("-m", "tensorflow_imagenet.launch.local", "--workers=2")
    done = place.run("python", *local, "--", *train)
    assert "[0] total images/sec:" in done.stdout
    done = place.run("imagenet-train", "--model=lenet", "--data_dir=nowhere", code=3)
    assert done.stderr.startswith("error:")


def test_photos_to_a_file_by_the_commands_that_messages_name(place):
    train = ("--data_dir=photos", "--pretrained", "--image_size=32", "--batch_size=4")
    short = ("--num_batches=4", "--eval_every_steps=4", "--device=cpu", "--train_dir=run")
    done = place.run("imagenet-train", *train, *short)
    following = re.findall(r"^(?:Next:)? +(imagenet-.*)$", done.stdout, re.MULTILINE)
    assert len(following) == 3
    for line in following:
        place.run(*line.replace("PHOTO", "cat.jpg").replace("FILE", "cat.tflite").split())
    answer = place.run("imagenet-predict", "cat.jpg", "--model=cat.tflite").stdout
    assert "cat" in answer
    # Two processes read the photos; each is a new Python that imports the package.
    table = ("--data=photos", "--model=cat.tflite", "--output_dir=predicted", "--num_processes=2")
    line = place.run("imagenet-predict", *table).stdout.splitlines()[-1]
    assert line.endswith("imagenet-accuracy predicted")
    place.run("imagenet-accuracy", "predicted")


def test_folds_start_the_installed_program(place):
    train = ("--data_dir=photos", "--model=lenet", "--batch_size=4", "--num_batches=2")
    done = place.run("imagenet-train", *train, "--folds=2", "--device=cpu", "--train_dir=folds")
    assert "mean" in done.stdout


def test_conversion_and_verification(place):
    converted = ("--source=folder", "--raw_dir=photos", "--validation_fraction=0.25")
    place.run("imagenet-convert", "records", *converted, "--num_processes=2")
    assert "intact" in place.run("imagenet-verify", "--decode", "records").stdout
    place.run("imagenet-doctor")


def test_published_weights(place):
    done = place.run("imagenet-predict", "cat.jpg", "--pretrained")
    assert re.search(r"top_0 \([\d.]+%\): Egyptian cat", done.stdout)
    assert "model.ckpt" in place.run("imagenet-fetch", "efficientnet_lite0").stdout


@pytest.mark.parametrize("first", ["models", "tensorflow_imagenet"])
def test_models_in_a_program_with_modules_of_the_same_names(place, first):
    second = {"models": "tensorflow_imagenet", "tensorflow_imagenet": "models"}[first]
    program = (
        f"import {first}; import {second}; import common\n"
        "from tensorflow_imagenet import EfficientNetLite0\n"
        "model = EfficientNetLite0(weights='imagenet')\n"
        "assert models.MINE and common.MINE\n"
        f"model.save('{first}.keras')\n"
        "import keras; keras.saving.load_model(f'models.keras')\n"
    )
    place.run("python", "-c", program)
