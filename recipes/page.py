"""The page of the recipes: `python -m recipes.page` writes docs/recipes.md and its picture."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmark_cnn.step.learning_rate import initial_rate
from common import commands, files, process
from recipes import catalog
from recipes.catalog import MEASURED, NOT_RUN, Recipe
from recipes.schedules import Rate, deviation, plan_of

PAGE = catalog.FOLDER.parent / "docs" / "recipes.md"
PICTURE = "learning_rates.png"
COLUMNS = (
    "recipe", "network", "pixels", "epochs", "images an update", "optimizer", "largest rate",
    "published top-1", "rate from published",
)  # fmt: skip
_MEASURED_COLUMN = "run here"
TABLE_BEGINS = "<!-- table: python -m recipes.page -->\n"
TABLE_ENDS = "<!-- end of table -->\n"


def summary(recipe: Recipe, rates: Sequence[Rate]) -> tuple[str, ...]:
    """Returns the cells of a recipe's row, by COLUMNS."""
    params, plan = recipe.params, plan_of(recipe)
    difference = deviation(recipe.name, rates)
    factors = [
        f"{plan.batch_per_tower}",
        f"{plan.num_towers} GPUs" if plan.num_towers > 1 else "1 GPU",
    ]
    if params.hardware.device == "cpu":
        factors[1] = f"{plan.num_towers} on the CPU"
    if plan.micro_batches > 1:
        factors.append(f"{plan.micro_batches} batches")
    return (
        recipe.name,
        params.network.model,
        _pixels(recipe),
        f"{plan.num_epochs:.4g}",
        f"{plan.global_batch:,} = {' x '.join(factors)}",
        params.optimization.optimizer,
        f"{_largest(recipe, rates):.4g}",
        recipe.published_accuracy or "-",
        "-" if difference is None else f"{difference:.1%}",
    )


def _pixels(recipe: Recipe) -> str:
    sizes = ", ".join(map(str, recipe.image_sizes))
    is_constant = recipe.image_sizes == [recipe.image_size]
    return sizes if is_constant else f"{sizes}; evaluated at {recipe.image_size}"


def _largest(recipe: Recipe, rates: Sequence[Rate]) -> float:
    """Returns the rate at the end of the warm-up, which may lie within an epoch, or a later one."""
    first = initial_rate(recipe.params.learning_rate, 0.0, recipe.global_batch)
    return max(first, *(rate.rate for rate in rates))


def with_table(page: str, recipes: Sequence[Recipe], rates: Mapping[str, Sequence[Rate]]) -> str:
    """Returns `page`, the text of docs/recipes.md, with a new table."""
    rows: list[tuple[str, ...]] = [(*COLUMNS, _MEASURED_COLUMN)]
    for recipe in recipes:
        name, *cells = summary(recipe, rates[recipe.name])
        link = f"[{name}](../{catalog.shown(recipe.path)})"
        measured = recipe.head[MEASURED]
        rows.append((link, *cells, NOT_RUN if measured.startswith(NOT_RUN) else measured))
    before, begins, rest = page.partition(TABLE_BEGINS)
    _, ends, after = rest.partition(TABLE_ENDS)
    if not begins or not ends:
        raise ValueError("docs/recipes.md lacks the comments around its table")
    return f"{before}{begins}\n{catalog.table(rows)}\n{ends}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the page and its picture, and prints their names; returns the exit code."""
    commands.parser("python -m recipes.page", main.__doc__).parse_args(arguments)
    return commands.run(_write)


def _write() -> None:
    with process.quiet_startup():
        from recipes import picture, schedules

    recipes = [catalog.read(catalog.path_of(name)) for name in catalog.names()]
    rates = {recipe.name: schedules.rates(recipe) for recipe in recipes}
    drawn: Path = PAGE.parent / "images" / PICTURE
    with files.write_errors(PAGE):
        files.write_text(PAGE, with_table(PAGE.read_text(encoding="utf-8"), recipes, rates))
    with files.write_errors(drawn):
        picture.draw(rates, drawn)
    print(f"written: {PAGE} and {drawn}")


if __name__ == "__main__":
    process.restart_with_defaults()
    sys.exit(main())
