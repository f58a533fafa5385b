"""A small run to evaluate."""

from __future__ import annotations

import contextlib
import io

import pytest

import train


@pytest.fixture(scope="package")
def digits_run(tmp_path_factory):
    """A run of lenet on digits, with averages, of eight steps."""
    directory = tmp_path_factory.mktemp("bulk")
    argv = [
        "--model=lenet", "--device=cpu", "--batch_size=16", "--num_batches=8",
        "--data_name=digits", f"--data_dir={directory}/data", f"--train_dir={directory}/run",
        "--learning_rate=0.02", "--moving_average_decay=0.9",
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        assert train.main(argv) == 0
    return directory / "run"
