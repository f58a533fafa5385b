"""Which key of a checkpoint each variable is read from, and why one cannot be.

No TensorFlow here: names and shapes in, a plan or one error out.

What to do about a checkpoint whose names do not fit, in the flags of the running command.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from absl import logging

from checkpoints.tensor_roles import (
    AVERAGE,
    MOVING_AVERAGE,
    OBJECT_GRAPH,
    SLOT,
    STATISTICS,
    WEIGHT,
    role,
)
from common.errors import DataError, UsageError


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
    "write it under the network's names with python -m models.pretrained MODEL --from=CHECKPOINT "
    "--directory=DIR (and --num_classes where it has not 1000), and give "
    "--init_checkpoint=DIR/MODEL/model.ckpt"
)
INITIALIZATION = Advice(
    averages=_IMPORT, prefix=_IMPORT, otherwise="give the --model it was trained with"
)

RESUMPTION = Advice(
    averages="start a new --train_dir",
    prefix="start a new --train_dir",
    otherwise="give the --model it was trained with, or a new --train_dir",
)


# Outputs of networks of ImageNet without and with a class for the background, the first.
_IMAGENET_OUTPUTS = frozenset((1000, 1001))
_NUM_LISTED = 10

Shapes = Mapping[str, Sequence[int]]


def restore_plan(
    wanted: Shapes,
    available: Shapes,
    *,
    ckpt_scope: str | None = None,
    moving_average: bool = False,
    ignore_missing: bool = False,
    advice: Advice = EVALUATION,
) -> dict[str, str]:
    """Say which key of a checkpoint fills each variable.

    Args:
      wanted: variable name -> shape.
      available: key in the checkpoint -> shape (`checkpoints.shapes`).
      ckpt_scope: `old:new`, see `keys_to_try`.
      moving_average: read `<key>/ExponentialMovingAverage`. A batch-norm statistic without such a
        twin is read plain, as TF1's `ExponentialMovingAverage.variables_to_restore` did.
      ignore_missing: leave out variables that the checkpoint lacks, with a warning, instead of
        raising.
      advice: what errors tell to do, in terms of the command that is running.

    Returns:
      Variable name -> key, in the order of `wanted`.

    Raises:
      UsageError: `ckpt_scope` is not of the form old:new.
      DataError: a variable is missing (or all are, even with `ignore_missing`), or has another
        shape.
    """
    if moving_average and wanted and not any(role(key, ()) == AVERAGE for key in available):
        raise DataError(
            "the checkpoint has no moving averages (no key ends in "
            f"/{MOVING_AVERAGE}): leave out --moving_average_decay to use its plain weights"
        )
    plan, missing = {}, []
    for name in wanted:
        keys = [*_candidates(name, ckpt_scope, moving_average)]
        key = next((key for key in keys if key in available), None)
        if key is None:
            missing.append(name)
        else:
            plan[name] = key
    if missing and (not ignore_missing or not plan):
        raise DataError(_missing_report(missing, wanted, available, plan, moving_average, advice))
    _check_shapes(plan, wanted, available)
    if missing:
        logging.warning(
            "%d of %d variables are not in the checkpoint and keep their values: %s",
            *(len(missing), len(wanted), _listed(missing)),
        )
    return plan


def resized_head(wanted: Shapes, available: Shapes) -> list[str]:
    """Variables that the checkpoint has for another number of classes, and that start anew.

    They differ in their last axis alone, all by the same change, as the kernel and the bias of a
    classifier do. None where that change is ImageNet's background class.
    """
    differing = [
        name
        for name, shape in wanted.items()
        if name in available and tuple(available[name]) != tuple(shape)
    ]
    change = class_counts([(available[name], wanted[name]) for name in differing])
    return [] if change is None or is_background_class(*change) else differing


def class_counts(
    differing: Sequence[tuple[Sequence[int], Sequence[int]]],
) -> tuple[int, int] | None:
    """The two numbers of outputs, if nothing but that sets pairs of differing shapes apart.

    Another number of classes changes the last axis of the last layer, and nothing else. (Another
    width of an inner layer changes another axis of the next one.)
    """
    pairs = [(tuple(theirs), tuple(ours)) for theirs, ours in differing]
    if not all(len(a) == len(b) > 0 and a[:-1] == b[:-1] for a, b in pairs):
        return None
    changes = {(theirs[-1], ours[-1]) for theirs, ours in pairs}
    return changes.pop() if len(changes) == 1 else None


def is_background_class(theirs: int, ours: int) -> bool:
    """Whether one of two numbers of outputs has a class for the background, and one has not."""
    return {theirs, ours} == _IMAGENET_OUTPUTS


def background_class_reason(theirs: int, ours: int) -> str:
    """What to tell where that is so."""
    return (
        f"the checkpoint has {theirs} outputs, the network {ours}, so one of them counts a "
        "background class: give the --model it was trained with"
    )


def keys_to_try(name: str, ckpt_scope: str | None) -> list[str]:
    """Keys that may hold `name` under `--ckpt_scope=old:new`; the first one present counts.

    1. As the ancestor did (tf-imagenet, trainer_utils.py): every occurrence of the plain substring
       `old` becomes `new`; an empty `new` strips it, and a name without `old` stays as it is.
    2. The ancestor's own graphs put `v/cg/` before every name and users type
       `--ckpt_scope=v/cg/:v0/cg/` to read what a replicated run wrote. Our names have no such
       prefix. A name without `old` is therefore also looked for with `new` before it, so that this
       very command reads those checkpoints here: `conv0/kernel` finds `v0/cg/conv0/kernel`.

    An empty `old` (`:v0/cg/`) puts `new` before every name.

    Raises:
      UsageError: `ckpt_scope` is not of the form old:new (`flag_values.parse_ckpt_scope`).
    """
    if ckpt_scope is None:
        return [name]
    try:
        old, new = parse_ckpt_scope(ckpt_scope)
    except ValueError as error:
        raise UsageError(f"--ckpt_scope={ckpt_scope} {error}") from None
    if old and old in name:
        return [name.replace(old, new)]
    prefixed = [new + name, f"{new}/{name}"] if new else []
    return [name, *prefixed] if old else prefixed


def unused_weights(available: Collection[str], used: Collection[str]) -> list[str]:
    """Keys of weights that no variable reads; slots, averages and run state are not weights."""
    used = set(used)
    return [key for key in sorted(available) if key not in used and role(key, available) == WEIGHT]


def _candidates(name: str, ckpt_scope: str | None, moving_average: bool) -> Iterator[str]:
    keys = keys_to_try(name, ckpt_scope)
    if moving_average:
        yield from (f"{key}/{MOVING_AVERAGE}" for key in keys)
    if not moving_average or name.endswith(STATISTICS):
        yield from keys


def _is_slot(name: str, names: Collection[str]) -> bool:
    return role(name, names) in (SLOT, AVERAGE)


def _missing_report(
    missing: list[str],
    wanted: Shapes,
    available: Shapes,
    plan: Mapping[str, str],
    moving_average: bool,
    advice: Advice,
) -> str:
    """A first line that says what to do, then what is missing and what was left over."""
    unused = unused_weights(available, plan.values())
    lines = [
        f"{len(missing)} of {len(wanted)} variables are not in the checkpoint: "
        + _reason_and_advice(missing, wanted, available, unused, moving_average, advice),
        f"  missing: {_listed(missing)}",
    ]
    if unused:
        lines.append(f"  unused, {len(unused)} in the checkpoint: {_listed(unused)}")
    return "\n".join(lines)


def _reason_and_advice(
    missing: list[str],
    wanted: Shapes,
    available: Shapes,
    unused: list[str],
    moving_average: bool,
    advice: Advice,
) -> str:
    """The likeliest reason, and the way out."""
    if OBJECT_GRAPH in available:
        return (
            "it was written by tf.train.Checkpoint or Keras, by object and not by name; only "
            "checkpoints of named variables can be read"
        )
    if not moving_average and all(f"{name}/{MOVING_AVERAGE}" in available for name in missing):
        return f"it holds their moving averages only; {advice.averages}"
    if moving_average and all(name in available for name in missing):
        return "it has no moving averages of them; leave out --moving_average_decay"
    if all(_is_slot(name, wanted) for name in missing):
        return (
            "they are slots of the optimizer or moving averages; give the --optimizer and the "
            "--moving_average_decay it was trained with, or start a run with --init_checkpoint"
        )
    scope = _scope_that_fits(missing[0], wanted, available, moving_average)
    if scope:
        return f"its names differ by a prefix; {advice.prefix.format(scope=scope)}"
    theirs, ours = _roots(unused), _roots(wanted)
    if len(missing) == len(wanted) and theirs and not set(theirs) & set(ours):
        return (
            f"it is another model's (its names start with {_listed(theirs)}, the network's with "
            f"{_listed(ours)})"
        )
    return advice.otherwise


def _scope_that_fits(
    missing: str, wanted: Shapes, available: Shapes, moving_average: bool
) -> str | None:
    """The --ckpt_scope that finds every variable, if a prefix is all that differs."""
    plain = {key.removesuffix(f"/{MOVING_AVERAGE}") for key in available}
    added = [
        f":{key.removesuffix(missing)}" for key in sorted(plain) if key.endswith("/" + missing)
    ]
    parts = missing.split("/")
    stripped = ["/".join(parts[:i]) + "/:" for i in range(1, len(parts))]
    for scope in added + stripped:
        if scope.count(":") > 1:  # A prefix with a colon cannot be told as old:new.
            continue
        tried = ([*_candidates(name, scope, moving_average)] for name in wanted)
        if all(any(key in available for key in keys) for keys in tried):
            return scope
    return None


def _roots(names: Collection[str]) -> list[str]:
    return sorted({name.split("/")[0] + "/" for name in names if "/" in name})


def _check_shapes(plan: Mapping[str, str], wanted: Shapes, available: Shapes) -> None:
    differing = [
        (name, tuple(available[key]), tuple(wanted[name]))
        for name, key in plan.items()
        if tuple(available[key]) != tuple(wanted[name])
    ]
    if not differing:
        return
    lines = [
        f"  {name}: {_dimensions(theirs)} in the checkpoint, {_dimensions(ours)} in the network"
        for name, theirs, ours in differing[:_NUM_LISTED]
    ]
    if len(differing) > _NUM_LISTED:
        lines.append(f"  and {len(differing) - _NUM_LISTED} more")
    weights = [(a, b) for name, a, b in differing if not _is_slot(name, wanted)]
    raise DataError("\n".join([_reason_of_shapes(weights, len(differing), len(plan)), *lines]))


def _reason_of_shapes(
    weights: Sequence[tuple[Sequence[int], Sequence[int]]], num_differing: int, num_read: int
) -> str:
    change = class_counts(weights)
    if change is None:
        return (
            f"{num_differing} of {num_read} variables have another shape in the checkpoint: it is "
            "of another model or size; give the --model it was trained with"
        )
    theirs, ours = change
    if is_background_class(theirs, ours):
        return background_class_reason(theirs, ours)
    return (
        f"the checkpoint has {theirs} classes, the network {ours}: give the data set it was "
        f"trained on, or --num_classes={theirs}"
    )


def _dimensions(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NUM_LISTED} more" if len(names) > _NUM_LISTED else ""
    return ", ".join(names[:_NUM_LISTED]) + more


def parse_ckpt_scope(text: str) -> tuple[str, str]:
    """`"v/cg/:v0/cg/"` -> old "v/cg/" and new "v0/cg/"; one of them may be empty."""
    old, colon, new = text.partition(":")
    if not colon or not (old or new) or ":" in new:
        raise ValueError("is not old:new, for example v/cg/:v0/cg/")
    return old, new
