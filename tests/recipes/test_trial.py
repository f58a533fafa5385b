"""Recipes make their updates: two in every run of the tests, all in the long ones."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from common.errors import UsageError
from recipes import catalog, check, trial
from tests.conftest import ROOT


@pytest.mark.parametrize("name", ["cifar10/resnet20", "cifar10/resnet32"])
def test_a_recipe_makes_its_updates(name):
    assert trial.run(catalog.read(catalog.path_of(name)), steps=4) > 0


def test_a_recipe_that_diverges_names_its_file(tmp_path):
    path = tmp_path / "wild.flags"
    path.write_text(
        "# Wild.\n#\n"
        f"#   command    python train.py --flagfile={path}\n"
        "#   data       1,000 training images\n#   source     this test\n"
        "#   published  not published\n#   hardware   none\n#   run here   not run here\n"
        "--model=trivial\n--batch_size=4\n--num_batches=20\n--optimizer=sgd\n--learning_rate=1e30\n"
    )
    with pytest.raises(UsageError, match=f"{re.escape(str(path))}: .*finite"):
        trial.run(catalog.read(path))


def test_the_command_prints_the_rates_of_a_recipe_and_draws_them(tmp_path, capsys):
    assert check.main(["cifar10/resnet20", f"--output={tmp_path / 'drawn'}"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"\| 82\.00 +\| 32,032 +\| 0\.01 +\| 0\.01 +\|", out)
    assert "1 of 1 recipes are right: flags, learning rates\n" in out
    assert (tmp_path / "drawn" / "learning_rates.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_fails_for_a_name_that_is_no_recipe(capsys):
    assert check.main(["resnet51"]) == 2
    assert capsys.readouterr().err.startswith("error: there is no recipe resnet51")


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_all_recipes_make_twenty_updates(tmp_path):
    command = [sys.executable, "-m", "recipes.check", "--run", f"--output={tmp_path}"]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    count = len(catalog.names())
    assert (
        f"{count} of {count} recipes are right: flags, learning rates and 20 updates" in done.stdout
    )
