"""Evaluations with batch norm within the convolutions count as the network itself does."""

from __future__ import annotations

import contextlib
import io

import pytest

import train
from benchmark_cnn import training_setup
from benchmark_cnn.evaluation import Evaluator
from benchmark_cnn.params.data_params import DataParams
from benchmark_cnn.params.validation import make_params
from checkpoints import store
from models import registry as models
from preprocessing import registry
from tests.benchmark_cnn.networks import ForInference

pytest.importorskip("sklearn", reason="the digits are scikit-learn's")
NUM_VALIDATION = 359


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of resnet20 on digits, evaluated by the training on two towers."""
    directory = tmp_path_factory.mktemp("trained")
    argv = [
        "--model=resnet20", "--device=cpu", "--num_gpus=2", "--batch_size=16", "--image_size=8",
        "--data_name=digits", f"--data_dir={directory}/data", f"--train_dir={directory}/run",
        "--num_batches=60", "--eval_every_steps=30", "--learning_rate=0.1",
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        assert train.main(argv) == 0
    return directory


class AsTrained:
    """The network, whose form for inference is itself."""

    background_class = False

    def __init__(self, network):
        self.network = network

    def for_inference(self):
        return ForInference(self.network)


def counts(trained, *, towers: int, dtype: str, folded: bool) -> tuple[int, int]:
    """Images whose first class, and whose first five, are right."""
    _, manager = training_setup.make_manager(make_params(device="cpu", num_gpus=towers))
    with manager.scope():
        network = models.get("resnet20").build(num_classes=10, image_size=8, dtype=dtype)
    prefix = store.resolve(trained / "run")
    values = store.read_variables(prefix, {name: name for name in network.variables})
    for name, value in values.items():
        network.variables[name].assign(value)
    dataset = registry.open_dataset(DataParams(data_name="digits", data_dir=str(trained / "data")))
    network = network if folded else AsTrained(network)
    result = Evaluator(manager, network, dataset, batch_size=50, image_size=8).run()
    assert result["examples"] == NUM_VALIDATION
    return tuple(round(NUM_VALIDATION * result[name]) for name in ("top_1", "top_5"))


def test_the_counts_of_digits_are_the_networks(trained):
    wanted = counts(trained, towers=1, dtype="float32", folded=False)
    assert 0.5 * NUM_VALIDATION < wanted[0] < wanted[1]
    for towers in (1, 2):
        assert counts(trained, towers=towers, dtype="float32", folded=True) == wanted
    found = [counts(trained, towers=1, dtype="bfloat16", folded=one) for one in (True, False)]
    print(f"top-1 of {NUM_VALIDATION}: {wanted}; in bfloat16 {found[0]}, not folded {found[1]}")
    assert abs(found[0][0] - wanted[0]) <= NUM_VALIDATION // 100


def test_an_evaluation_takes_the_weights_of_its_moment(trained):
    """A training evaluates again and again; only its last step is that of the checkpoint."""
    from benchmark_cnn.reporting import metrics_log

    rows = [r for r in metrics_log.read_rows(trained / "run/metrics.csv") if "eval_top_1" in r]
    assert [int(row["global_step"]) for row in rows] == [30, 60]
    last = counts(trained, towers=1, dtype="float32", folded=False)[0] / NUM_VALIDATION
    assert rows[1]["eval_top_1"] == pytest.approx(last)
    assert rows[0]["eval_top_1"] != rows[1]["eval_top_1"]
