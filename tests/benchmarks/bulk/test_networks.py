"""What is typed or listed becomes command lines of eval.py, checked before the first one runs."""

from __future__ import annotations

import pytest

from benchmarks.bulk import networks
from common.errors import DataError, UsageError
from models.pretrained import published


@pytest.fixture
def run(tmp_path):
    directory = tmp_path / "a run"
    directory.mkdir()
    (directory / "model.ckpt-7.index").touch()
    return directory


def test_runs_and_checkpoints_are_train_dirs_and_keep_their_order(run):
    flags = ["--device=cpu", "--data_name=digits"]
    found = networks.entries([f"{run}/model.ckpt-7", str(run), str(run)], None, flags)
    assert [entry.argv for entry in found] == [
        [f"--train_dir={run}/model.ckpt-7", *flags],
        [f"--train_dir={run}", *flags],
    ]


def test_a_pattern_is_every_network_whose_weights_are_published(run):
    flags = ["--pretrained", "--data_dir=/data"]
    found = networks.entries(["efficientnet_lite*"], None, flags)
    packed = [name for name, entry in published.entries().items() if entry.package]
    expected = [name for name in packed if name.startswith("efficientnet_lite")]
    assert len(expected) >= 3
    assert [entry.source for entry in found] == expected
    assert found[0].argv == [f"--model={expected[0]}", *flags]


def test_a_line_of_a_list_has_flags_of_its_own(run, tmp_path):
    listed = tmp_path / "networks.txt"
    lines = [
        "# the two of them",
        "efficientnet_lite0 --pretrained --image_size=256",
        "",
        f"'{run}' --dtype=bfloat16  # its averages",
        f"'{run}'",
    ]
    listed.write_text("\n".join(lines))
    found = networks.entries([], listed, ["--data_dir=/data"])
    assert [entry.words for entry in found] == [
        "--data_dir=/data --pretrained --image_size=256",
        "--data_dir=/data --dtype=bfloat16",
        "--data_dir=/data",
    ]
    assert [entry.source for entry in found] == ["efficientnet_lite0", str(run), str(run)]


@pytest.mark.parametrize(
    ("items", "flags", "kind", "words"),
    [
        ([], [], UsageError, "no network to evaluate"),
        (["lenet"], [], DataError, "need --pretrained"),
        (["runs/lenet"], [], DataError, "is no run and no checkpoint"),
        (["zzz*"], ["--pretrained"], UsageError, "matches none"),
        (["RUN"], ["--data_dirr=/data"], UsageError, "data_dir"),
        (["RUN"], ["--train_dir=x"], UsageError, "--train_dir has no effect here"),
        (["RUN"], ["data"], UsageError, "data is no flag"),
    ],
)
def test_a_mistake_is_one_line_before_anything_runs(run, items, flags, kind, words):
    items = [str(run) if item == "RUN" else item for item in items]
    with pytest.raises(kind, match=words) as caught:
        networks.entries(items, None, flags)
    assert "\n" not in str(caught.value)
