"""Which flags of run, learning rate and optimization go together. Each rule returns lines.

Which flags of checkpoint, report and evaluation go together. Each rule returns lines.
"""

from __future__ import annotations

import dataclasses
import os

from benchmark_cnn.params.params import ExplicitFlags
from benchmark_cnn.params.values import parse_pattern, parse_piecewise_schedule, parse_profile_steps
from checkpoints.restore_plan import parse_ckpt_scope

_OPTIMIZERS_OF_FLAG = {
    "momentum": ("momentum", "lars"),
    "nesterov": ("momentum",),
    "rmsprop_decay": ("rmsprop",),
    "rmsprop_momentum": ("rmsprop",),
    "rmsprop_epsilon": ("rmsprop",),
    "adam_beta1": ("adam",),
    "adam_beta2": ("adam",),
    "adam_epsilon": ("adam",),
    "lars_eeta": ("lars",),
    "lars_epsilon": ("lars",),
}
_SCHEDULES_OF_FLAG = {
    "learning_rate": ("constant", "exponential", "cosine", "polynomial"),
    "num_epochs_per_decay": ("exponential",),
    "learning_rate_decay_factor": ("exponential",),
    "minimum_learning_rate": ("exponential",),
    "piecewise_learning_rate_schedule": ("piecewise",),
    "learning_rate_power": ("polynomial",),
    "learning_rate_end": ("cosine", "polynomial"),
}
# Of each pair, the one typed on the command line takes the place of the other in a flag file.
ALTERNATIVES = (("num_batches", "num_epochs"), ("eval_every_epochs", "eval_every_steps"))
_OF_TRAINING_ONLY = (
    "sync_batch_norm",
    "all_reduce_spec",
    "gradient_accumulation_steps",
    "eval_every_epochs",
    "eval_every_steps",
    "stop_at_top_1_accuracy",
    "on_nonfinite",
    "print_training_accuracy",
    "save_summaries_steps",
    "summary_verbosity",
)


def run_length(given: ExplicitFlags) -> list[str]:
    run = given.params.run
    if run.num_batches is None or run.num_epochs is None:
        return []
    return ["--num_batches and --num_epochs exclude each other; give one of them"]


def evaluation_cadence(given: ExplicitFlags) -> list[str]:
    run = given.params.run
    if run.eval_every_epochs is not None and run.eval_every_steps is not None:
        return ["--eval_every_epochs and --eval_every_steps exclude each other; give one of them"]
    never = run.eval_every_epochs is None and run.eval_every_steps is None
    if never and run.stop_at_top_1_accuracy is not None:
        return ["--stop_at_top_1_accuracy needs --eval_every_epochs or --eval_every_steps"]
    return []


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
    trained = (params.learning_rate, params.optimization, params.checkpoint)
    names = [field.name for group in trained for field in dataclasses.fields(group)]
    return given.unused_flag_errors(
        (*names, *_OF_TRAINING_ONLY),
        "with --forward_only, which trains nothing",
        because_of=["forward_only"],
    )


def learning_rate_schedule(given: ExplicitFlags) -> list[str]:
    flags = given.params.learning_rate
    if flags.learning_rate_schedule is None and flags.schedule == "constant":
        return _undescribed_decay(given)
    how = f"--learning_rate_schedule={flags.schedule}"
    if flags.learning_rate_schedule is None:
        how = _DESCRIBED_BY[flags.schedule]
    lines = _missing_of_schedule(given, how)
    for name, schedules in _SCHEDULES_OF_FLAG.items():
        if flags.schedule not in schedules:
            why = f"with {how}{_ADVICE.get(name, '')}"
            lines += given.unused_flag_errors([name], why, because_of=_SCHEDULE_FLAGS)
    return lines


_SCHEDULE_FLAGS = ("learning_rate_schedule", "piecewise_learning_rate_schedule")
_DESCRIBED_BY = {
    "piecewise": "--piecewise_learning_rate_schedule",
    "exponential": "--num_epochs_per_decay",
}
_ADVICE = {"learning_rate": ", which holds the rates itself"}


def _undescribed_decay(given: ExplicitFlags) -> list[str]:
    """A constant learning rate that nobody asked for, and flags that expect another one."""
    needs = {
        "learning_rate_decay_factor": "--num_epochs_per_decay",
        "minimum_learning_rate": "--num_epochs_per_decay and --learning_rate_decay_factor",
        "learning_rate_power": "--learning_rate_schedule=polynomial",
        "learning_rate_end": "--learning_rate_schedule=cosine or polynomial",
    }
    return [f"--{name} needs {need}" for name, need in needs.items() if given.is_set_on(name)]


def _missing_of_schedule(given: ExplicitFlags, how: str) -> list[str]:
    flags = given.params.learning_rate
    needed = {
        "exponential": ("num_epochs_per_decay", "learning_rate_decay_factor"),
        "piecewise": ("piecewise_learning_rate_schedule",),
    }
    return [
        f"{how} needs --{name}"
        for name in needed.get(flags.schedule, ())
        if getattr(flags, name) is None
    ]


def piecewise_syntax(given: ExplicitFlags) -> list[str]:
    return given.syntax_errors("piecewise_learning_rate_schedule", parse_piecewise_schedule)


def minimum_learning_rate(given: ExplicitFlags) -> list[str]:
    flags = given.params.learning_rate
    if flags.learning_rate is None or flags.minimum_learning_rate <= flags.learning_rate:
        return []
    return [
        f"--minimum_learning_rate={flags.minimum_learning_rate:g} is above "
        f"--learning_rate={flags.learning_rate:g}; the learning rate could not fall"
    ]


def optimizer_flags(given: ExplicitFlags) -> list[str]:
    chosen = given.params.optimization.optimizer
    lines = []
    for name, optimizers in _OPTIMIZERS_OF_FLAG.items():
        if chosen in optimizers:
            continue
        instead = f"--optimizer={optimizers[0]}"
        if (name, chosen) == ("momentum", "rmsprop"):
            instead = "--rmsprop_momentum"
        why = f"with --optimizer={chosen}; use {instead}"
        lines += given.unused_flag_errors([name], why, because_of=["optimizer"])
    return lines


def weight_decay(given: ExplicitFlags) -> list[str]:
    flags = given.params.optimization
    lines = given.syntax_errors("weight_decay_exclude", parse_pattern)
    if flags.weight_decay == 0:
        names = ("weight_decay_exclude", "decoupled_weight_decay")
        lines += given.unused_flag_errors(
            names, "with --weight_decay=0", because_of=["weight_decay"]
        )
    if flags.decoupled_weight_decay and flags.optimizer == "lars":
        lines.append(
            "--decoupled_weight_decay cannot be used with --optimizer=lars, which decays weights "
            "in its own way"
        )
    return lines


def gradient_clip(given: ExplicitFlags) -> list[str]:
    if given.params.optimization.gradient_clip is not None:
        return []
    return given.unused_flag_errors(
        ["gradient_clip_mode"], "without --gradient_clip", because_of=["gradient_clip"]
    )


def loss_scale(given: ExplicitFlags) -> list[str]:
    dtype = given.params.network.dtype
    if dtype == "float16":
        return []
    names = ("fp16_loss_scale", "fp16_inc_loss_scale_every_n")
    return given.unused_flag_errors(
        names, f"with --dtype={dtype}; it belongs to --dtype=float16", because_of=["dtype"]
    )


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


def no_run_directory(given: ExplicitFlags) -> list[str]:
    if given.params.checkpoint.train_dir is not None:
        return []
    return given.unused_flag_errors(_FLAGS_OF_DIRECTORY, "without --train_dir: nothing is saved")


def profile_syntax(given: ExplicitFlags) -> list[str]:
    return given.syntax_errors("profile_steps", parse_profile_steps)


def checkpoint_scope_syntax(given: ExplicitFlags) -> list[str]:
    return given.syntax_errors("ckpt_scope", parse_ckpt_scope)


def first_weights(given: ExplicitFlags) -> list[str]:
    checkpoint = given.params.checkpoint
    if not checkpoint.pretrained or checkpoint.init_checkpoint is None:
        return []
    return ["--pretrained and --init_checkpoint exclude each other; give one of them"]


def checkpoint_to_evaluate(given: ExplicitFlags) -> list[str]:
    checkpoint = given.params.checkpoint
    if checkpoint.pretrained and checkpoint.train_dir is not None:
        return ["--pretrained and --train_dir exclude each other; give one of them"]
    if checkpoint.pretrained or checkpoint.train_dir is not None:
        return []
    return ["--train_dir is missing: the run directory, or a checkpoint, to evaluate"]


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
        "with --eval_interval_secs, which evaluates the newest and those to come",
        because_of=["eval_interval_secs"],
    )


def one_checkpoint(given: ExplicitFlags) -> list[str]:
    """Looks at the disk: the prefix of a checkpoint has the form of a directory's name."""
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
    return ["--data_dir is missing: the run was trained on synthetic images, or names no data"]
