"""The commands that `pip install` puts on the PATH: `imagenet-train` is train.py, and so on."""

from __future__ import annotations

import os
import runpy
import sys

from common import installation

# Each command and its module. setup.py makes the commands, and has messages name them.
COMMANDS = {
    "imagenet-train": "train",
    "imagenet-eval": "eval",
    "imagenet-predict": "prediction",
    "imagenet-accuracy": "accuracy",
    "imagenet-export": "export",
    "imagenet-convert": "download_and_convert_imagenet",
    "imagenet-verify": "preprocessing.verify",
    "imagenet-fetch": "models.pretrained",
    "imagenet-doctor": "benchmark_cnn.doctor",
}


def main() -> None:
    """Runs the module of the command that was typed, as `python -m` does; exits with its code."""
    name = os.path.basename(sys.argv[0]).removesuffix(".exe")
    if name not in COMMANDS:
        sys.exit(f"error: {name} is not a command of this package: {', '.join(COMMANDS)}")
    runpy.run_module(installation.module(COMMANDS[name]), run_name="__main__", alter_sys=True)
