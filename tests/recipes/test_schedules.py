"""The learning rates of the recipes, next to formulas written here from the sources."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from benchmark_cnn.params.params import ExplicitFlags
from benchmark_cnn.params.validation import replace
from recipes import catalog, page, schedules
from recipes.published import PUBLISHED

IMAGES = 1_281_167


@pytest.fixture(scope="module")
def recipes() -> dict:
    return {name: catalog.read(catalog.path_of(name)) for name in catalog.names()}


@pytest.fixture(scope="module")
def rates(recipes) -> dict:
    return {name: schedules.rates(recipe) for name, recipe in recipes.items()}


def columns(rates) -> tuple[np.ndarray, np.ndarray]:
    return np.array([rate.step for rate in rates]), np.array([rate.rate for rate in rates])


def test_no_recipe_differs_from_its_published_rates(recipes, rates):
    assert [line for name in recipes for line in schedules.errors(recipes[name], rates[name])] == []


def test_every_published_formula_belongs_to_a_recipe_and_all_but_our_own_have_one(recipes):
    of_the_project = {
        name for name, recipe in recipes.items() if recipe.head["source"] == "this project"
    }
    assert set(PUBLISHED) == set(recipes) - of_the_project


def test_efficientnet_lite0_has_the_rates_of_the_official_program(rates):
    steps, values = columns(rates["efficientnet_lite/lite0"])
    # main.py: 218,949 updates of 2,048 images, 0.016 for 256 images, decays counted from update 0.
    assert steps[-1] == 218_949
    steps_per_epoch = IMAGES / 2048
    expected = 0.016 * 8 * 0.97 ** np.floor(steps / (2.4 * steps_per_epoch))
    warming = steps < 5 * steps_per_epoch
    expected[warming] = 0.016 * 8 * steps[warming] / (5 * steps_per_epoch)
    # The program counts whole updates: 3,127 instead of 3,127.8 of warm-up.
    np.testing.assert_allclose(values, expected, rtol=3e-4)
    assert values[-1] == pytest.approx(0.128 * 0.97**145)  # 0.00155, after 145 decays


def test_resnet50_has_the_rates_of_tf_cnn_benchmarks(rates):
    steps, values = columns(rates["resnet/90_epochs"])
    epochs = steps * 2048 / IMAGES
    expected = np.select(
        [epochs < 5, epochs < 30, epochs < 60, epochs < 80],
        [1.024 * epochs / 5, 1.024, 0.1024, 0.01024],
        0.001024,
    )
    np.testing.assert_allclose(values, expected, rtol=3e-4)


def test_resnet50_has_the_cosine_of_nvidias_program(rates):
    steps, values = columns(rates["resnet/90_epochs_cosine"])
    total = 90 * IMAGES / 2048
    expected = 2.048 * 0.5 * (1 + np.cos(np.pi * steps / total))
    warming = steps < 8 * IMAGES / 2048
    expected[warming] = 2.048 * steps[warming] / (8 * IMAGES / 2048)
    np.testing.assert_allclose(values, expected, atol=3e-4)


def test_resnet110_on_cifar10_begins_low_and_drops_after_whole_thousands_of_updates(rates):
    steps, values = columns(rates["cifar10/resnet110"])
    expected = np.select([steps < 400, steps < 32_000, steps < 48_000], [0.01, 0.1, 0.01], 0.001)
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    assert steps[-1] == 63_999


def test_there_is_a_rate_at_the_beginning_of_every_epoch(rates):
    values = rates["efficientnet_lite/lite0"]
    assert len(values) == 351
    steps_per_epoch = IMAGES / 2048
    assert [value.step for value in values[:-1]] == [
        math.ceil(epoch * steps_per_epoch) for epoch in range(350)
    ]
    assert [math.floor(value.epoch) for value in values[:-1]] == list(range(350))


def test_a_rate_that_is_not_the_published_one_is_a_mistake(recipes):
    recipe = recipes["resnet/90_epochs_cosine"]
    changed = replace(recipe.params, num_learning_rate_warmup_epochs=5.0)
    wrong = dataclasses.replace(recipe, flags=ExplicitFlags(changed))
    (line,) = schedules.errors(wrong, schedules.rates(wrong))
    assert "its learning rate differs from the published one" in line
    assert line.startswith("recipes/resnet/90_epochs_cosine.flags: ")


def test_the_page_has_the_table_of_the_recipes(recipes, rates):
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.with_table(text, list(recipes.values()), rates) == text, "run `make docs-recipes`"
    assert (page.PAGE.parent / "images" / page.PICTURE).is_file()
