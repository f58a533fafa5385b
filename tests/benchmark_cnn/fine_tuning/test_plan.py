"""What the flags of fine-tuning mean for a network."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace

import pytest

from benchmark_cnn.fine_tuning import plan
from benchmark_cnn.flags import command_line
from benchmark_cnn.params.fine_tuning_params import FineTuningParams
from benchmark_cnn.params.validation import make_params
from common.errors import UsageError
from tests.conftest import ROOT

NORM = ("gamma", "beta", "moving_mean", "moving_variance")
NAMES = (
    "net/stem/conv/kernel",
    *(f"net/stem/bn/{name}" for name in NORM),
    "net/block_1/conv/kernel",
    *(f"net/block_1/bn/{name}" for name in NORM),
    "net/head/kernel",
    "net/head/bias",
)
TRAINABLE = tuple(name for name in NAMES if "moving" not in name)
NETWORK = SimpleNamespace(
    variables=dict.fromkeys(NAMES),
    trainable=TRAINABLE,
    groups=(TRAINABLE[:3], TRAINABLE[3:6], TRAINABLE[6:]),
)
BLOCK = frozenset(NAMES[5:10])
STATISTICS = frozenset(name for name in NAMES if "moving" in name)


def made(**flags):
    return plan.make(
        FineTuningParams(**flags), NETWORK, steps_per_epoch=Fraction(5, 2), total_steps=10
    )


def test_everything_is_trained_at_the_learning_rate_without_flags():
    assert made() == plan.EVERYTHING
    assert plan.EVERYTHING.phases == {0: frozenset()}


@pytest.mark.parametrize(
    ("pattern", "frozen"),
    [
        ("backbone", set(NAMES[:10])),
        ("block_1/", BLOCK),
        ("^net/(stem|block)", set(NAMES[:10])),
        # A batch norm that is frozen as a whole, or whose statistics are.
        ("block_1/bn/(gamma|beta)", BLOCK - {"net/block_1/conv/kernel"}),
        ("moving_", STATISTICS),
        ("stem/bn/moving_mean", {"net/stem/bn/moving_mean", "net/stem/bn/moving_variance"}),
        # Its statistics move where it is trained in part, and where only its kernel is frozen.
        ("block_1/bn/gamma", {"net/block_1/bn/gamma"}),
        ("conv/kernel", {"net/stem/conv/kernel", "net/block_1/conv/kernel"}),
    ],
)
def test_frozen_variables(pattern, frozen):
    assert made(freeze=pattern).frozen == frozen
    assert made(freeze=pattern).never_trained == frozen


def test_epochs_are_rounded_up_to_steps_and_mean_the_backbone_alone():
    head_first = made(freeze_epochs=1.0)
    assert head_first.phases == {0: frozenset(NAMES[:10]), 3: frozenset()}
    assert head_first.never_trained == frozenset()
    assert head_first.first_step("net/stem/bn/gamma") == 3
    assert head_first.first_step("net/head/bias") == 0
    assert made(freeze="block_1/", freeze_epochs=2).phases == {0: BLOCK, 5: frozenset()}


def test_rates_fall_with_the_distance_from_the_classifier():
    fine_tuning = made(layer_decay=0.5, backbone_learning_rate_multiplier=0.1)
    rates = [fine_tuning.rate(name) for name in TRAINABLE]
    assert rates == pytest.approx([0.1 * 0.5**2] * 3 + [0.1 * 0.5] * 3 + [1, 1])
    assert made(layer_decay=0.5, freeze="stem").rates.keys() == set(TRAINABLE[3:6])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            {"freeze": "blocks_1/"},
            "--freeze=blocks_1/ matches no variable of the network; the nearest names are "
            "net/block_1/conv/kernel, net/block_1/bn/gamma",
        ),
        (
            {"freeze": "net"},
            "--freeze=net matches all variables, so that nothing is trained: leave out at least "
            "the classifier's, net/head/kernel, net/head/bias, as --freeze=backbone does",
        ),
        (
            {"freeze_epochs": 4},
            "--freeze_epochs=4 is the whole run, which ends after 4 epochs: give "
            "--freeze=backbone without it, or train longer",
        ),
        (
            {"freeze": "stem|block", "layer_decay": 0.7},
            "--layer_decay has no effect with --freeze=stem|block, which trains the classifier",
        ),
    ],
)
def test_flags_that_cannot_be_meant(flags, message):
    with pytest.raises(UsageError) as error:
        made(**flags)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"freeze": "("}, r"--freeze=\( is not a regular expression"),
        (
            {"freeze": "backbone", "layer_decay": 0.7},
            "--layer_decay has no effect with --freeze=backbone, unless --freeze_epochs ends it",
        ),
        ({"forward_only": True, "freeze": "stem"}, "--freeze has no effect with --forward_only"),
        ({"layer_decay": 1.5}, "--layer_decay=1.5"),
        ({"backbone_learning_rate_multiplier": 0.0}, "--backbone_learning_rate_multiplier=0"),
    ],
)
def test_contradictions_are_found_without_a_network(flags, message):
    with pytest.raises(UsageError, match=message):
        make_params(**flags)


def test_the_recipe_leaves_the_length_to_the_command_line():
    recipe = f"--flagfile={ROOT / 'recipes/fine_tune.flags'}"
    where = ("--data_dir=photos", "--train_dir=run")
    params = command_line.parse("train.py", [recipe, *where]).params
    assert params.fine_tuning.freeze_epochs == 1
    assert (params.run.num_batches, params.run.num_epochs) == (1500, None)
    longer = command_line.parse("train.py", [recipe, *where, "--num_epochs=50"]).params
    assert (longer.run.num_batches, longer.run.num_epochs) == (None, 50)
