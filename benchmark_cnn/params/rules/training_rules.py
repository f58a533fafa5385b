"""Rules for flags of training and of its output. Each returns a line for every contradiction.

First run and fine-tuning, then checkpoints, reports and evaluation.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import os

from benchmark_cnn.params.fine_tuning_params import BACKBONE
from benchmark_cnn.params.output_params import FLIP
from benchmark_cnn.params.params import ExplicitFlags
from benchmark_cnn.params.values import LOGGERS, parse_log_to
from common import paths

# Of each pair, the one typed on the command line replaces the other of a flag file.
ALTERNATIVES = (("num_batches", "num_epochs"), ("eval_every_epochs", "eval_every_steps"))
_OF_TRAINING_ONLY = (
    "sync_batch_norm",
    "all_reduce_spec",
    "gradient_accumulation_steps",
    "eval_every_epochs",
    "eval_every_steps",
    "stop_at_top_1_accuracy",
    "early_stopping_epochs",
    "dropout_rate",
    "drop_path_rate",
    "image_size_schedule",
    "recompute",
    "quantization_aware",
    "on_nonfinite",
    "print_training_accuracy",
    "save_summaries_steps",
    "summary_verbosity",
)
_OF_FEATURES = ("teacher_features", "teacher_features_weight")


def run_length(given: ExplicitFlags) -> list[str]:
    return given.exclusive_errors("num_batches", "num_epochs")


def cross_validation(given: ExplicitFlags) -> list[str]:
    folds = given.params.run.folds
    if folds is None:
        return []
    train_dir, data_dir = given.params.checkpoint.train_dir, given.params.data.data_dir
    lines = []
    if train_dir is None or paths.is_remote(train_dir):
        lines.append(f"--folds={folds} needs a local --train_dir, for its runs and their table")
    if data_dir is None:
        lines.append(f"--folds={folds} needs --data_dir, a folder of photos to divide")
    why = f"with --folds={folds}, which tests each photo once"
    lines += given.unused_flag_errors(["test_fraction", "data_subset"], why, because_of=["folds"])
    if given.params.hardware.variable_update == "collective_all_reduce":
        lines.append("--folds trains on one machine: leave out --variable_update or --folds")
    return lines


def evaluation_cadence(given: ExplicitFlags) -> list[str]:
    run = given.params.run
    never = run.eval_every_epochs is None and run.eval_every_steps is None
    lines = [
        f"--{name} needs --eval_every_epochs or --eval_every_steps"
        for name in ("stop_at_top_1_accuracy", "early_stopping_epochs")
        if never and given.value(name) is not None
    ]
    if lines:
        return lines
    return given.exclusive_errors("eval_every_epochs", "eval_every_steps")


def learning_rate_finder(given: ExplicitFlags) -> list[str]:
    params = given.params
    if not params.run.learning_rate_finder:
        return []
    lines = given.exclusive_errors("learning_rate_finder", "forward_only")
    if params.hardware.variable_update == "collective_all_reduce":
        lines.append(
            "--learning_rate_finder cannot be used with --variable_update=collective_all_reduce: "
            "run it on one machine, with --gradient_accumulation_steps for the global batch"
        )
    return lines


def warmup_batches(given: ExplicitFlags) -> list[str]:
    if given.params.checkpoint.train_dir is None or not given.is_set_on("num_warmup_batches"):
        return []
    return [
        "--num_warmup_batches is for benchmarks and cannot be used with --train_dir; a training "
        "run warms up its learning rate with --num_learning_rate_warmup_epochs"
    ]


def loop_length(given: ExplicitFlags) -> list[str]:
    params = given.params
    steps = params.run.steps_per_loop
    cadences = {
        "display_every": params.report.display_every,
        "save_summaries_steps": params.report.save_summaries_steps,
        "save_model_steps": params.checkpoint.save_model_steps,
        "eval_every_steps": params.run.eval_every_steps,
    }
    return [
        f"--steps_per_loop={steps} does not divide --{name}={every}; make the latter a multiple"
        for name, every in cadences.items()
        if every is not None and every % steps
    ]


def forward_only(given: ExplicitFlags) -> list[str]:
    params = given.params
    if not params.run.forward_only:
        return []
    trained = (params.learning_rate, params.optimization, params.fine_tuning, params.checkpoint)
    trained += (params.distillation,)
    names = [field.name for group in trained for field in dataclasses.fields(group)]
    return given.unused_flag_errors(
        (*names, *_OF_TRAINING_ONLY),
        "with --forward_only, which trains nothing",
        because_of=["forward_only"],
    )


def rates_of_backbone(given: ExplicitFlags) -> list[str]:
    flags = given.params.fine_tuning
    if flags.freeze != BACKBONE or flags.freeze_epochs is not None:
        return []
    return given.unused_flag_errors(
        ["backbone_learning_rate_multiplier", "layer_decay"],
        f"with --freeze={BACKBONE}, unless --freeze_epochs ends it",
        because_of=["freeze", "freeze_epochs"],
    )


def distillation(given: ExplicitFlags) -> list[str]:
    flags, loss = given.params.distillation, given.params.optimization.loss
    if not flags.has_teacher:
        names = ("distillation_temperature", "hard_label_share", *_OF_FEATURES)
        return given.unused_flag_errors(names, "without --teacher or --teacher_checkpoint")
    if loss == "bce":
        return [
            "--loss=bce cannot be used with a teacher, whose soft targets are those of a softmax"
        ]
    lines = given.exclusive_errors("teacher_features", "recompute")
    if flags.teacher_features is None:
        lines += given.unused_flag_errors(_OF_FEATURES[1:], "without --teacher_features")
    if flags.hard_label_share:
        return lines
    names = ("class_weights", "label_smoothing", "focal_gamma")
    why = "with --hard_label_share=0, which leaves out the loss of the labels"
    lines += given.unused_flag_errors(names, why, because_of=["hard_label_share"])
    return lines + ([f"--loss={loss} has no effect {why}"] if loss != "softmax" else [])


def quantization(given: ExplicitFlags) -> list[str]:
    network, features = given.params.network, given.params.distillation.teacher_features
    if not network.quantization_aware:
        return []
    why = "cannot be used with --quantization_aware, "
    answers = {
        f"--dtype={network.dtype} {why}which rounds in float32": network.dtype != "float32",
        f"--teacher_features={features} {why}whose features are rounded: learn them in float": (
            features is not None
        ),
    }
    return [line for line, is_wrong in answers.items() if is_wrong]


_FLAGS_OF_DIRECTORY = (
    "save_model_secs",
    "save_model_steps",
    "keep_checkpoints",
    "fresh",
    "save_summaries_steps",
    "summary_verbosity",
    "log_to",
    "profile_steps",
)
_FLAGS_OF_SEVERAL_CHECKPOINTS = ("eval_interval_secs", "all_checkpoints")
_FLAGS_OF_CHECKPOINTS = (
    *_FLAGS_OF_SEVERAL_CHECKPOINTS,
    "ckpt_scope",
    "ignore_missing_vars",
    "moving_average_decay",
    "model",
    "dtype",
    "data_format",
    "quantization_aware",
)


def no_run_directory(given: ExplicitFlags) -> list[str]:
    if given.params.checkpoint.train_dir is not None:
        return []
    if given.params.run.on_nonfinite == "rollback":
        return ["--on_nonfinite=rollback needs --train_dir, with the checkpoints to return to"]
    return given.unused_flag_errors(_FLAGS_OF_DIRECTORY, "without --train_dir: nothing is saved")


def installed_loggers(given: ExplicitFlags) -> list[str]:
    """A logger is imported where it is used, but missed before anything is trained."""
    log_to = given.params.report.log_to
    needed = [LOGGERS[name] for name in parse_log_to(log_to)] if log_to else []
    return [
        f"--log_to={log_to} needs {module}, which is not installed: pip install {package}"
        for module, package in filter(None, needed)
        if importlib.util.find_spec(module) is None
    ]


def first_weights(given: ExplicitFlags) -> list[str]:
    return given.exclusive_errors("pretrained", "init_checkpoint")


def checkpoint_to_evaluate(given: ExplicitFlags) -> list[str]:
    sources = ("pretrained", "train_dir", "saved_model")
    if not any(given.value(name) for name in sources):
        return ["--train_dir is missing: the run directory, or a checkpoint, to evaluate"]
    pairs = itertools.combinations(sources, 2)
    lines = [line for pair in pairs for line in given.exclusive_errors(*pair)]
    if not lines and given.params.checkpoint.train_dir is None:  # no run says it later
        lines = images_to_evaluate(given)
    return lines


def saved_model(given: ExplicitFlags) -> list[str]:
    """A SavedModel is a network with its weights, in the precision of its export."""
    path = given.params.evaluation.saved_model
    if path is None:
        return given.unused_flag_errors(["saved_model_mean_std"], "without --saved_model")
    return given.unused_flag_errors(
        _FLAGS_OF_CHECKPOINTS,
        f"with --saved_model={path}, which is a network with its weights",
        because_of=["saved_model"],
    )


def several_views(given: ExplicitFlags) -> list[str]:
    """All views but the mirror image replace the way in which an evaluation sees an image."""
    tta = given.params.evaluation.tta
    if tta in (None, FLIP):
        return []
    return given.unused_flag_errors(
        ("eval_method", "resize_method", "resize_kernels", "eval_crop_fraction"),
        f"with --tta={tta}, which says how images are seen",
        because_of=["tta"],
    )


def several_checkpoints(given: ExplicitFlags) -> list[str]:
    if given.params.checkpoint.pretrained:
        return given.unused_flag_errors(
            _FLAGS_OF_SEVERAL_CHECKPOINTS,
            "with --pretrained, which is one checkpoint",
            because_of=["pretrained"],
        )
    if not given.params.evaluation.eval_interval_secs:
        return []
    return given.unused_flag_errors(
        ["all_checkpoints"],
        "with --eval_interval_secs, which evaluates the newest checkpoint and later ones",
        because_of=["eval_interval_secs"],
    )


def one_checkpoint(given: ExplicitFlags) -> list[str]:
    """Looks at the disk: the prefix of a checkpoint reads like the name of a directory."""
    train_dir = given.params.checkpoint.train_dir
    if train_dir is None or os.path.isdir(train_dir):
        return []
    if not os.path.exists(train_dir) and not os.path.exists(f"{train_dir}.index"):
        return []
    return given.unused_flag_errors(
        _FLAGS_OF_SEVERAL_CHECKPOINTS,
        f"with --train_dir={train_dir}, which is one checkpoint; give its directory",
        because_of=["train_dir"],
    )


def images_to_evaluate(given: ExplicitFlags) -> list[str]:
    data = given.params.data
    if data.data_dir is not None or data.data_name is not None:
        return []
    if given.params.checkpoint.pretrained:
        return ["--data_dir is missing: the images to evaluate the published weights on"]
    if given.params.evaluation.saved_model is not None:
        return ["--data_dir is missing: the images to evaluate the SavedModel on"]
    return [
        "--data_dir is missing: the images to evaluate; the run was trained on synthetic ones, or "
        "is not known to this program"
    ]
