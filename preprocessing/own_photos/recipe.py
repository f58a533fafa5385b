"""The flags of fine-tuning, for a command with a folder of photos and nothing about training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmark_cnn.params.params import ExplicitFlags
from common import commands, installation
from preprocessing.own_photos import runs

RECIPE = installation.HOME / "recipes" / "fine_tune.flags"
# What the recipe says, and what replaces it: a command with one of them is somebody's own recipe.
_OF_TRAINING = frozenset(
    {
        *("num_batches", "num_epochs", "batch_size", "optimizer", "learning_rate"),
        *("learning_rate_schedule", "num_learning_rate_warmup_epochs", "label_smoothing"),
        *("moving_average_decay", "freeze", "freeze_epochs", "eval_every_steps"),
        *("eval_every_epochs", "learning_rate_finder", "forward_only", "init_checkpoint"),
    }
)


def with_recipe(
    argv: Sequence[str], flags: ExplicitFlags, parse: Callable[[Sequence[str]], ExplicitFlags]
) -> tuple[Sequence[str], ExplicitFlags]:
    """Returns the command line and its flags, with those of the recipe where it gives none.

    Args:
        parse: reads a command line.
    """
    params = flags.params
    if not params.checkpoint.pretrained or not runs.is_folder_of_photos(params):
        return argv, flags
    if own := sorted(_OF_TRAINING & flags.explicit):
        if not flags.from_files:
            commands.write_line(
                f"Flags:       without recipes/{RECIPE.name}, because of --{', --'.join(own)}; "
                f"to keep the rest of it, write --flagfile=recipes/{RECIPE.name} before the others"
            )
        return argv, flags
    commands.write_line(
        f"Flags:       recipes/{RECIPE.name}, as the command says nothing about the training"
    )
    argv = [f"--flagfile={RECIPE}", *argv]
    return argv, parse(argv)
