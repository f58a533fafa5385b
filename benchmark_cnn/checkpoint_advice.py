"""What to do about a checkpoint whose names do not fit, in the flags of the running command."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Advice:
    """Ends of sentences, one for each reason why variables are not found.

    averages: the checkpoint holds moving averages only. prefix: its names differ by a prefix;
    `{scope}` is the --ckpt_scope that fits. otherwise: no reason is known.
    """

    averages: str
    prefix: str
    otherwise: str


EVALUATION = Advice(
    averages="read those with --moving_average_decay",
    prefix="try --ckpt_scope={scope}",
    otherwise="give the --model it was trained with, map names with --ckpt_scope=old:new, or leave "
    "them at their initial values with --ignore_missing_vars",
)

_IMPORT = (
    "write it under the network's names with python -m checkpoints.fetch MODEL --from=CHECKPOINT "
    "--directory=DIR (and --num_classes where it has not 1000), and give "
    "--init_checkpoint=DIR/MODEL/model.ckpt"
)
INITIALISATION = Advice(
    averages=_IMPORT, prefix=_IMPORT, otherwise="give the --model it was trained with"
)

RESUMPTION = Advice(
    averages="start a new --train_dir",
    prefix="start a new --train_dir",
    otherwise="give the --model it was trained with, or a new --train_dir",
)
