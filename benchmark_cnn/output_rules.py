"""Which flags of checkpoint, report and evaluation go together. Each rule returns lines."""

from __future__ import annotations

import os

from benchmark_cnn.flag_values import parse_ckpt_scope, parse_profile_steps
from benchmark_cnn.given_flags import GivenFlags, syntax_problems

_FLAGS_OF_DIRECTORY = (
    "save_model_secs",
    "save_model_steps",
    "keep_checkpoints",
    "fresh",
    "save_summaries_steps",
    "summary_verbosity",
    "profile_steps",
)
_FLAGS_OF_SEVERAL_CHECKPOINTS = ("eval_interval_secs", "all_checkpoints")


def no_run_directory(given: GivenFlags) -> list[str]:
    if given.params.checkpoint.train_dir is not None:
        return []
    return given.without_effect_unless_from_file(
        _FLAGS_OF_DIRECTORY, "without --train_dir: nothing is saved"
    )


def profile_syntax(given: GivenFlags) -> list[str]:
    return syntax_problems("profile_steps", given.params.report.profile_steps, parse_profile_steps)


def checkpoint_scope_syntax(given: GivenFlags) -> list[str]:
    scope = given.params.evaluation.ckpt_scope
    return syntax_problems("ckpt_scope", scope, parse_ckpt_scope)


def first_weights(given: GivenFlags) -> list[str]:
    checkpoint = given.params.checkpoint
    if not checkpoint.pretrained or checkpoint.init_checkpoint is None:
        return []
    return ["--pretrained and --init_checkpoint exclude each other; give one of them"]


def checkpoint_to_evaluate(given: GivenFlags) -> list[str]:
    checkpoint = given.params.checkpoint
    if checkpoint.pretrained and checkpoint.train_dir is not None:
        return ["--pretrained and --train_dir exclude each other; give one of them"]
    if checkpoint.pretrained or checkpoint.train_dir is not None:
        return []
    return ["--train_dir is missing: the run directory, or a checkpoint, to evaluate"]


def several_checkpoints(given: GivenFlags) -> list[str]:
    if given.params.checkpoint.pretrained:
        return given.without_effect(
            _FLAGS_OF_SEVERAL_CHECKPOINTS,
            "with --pretrained, which is one checkpoint",
            because_of=["pretrained"],
        )
    if not given.params.evaluation.eval_interval_secs:
        return []
    return given.without_effect(
        ["all_checkpoints"],
        "with --eval_interval_secs, which evaluates the newest and those to come",
        because_of=["eval_interval_secs"],
    )


def one_checkpoint(given: GivenFlags) -> list[str]:
    """Looks at the disk: the prefix of a checkpoint has the form of a directory's name."""
    train_dir = given.params.checkpoint.train_dir
    if train_dir is None or os.path.isdir(train_dir):
        return []
    if not os.path.exists(train_dir) and not os.path.exists(f"{train_dir}.index"):
        return []
    return given.without_effect(
        _FLAGS_OF_SEVERAL_CHECKPOINTS,
        f"with --train_dir={train_dir}, which is one checkpoint; give its directory",
        because_of=["train_dir"],
    )


def images_to_evaluate(given: GivenFlags) -> list[str]:
    data = given.params.data
    if data.data_dir is not None or data.data_name is not None:
        return []
    return ["--data_dir is missing: the run was trained on synthetic images, or names no data"]
