"""Checks the recipes: their flags, their learning rates next to the published ones, 20 updates.

    python -m recipes.check                         # all of them: flags and learning rates
    python -m recipes.check resnet/90_epochs        # one of them, with its rate at every epoch
    python -m recipes.check --run                   # 20 updates of each, on the CPU: some minutes

Every flag file is read by the rules of train.py: a flag that the program lacks, or one without
effect, is an error. The learning rates are computed by the program and compared with formulas of
their own in recipes/published.py. A receipt (recipes/receipt.py) is of the flags as they are.
--run makes 20 updates on a few small random images, and 20 of a recipe's variant.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from common import commands, files, paths, process
from common.errors import UsageError
from recipes import catalog, receipt
from recipes.catalog import Recipe

_ADVICE = "give another folder with --output"


def main(arguments: Sequence[str] | None = None) -> int:
    """Checks the recipes that the command line names, or all; returns the exit code."""
    parser = commands.parser("python -m recipes.check", __doc__)
    parser.add_argument("recipe", nargs="*", help="names, such as resnet/90_epochs (default: all)")
    parser.add_argument("--run", action="store_true", help="make 20 updates of each")
    parser.add_argument(
        "--rates",
        action="store_true",
        help="print the learning rate at every epoch (default with the name of a recipe)",
    )
    parser.add_argument(
        "--output",
        type=paths.argument,
        default=Path("runs/recipes"),
        help="folder for learning_rates.png (default: runs/recipes)",
    )
    options = parser.parse_args(arguments)
    return commands.run(lambda: _check(options))


def _check(options: argparse.Namespace) -> None:
    found = [catalog.path_of(name) for name in options.recipe or catalog.names()]
    recipes, mistakes = _read(found)
    with files.write_errors(options.output, _ADVICE):  # before minutes of work
        files.make_writable(options.output)
    with process.quiet_startup():
        from recipes import page, schedules, trial

    if options.run:
        trial.prepare()  # before TensorFlow computes the rates
    rates = {recipe.name: schedules.rates(recipe) for recipe in recipes}
    if options.recipe or options.rates:
        for name, values in rates.items():
            print(f"{name}\n{catalog.table(schedules.rows(name, values))}")
    rows: list[tuple[str, ...]] = [(*page.COLUMNS, "ok")]
    for recipe in recipes:
        values = rates[recipe.name]
        lines = schedules.errors(recipe, values) + receipt.errors(recipe)
        if options.run and not lines:
            lines = _errors_of_run(recipe)
        rows.append((*page.summary(recipe, values), "no" if lines else "yes"))
        mistakes += lines
    print(catalog.table(rows), end="")
    _draw(rates, options.output)
    if mistakes:
        raise UsageError("\n".join(mistakes))
    done = "flags, learning rates" + (" and 20 updates" if options.run else "")
    print(f"{len(recipes)} of {len(found)} recipes are right: {done}")


def _read(found: Sequence[Path]) -> tuple[list[Recipe], list[str]]:
    """Returns the recipes that can be read, and the mistakes of the others."""
    recipes, mistakes = [], []
    for path in found:
        try:
            recipes.append(catalog.read(path))
        except UsageError as error:
            mistakes += str(error).split("\n")
    return recipes, mistakes


def _errors_of_run(recipe: Recipe) -> list[str]:
    from recipes import trial

    try:
        for flags in ([], recipe.variant) if recipe.variant else ([],):
            seconds = trial.run(recipe, flags=flags)
            name = " ".join([recipe.name, *flags])
            print(f"{name}: {trial.STEPS} updates in {seconds:.0f} s", file=sys.stderr, flush=True)
    except UsageError as error:
        return str(error).split("\n")
    return []


def _draw(rates: Mapping[str, Sequence], folder: Path) -> None:
    from recipes import page, picture

    if not rates:
        return
    path = folder / page.PICTURE
    with files.write_errors(path, _ADVICE):
        picture.draw(rates, path)
    print(f"drawn: {path}")


if __name__ == "__main__":
    process.restart_with_defaults()
    sys.exit(main())
