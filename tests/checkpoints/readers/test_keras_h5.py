"""Damaged and crafted .h5 files end in one line, and never reach another file."""

from __future__ import annotations

import contextlib
from typing import Any

import h5py
import numpy as np
import pytest

from checkpoints.readers import keras_h5
from common.errors import DataError
from models.pretrained import importing
from tests.checkpoints.readers import h5_files

VALUES = np.arange(6, dtype=np.float32)


@pytest.fixture
def path(tmp_path):
    return h5_files.write(tmp_path / "model.h5", {"dense": {"kernel": VALUES}})


def refused(path) -> str:
    with pytest.raises(DataError) as caught:
        keras_h5.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_good_file(path):
    np.testing.assert_array_equal(keras_h5.read(path)["dense"]["kernel"], VALUES)


@pytest.mark.parametrize(
    "names",
    [
        np.asarray(3),  # TypeError
        np.asarray([b"\xff\xfe"]),  # UnicodeDecodeError
        np.asarray([b""]),
        h5py.Empty("f"),
    ],
)
@pytest.mark.parametrize("where", ["/", "dense"])
def test_invalid_names(path, names, where):
    with h5py.File(path, "a") as file:
        attribute = "layer_names" if where == "/" else "weight_names"
        file[where].attrs[attribute] = names
    refused(path)


@pytest.mark.parametrize("cut", range(0, 5000, 250))
def test_a_file_that_is_cut_off_or_overwritten(path, cut):
    content = path.read_bytes()
    path.write_bytes(content[:cut])
    refused(path)
    path.write_bytes(content[:cut] + b"\xff" * 250 + content[cut + 250 :])
    with contextlib.suppress(DataError):  # some bytes are never read
        keras_h5.read(path)


def replace_kernel(path, make):
    with h5py.File(path, "a") as file:
        group: Any = file["dense/dense"]
        del group["kernel:0"]
        make(group)


@pytest.mark.parametrize("link", [h5py.SoftLink("/elsewhere"), None])
def test_links_are_not_followed(path, tmp_path, link):
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["secret"] = VALUES
    with h5py.File(path, "a") as file:
        file["elsewhere"] = VALUES

    def make(group):
        group["kernel:0"] = link or h5py.ExternalLink(str(other), "secret")

    replace_kernel(path, make)
    assert "is a link: links are not followed" in refused(path)


def test_a_layer_may_not_be_a_link(path, tmp_path):
    other = tmp_path / "other.h5"
    path.rename(other)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"dense"]
        file["dense"] = h5py.ExternalLink(str(other), "dense")
    assert "is a link" in refused(path)


def test_an_absent_entry_is_not_called_a_link(path):
    replace_kernel(path, lambda group: None)
    assert "'dense/kernel:0' is not in the file" in refused(path)
    with h5py.File(path, "a") as file:
        del file["dense"]
    assert "'dense' is not in the file" in refused(path)


def test_raw_data_of_another_file_is_not_read(path, tmp_path):
    raw = tmp_path / "secret"
    raw.write_bytes(bytes(24))

    def make(group):
        group.create_dataset("kernel:0", (6,), "f4", external=[(str(raw), 0, 24)])

    replace_kernel(path, make)
    assert "is not an array of this file" in refused(path)


def test_an_array_that_the_file_does_not_hold(path):
    """Unwritten parts of an array take no room in a file, and all of it in memory."""

    def make(group):
        group.create_dataset("kernel:0", (2**40,), "f4", chunks=(1024,))

    replace_kernel(path, make)
    assert "claims 4,398,046,511,104 bytes" in refused(path)


def test_layers_of_another_network_name_the_file(path):
    for model in ("efficientnet_lite0", "keras_mobilenet"):
        with pytest.raises(DataError) as caught:
            importing.read(path, model)
        assert str(caught.value).startswith(f"{path}: ")
