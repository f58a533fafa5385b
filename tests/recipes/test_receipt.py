"""A receipt holds what eval.py counted, and belongs to the flags as they are."""

from __future__ import annotations

import json
import statistics
import subprocess

import pytest

from recipes import catalog, receipt
from tests.conftest import ROOT
from tests.recipes.test_catalog import HEAD

EVALUATION = {
    "model": "lenet", "subset": "validation", "examples": 400, "weights": "raw", "image_size": 28,
    "top_5": 1.0, "loss": 0.5, "global_step": 7,
}  # fmt: skip
FLAGS = """\
--model=lenet
--data_name=digits
--device=cpu
--batch_size=16
--num_batches=4
--optimizer=momentum
--learning_rate=0.1
"""


def written(path, flags=FLAGS, measured="not run here"):
    """Writes a recipe and returns it."""
    head = HEAD.format(path=path).replace("not run here", measured)
    path.write_text(head + flags)
    return catalog.read(path)


def test_mean_and_spread_are_those_of_the_runs():
    shares = {1: 0.5, 2: 0.75, 9: 0.625}
    results = {seed: {**EVALUATION, "top_1": share} for seed, share in shares.items()}
    content = receipt.of_runs(results)
    assert content["top_1"] == {"mean": 0.625, "standard_deviation": 0.125}
    assert content["top_5"] == {"mean": 1.0, "standard_deviation": 0.0}
    assert [run["seed"] for run in content["runs"]] == [1, 2, 9]
    said = receipt.words(content)
    assert (
        said == "top-1 62.50 +- 12.50% of three runs, --tf_random_seed=1, 2, 9: 50.00, 75.00, 62.50"
    )
    alone = receipt.of_runs({3: results[2]})
    assert alone["top_1"] == {"mean": 0.75, "standard_deviation": None}
    assert receipt.words(alone) == "top-1 75.00% of one run, --tf_random_seed=3"


def test_a_receipt_of_other_flags_or_other_words_is_named(tmp_path):
    path = tmp_path / "mine.flags"
    recipe = written(path)
    assert receipt.errors(recipe) == []
    content = receipt.of_runs({1: {**EVALUATION, "top_1": 0.5}})
    content |= {"command": "python -m recipes.receipt mine"}
    content |= {"flags_sha256": receipt.flags_sha256(path)}
    receipt.path_of(path).write_text(json.dumps(content))
    (line,) = receipt.errors(recipe)
    assert line.endswith(f"is not what its receipt says: {receipt.words(content)}")
    said = written(path, measured=receipt.words(content))
    assert receipt.errors(said) == []
    other = written(path, FLAGS.replace("0.1", "0.2"), receipt.words(content))
    (line,) = receipt.errors(other)
    assert line.endswith("run python -m recipes.receipt mine again")


@pytest.mark.parametrize("path", sorted(catalog.FOLDER.rglob("*.receipt.json")), ids=str)
def test_every_receipt_belongs_to_its_recipe_and_adds_up(path):
    recipe = catalog.read(path.with_name(path.name.replace(".receipt.json", ".flags")))
    assert receipt.errors(recipe) == []
    content = json.loads(path.read_text())
    for name in ("top_1", "top_5"):
        values = [run[name] for run in content["runs"]]
        assert content[name]["mean"] == pytest.approx(statistics.mean(values), abs=1e-12)
        # An accuracy is a whole number of images.
        counts = [value * content["examples"] for value in values]
        assert counts == pytest.approx([round(count) for count in counts], abs=1e-6)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["demo", "--seeds=1,1"], "is no list of different whole numbers"),
        (["demmo"], "there is no recipe demmo; did you mean demo?"),
        (["demo", "--batch_sise=3"], "batch_size"),
    ],
)
def test_a_mistake_is_one_line(argv, words, capsys):
    try:
        code = receipt.main(argv)
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    assert words in capsys.readouterr().err


@pytest.mark.slow  # two trainings and two evaluations, each in a process
def test_two_seeds_make_a_receipt_that_eval_py_counted(tmp_path, monkeypatch):
    path = tmp_path / "mine.flags"
    written(path)
    monkeypatch.setattr(catalog, "path_of", lambda name: path)
    argv = ["mine", "--seeds=1,2", f"--runs={tmp_path}/runs", f"--data_dir={tmp_path}/data"]
    assert receipt.main(argv) == 0
    content = json.loads((tmp_path / "mine.receipt.json").read_text())
    for run in content["runs"]:
        place = tmp_path / "runs" / f"seed-{run['seed']}"
        counted = json.loads((place / "receipt" / "eval.json").read_text())
        assert run["top_1"] == counted["top_1"]
        seed = json.loads((place / "parameters.json").read_text())["tf_random_seed"]
        assert (seed, counted["global_step"]) == (run["seed"], 4)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    assert content["git"]["commit"] == commit.stdout.strip()
    assert "host" not in json.dumps(content)
    written(path, measured=receipt.words(content))
    assert receipt.errors(catalog.read(path)) == []
