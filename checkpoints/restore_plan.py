"""Plans which key of a checkpoint fills each variable, or explains why one cannot be filled.

No TensorFlow here: names and shapes in, a plan or one error out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from absl import logging

from checkpoints.tensor_roles import (
    AVERAGE,
    MARK_OF_A_RUN,
    MOVING_AVERAGE,
    OBJECT_GRAPH,
    RANGE,
    SLOT,
    STATISTICS,
    WEIGHT,
    frozen,
    role,
)
from common.errors import DataError, UsageError

# Outputs of networks of ImageNet without and with a class for the background, the first.
_IMAGENET_OUTPUTS = frozenset((1000, 1001))
_NUM_LISTED = 10

Shapes = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class RestoreHints:
    """How to fix each kind of restore failure, in flags of the running command.

    averages: The checkpoint holds moving averages only. prefix: Its names differ by a prefix;
    `{scope}` is the --ckpt_scope that fits. otherwise: No reason is known.
    """

    averages: str
    prefix: str
    otherwise: str


EVALUATION = RestoreHints(
    averages="leave out --moving_average_decay=0 to read those",
    prefix="try --ckpt_scope={scope}",
    otherwise="give the --model it was trained with, map names with --ckpt_scope=old:new, or leave "
    "them at their initial values with --ignore_missing_vars",
)
_IMPORT = (
    "write it under the network's names with python -m models.pretrained MODEL --from=CHECKPOINT "
    "--directory=DIR (and --num_classes if it does not have 1000), and give "
    "--init_checkpoint=DIR/MODEL/model.ckpt"
)
INITIALIZATION = RestoreHints(
    averages=_IMPORT, prefix=_IMPORT, otherwise="give the --model it was trained with"
)
RESUMPTION = RestoreHints(
    averages="start a new --train_dir",
    prefix="start a new --train_dir",
    otherwise="give the --model it was trained with, or a new --train_dir",
)


def restore_plan(
    wanted: Shapes,
    available: Shapes,
    *,
    ckpt_scope: str | None = None,
    moving_average: bool = False,
    ignore_missing: bool = False,
    background_class: bool = False,
    hints: RestoreHints = EVALUATION,
) -> dict[str, str]:
    """Returns which key of a checkpoint fills each variable.

    Args:
        wanted: Variable name -> shape.
        available: Key in the checkpoint -> shape (`store.shapes`).
        ckpt_scope: `old:new`, see `keys_to_try`.
        moving_average: Read `<key>/ExponentialMovingAverage`. A batch-norm statistic without an
            average is read as it is, as TF1's `variables_to_restore` did, and so is a weight that
            was frozen.
        ignore_missing: Leave out variables that the checkpoint lacks, with a warning, instead of
            raising.
        background_class: Whether the network has an output that no label uses.
        hints: How error messages say to fix the failure.

    Returns:
        Variable name -> key, in the order of `wanted`.

    Raises:
        UsageError: `ckpt_scope` is not of the form old:new.
        DataError: A variable is missing (or all are, even with `ignore_missing`), or has another
            shape.
    """
    if moving_average and wanted and not any(role(key, ()) == AVERAGE for key in available):
        raise DataError(
            "the checkpoint has no moving averages (no key ends in "
            f"/{MOVING_AVERAGE}): leave out --moving_average_decay to use its raw weights"
        )
    plan, missing = {}, []
    plain = frozen(available) if moving_average else frozenset()
    for name in wanted:
        keys = [*_candidates(name, ckpt_scope, moving_average)]
        keys += [key for key in keys_to_try(name, ckpt_scope) if key in plain]
        key = next((key for key in keys if key in available), None)
        if key is None:
            missing.append(name)
        else:
            plan[name] = key
    if missing and (not ignore_missing or not plan):
        unused = unused_weights(available, plan.values())
        reason = _missing_reason(missing, wanted, available, unused, moving_average, hints)
        lines = [
            f"{len(missing)} of {len(wanted)} variables are not in the checkpoint: {reason}",
            f"  missing: {listed(missing)}",
        ]
        if unused:
            lines.append(f"  unused, {len(unused)} in the checkpoint: {listed(unused)}")
        raise DataError("\n".join(lines))
    _check_shapes(plan, wanted, available, int(background_class))
    if missing:
        logging.warning(
            "%d of %d variables are not in the checkpoint and keep their values: %s",
            *(len(missing), len(wanted), listed(missing)),
        )
    return plan


def resized_head(wanted: Shapes, available: Shapes) -> list[str]:
    """Returns the variables to initialize again, as the checkpoint has another number of classes.

    They differ in their last axis alone, all by the same change, as the kernel and the bias of a
    classifier do.
    """
    differing = [
        name
        for name, shape in wanted.items()
        if name in available and tuple(available[name]) != tuple(shape)
    ]
    change = class_counts([(available[name], wanted[name]) for name in differing])
    return [] if change is None else differing


def class_counts(
    differing: Sequence[tuple[Sequence[int], Sequence[int]]],
) -> tuple[int, int] | None:
    """Returns the two numbers of outputs if these alone explain pairs of differing shapes.

    Another number of classes changes the last axis of the last layer, and nothing else. (Another
    width of an inner layer changes another axis of the next one.)
    """
    pairs = [(tuple(theirs), tuple(ours)) for theirs, ours in differing]
    if not all(len(a) == len(b) > 0 and a[:-1] == b[:-1] for a, b in pairs):
        return None
    changes = {(theirs[-1], ours[-1]) for theirs, ours in pairs}
    return changes.pop() if len(changes) == 1 else None


def background_class_problem(theirs: int, ours: int) -> str | None:
    """Returns an error message if one of two numbers of outputs may count a background class.

    The numbers alone do not prove it: a data set may have 1001 classes. Ask only where nothing is
    known about the checkpoint and a class too many would move every label by one.
    """
    if {theirs, ours} != _IMAGENET_OUTPUTS:
        return None
    return (
        f"the checkpoint has {theirs} outputs, the network {ours}, so one of them may count a "
        "background class: give the --model it was trained with"
    )


def keys_to_try(name: str, ckpt_scope: str | None) -> list[str]:
    """Returns keys that may hold `name` under `--ckpt_scope=old:new`; the first one present counts.

    1. As in tf-imagenet (trainer_utils.py), every occurrence of the plain substring `old` becomes
       `new`; an empty `new` strips it, and a name without `old` stays as it is.
    2. The graphs of tf-imagenet put `v/cg/` before every name, and users type
       `--ckpt_scope=v/cg/:v0/cg/` to read what a replicated run wrote. Our names have no such
       prefix. A name without `old` is therefore also searched with `new` before it, so that the
       same command reads those checkpoints here: `conv0/kernel` finds `v0/cg/conv0/kernel`.

    An empty `old` (`:v0/cg/`) puts `new` before every name.

    Raises:
        UsageError: `ckpt_scope` is not of the form old:new.
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


def parse_ckpt_scope(text: str) -> tuple[str, str]:
    """Splits "v/cg/:v0/cg/" into old "v/cg/" and new "v0/cg/"; one of them may be empty.

    Raises:
        ValueError: The text has no such form.
    """
    old, colon, new = text.partition(":")
    if not colon or not (old or new) or ":" in new:
        raise ValueError("is not old:new, for example v/cg/:v0/cg/")
    return old, new


def unused_weights(available: Collection[str], used: Collection[str]) -> list[str]:
    """Returns keys of weights that no variable reads; slots, averages and run state are none."""
    used = set(used)
    return [key for key in sorted(available) if key not in used and role(key, available) == WEIGHT]


def _candidates(name: str, ckpt_scope: str | None, moving_average: bool) -> Iterator[str]:
    keys = keys_to_try(name, ckpt_scope)
    if moving_average:
        yield from (f"{key}/{MOVING_AVERAGE}" for key in keys)
    if not moving_average or name.endswith(STATISTICS):
        yield from keys


def _missing_reason(
    missing: list[str],
    wanted: Shapes,
    available: Shapes,
    unused: list[str],
    moving_average: bool,
    hints: RestoreHints,
) -> str:
    """Returns the likeliest reason and what to do about it."""
    if OBJECT_GRAPH in available:
        return (
            "it was written by tf.train.Checkpoint or Keras, which name tensors by object; only "
            "checkpoints of named variables can be read"
        )
    if all(name.removesuffix(f"/{MOVING_AVERAGE}").endswith(RANGE) for name in missing):
        return (
            "they are ranges of activations, as it was not trained with --quantization_aware: "
            "leave that out, or start a new --train_dir from its weights with --init_checkpoint"
        )
    if not moving_average and all(f"{name}/{MOVING_AVERAGE}" in available for name in missing):
        return f"it holds their moving averages only; {hints.averages}"
    if moving_average and all(name in available for name in missing):
        return "it has no moving averages of them; read the raw weights: --moving_average_decay=0"
    if all(_is_slot(name, wanted) for name in missing):
        return (
            "they are slots of the optimizer or moving averages; give the --optimizer, the "
            "--moving_average_decay and the --freeze it was trained with, or start a run with "
            "--init_checkpoint"
        )
    if MARK_OF_A_RUN in missing and not set(unused):
        return (
            "it holds weights alone, without the state of a run: start another --train_dir from "
            "them with --init_checkpoint"
        )
    scope = _scope_that_fits(missing[0], wanted, available, moving_average)
    if scope:
        return f"its names differ by a prefix; {hints.prefix.format(scope=scope)}"
    theirs, ours = _roots(unused), _roots(wanted)
    if len(missing) == len(wanted) and theirs and not set(theirs) & set(ours):
        return (
            f"it belongs to another model (its names start with {listed(theirs)}, the network's "
            f"with {listed(ours)})"
        )
    return hints.otherwise


def _scope_that_fits(
    missing: str, wanted: Shapes, available: Shapes, moving_average: bool
) -> str | None:
    """Returns the --ckpt_scope that finds every variable, if only a prefix differs."""
    plain = {key.removesuffix(f"/{MOVING_AVERAGE}") for key in available}
    added = [
        f":{key.removesuffix(missing)}" for key in sorted(plain) if key.endswith("/" + missing)
    ]
    parts = missing.split("/")
    stripped = ["/".join(parts[:i]) + "/:" for i in range(1, len(parts))]
    for scope in added + stripped:
        if scope.count(":") > 1:  # A prefix with a colon cannot be written as old:new.
            continue
        tried = ([*_candidates(name, scope, moving_average)] for name in wanted)
        if all(any(key in available for key in keys) for keys in tried):
            return scope
    return None


def _roots(names: Collection[str]) -> list[str]:
    return sorted({name.split("/")[0] + "/" for name in names if "/" in name})


def _check_shapes(
    plan: Mapping[str, str], wanted: Shapes, available: Shapes, num_unlabeled: int
) -> None:
    differing = [
        (name, tuple(available[key]), tuple(wanted[name]))
        for name, key in plan.items()
        if tuple(available[key]) != tuple(wanted[name])
    ]
    if not differing:
        return
    change = class_counts([(a, b) for name, a, b in differing if not _is_slot(name, wanted)])
    if change is None:
        reason = (
            f"{len(differing)} of {len(plan)} variables have another shape in the checkpoint, "
            "which is of another model or size; give the --model it was trained with, in its "
            "--image_size"
        )
    else:
        theirs, ours = (outputs - num_unlabeled for outputs in change)
        same = "the labels mean the same classes"
        if theirs < ours:  # it has no output for some of the labels, unless --num_classes is wrong
            same = f"the data have no more than these {theirs}"
        reason = (
            f"the checkpoint has {theirs} classes, the network {ours}: give the data set it was "
            f"trained on, or, if {same}, --num_classes={theirs}"
        )
        if set(change) == _IMAGENET_OUTPUTS:
            reason += " (if one of them counts a background class, give the --model of the other)"
    lines = [
        f"  {name}: {dimensions(theirs)} in the checkpoint, {dimensions(ours)} in the network"
        for name, theirs, ours in differing[:_NUM_LISTED]
    ]
    if len(differing) > _NUM_LISTED:
        lines.append(f"  and {len(differing) - _NUM_LISTED} more")
    raise DataError("\n".join([reason, *lines]))


def _is_slot(name: str, names: Collection[str]) -> bool:
    return role(name, names) in (SLOT, AVERAGE)


def dimensions(shape: Sequence[int]) -> str:
    """Returns a shape as error messages write it: "3x3x32"."""
    return "x".join(map(str, shape)) or "scalar"


def listed(names: Sequence[str]) -> str:
    """Returns the first names, and how many more there are."""
    more = f" and {len(names) - _NUM_LISTED} more" if len(names) > _NUM_LISTED else ""
    return ", ".join(names[:_NUM_LISTED]) + more
