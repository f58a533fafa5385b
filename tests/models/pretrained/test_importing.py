"""Foreign weights fill our networks one to one: none missing, none unused."""

from __future__ import annotations

import os
import tarfile
from typing import Any

import numpy as np
import pytest

from checkpoints.readers import tf1_archive
from common.errors import DataError
from models.pretrained import importing
from tests.checkpoints import tf1_saver
from tests.checkpoints.readers import h5_files
from tests.models.pretrained import official_names

EMA = "ExponentialMovingAverage"
VARIANTS = range(5)


def _shapes(variant: int) -> dict[str, tuple[int, ...]]:
    return importing.network_shapes(f"efficientnet_lite{variant}", 1000)


def _values(names, shapes, first: int = 0) -> dict[str, np.ndarray]:
    """Every tensor full of a number of its own."""
    return {name: np.full(shapes[name], first + i, np.float32) for i, name in enumerate(names)}


@pytest.fixture(scope="module", params=[3, 4])
def official(request, tmp_path_factory):
    """A checkpoint as official training wrote it: averages, two slots a weight, a step."""
    variant = request.param
    shapes, names = _shapes(variant), official_names.names(variant)
    raw = _values(names, shapes)
    averages = _values(names, shapes, first=1000)
    tensors = raw | {f"{name}/{EMA}": value for name, value in averages.items()}
    for slot in ("RMSProp", "RMSProp_1"):
        tensors |= {
            f"{name}/{slot}": np.zeros(shapes[name], np.float32)
            for name in names
            if "moving_" not in name
        }
    tensors["global_step"] = np.asarray(218949, np.int64)
    prefix = tmp_path_factory.mktemp(f"lite{variant}") / "model.ckpt"
    tf1_saver.save(prefix, tensors)
    return variant, prefix, raw, averages


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_network_has_the_published_names(variant):
    names = official_names.names(variant)
    assert len(names) == official_names.NUM_VARIABLES[variant]
    assert set(_shapes(variant)) == set(names)


def test_official_checkpoint_raw_and_averages_apart(official):
    variant, prefix, raw, averages = official
    model = f"efficientnet_lite{variant}"
    for weights, wanted in (("raw", raw), ("ema", averages), (None, averages)):
        read = importing.read(prefix, model, weights=weights)
        assert len(read) == official_names.NUM_VARIABLES[variant]
        assert read.keys() == wanted.keys()
        for name, value in wanted.items():
            np.testing.assert_array_equal(read[name], value)


def test_official_archive(official, tmp_path):
    variant, prefix, _, averages = official
    archive = tmp_path / f"efficientnet-lite{variant}.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted(prefix.parent.glob("model.ckpt.*")):
            tar.add(path, f"efficientnet-lite{variant}/{path.name}")
        tar.add(__file__, "efficientnet-lite.tflite")
    read = importing.read(archive, f"efficientnet_lite{variant}")
    name = f"efficientnet-lite{variant}/head/dense/bias"
    np.testing.assert_array_equal(read[name], averages[name])
    assert len(read) == official_names.NUM_VARIABLES[variant]


def test_another_network_is_refused_with_what_differs(official):
    variant, prefix, _, _ = official
    with pytest.raises(DataError, match=r"\d+ missing: .* \d+ unused: ") as caught:
        importing.read(prefix, f"efficientnet_lite{7 - variant}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("variant", VARIANTS)
def test_efficientnet_lite_keras_file(tmp_path, variant):
    shapes, names = _shapes(variant), official_names.names(variant)
    wanted = _values(names, shapes)
    layers: dict[str, dict[str, np.ndarray]] = {"input_1": {}}
    for name in reversed(names):  # Keras' order is another one
        layer, variable = official_names.keras_layer(name, variant)
        layers.setdefault(layer, {})[variable] = wanted[name]
    path = h5_files.write(tmp_path / "lite.h5", layers)
    read = importing.read(path, f"efficientnet_lite{variant}")
    assert len(read) == official_names.NUM_VARIABLES[variant]
    for name, value in wanted.items():
        np.testing.assert_array_equal(read[name], value, err_msg=name)


def test_efficientnet_lite_keras_file_without_top(tmp_path):
    names = official_names.names(0)
    values = _values(names, _shapes(0))
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name in names:
        layer, variable = official_names.keras_layer(name, 0)
        if layer != "predictions":
            layers.setdefault(layer, {})[variable] = values[name]
    path = h5_files.write(tmp_path / "notop.h5", layers, nested=True)
    with pytest.raises(DataError, match="2 missing: efficientnet-lite0/head/dense/kernel, "):
        importing.read(path, "efficientnet_lite0")


def test_an_archive_cannot_write_elsewhere(tmp_path):
    """A member named ../x and a link are not followed; then there is nothing left to read."""
    (tmp_path / "inner").mkdir()
    archive = tmp_path / "inner" / "bad.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(__file__, "../../escaped.index")
        link = tarfile.TarInfo("linked.index")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(DataError, match="cannot be read"):
        tf1_archive.read(archive)
    assert not list(tmp_path.rglob("escaped*"))


@pytest.mark.parametrize("mode", ["w:gz", "w:xz", "w:bz2"])
def test_a_damaged_archive_is_one_line(tmp_path, mode: Any):
    archive = tmp_path / "model.tar"
    noise = np.random.default_rng(0).bytes(200_000)
    (tmp_path / "model.ckpt.index").write_bytes(noise)
    with tarfile.open(archive, mode) as tar:
        tar.add(tmp_path / "model.ckpt.index", "model.ckpt.index")
    content = bytearray(archive.read_bytes())
    content[1000:1100] = b"\xff" * 100
    archive.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read as an archive") as caught:
        importing.read(archive, "lenet")
    assert str(archive) in str(caught.value)


def test_a_flipped_byte_that_decompresses_is_found_by_the_archive_s_checksum(tmp_path):
    archive = tmp_path / "model.tar.gz"
    (tmp_path / "model.ckpt.index").write_bytes(bytes(50_000))
    with tarfile.open(archive, "w:gz", compresslevel=0) as tar:
        tar.add(tmp_path / "model.ckpt.index", "model.ckpt.index")
    content = bytearray(archive.read_bytes())
    content[20_000] ^= 1
    archive.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read as an archive: CRC check failed"):
        importing.read(archive, "lenet")


@pytest.mark.parametrize("scope", ["v0/cg/", "outer/"])
def test_one_scope_before_all_names_is_left_out(tmp_path, scope):
    shapes = importing.network_shapes("lenet", 1000)
    wanted = _values(shapes, shapes)
    tensors = {f"{scope}{name}/{EMA}": value for name, value in wanted.items()}
    tf1_saver.save(tmp_path / "model.ckpt", tensors | {"global_step": np.asarray(1, np.int64)})
    read = importing.read(tmp_path, "lenet")
    assert read.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(read[name], value)


@pytest.mark.parametrize("mode", [None, 0o000])
def test_a_directory_that_cannot_be_listed_is_one_line(tmp_path, mode):
    folder = tmp_path / "weights"
    if mode is not None:
        folder.mkdir(mode)
        if os.access(folder, os.R_OK):
            pytest.skip("this user reads every directory")
    with pytest.raises(DataError, match=f"{folder} cannot be read: [^\\[]+$"):
        tf1_archive.only_prefix(folder)


def test_files_without_weights(tmp_path):
    nothing = tmp_path / "nothing.tar.gz"
    nothing.write_bytes(b"no archive")
    text = tmp_path / "text.h5"
    text.write_text("no weights")
    for path, message in (
        (tmp_path / "absent", "no checkpoint"),
        (tmp_path / "absent.h5", "no file"),
        (nothing, "cannot be read as an archive"),
        (text, "cannot be read as .h5"),
        (tmp_path, "must hold one checkpoint, and holds none"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            importing.read(path, "efficientnet_lite0")
        assert str(path) in str(caught.value)
