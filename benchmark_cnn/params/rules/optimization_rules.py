"""Rules for flags of the learning rate, the optimizer, the loss and what lies between them."""

from __future__ import annotations

from benchmark_cnn.params.params import ExplicitFlags
from benchmark_cnn.params.training_params import SCHEDULES

_OPTIMIZERS_OF_FLAG = {
    "momentum": ("momentum", "lars"),
    "nesterov": ("momentum",),
    "rmsprop_decay": ("rmsprop",),
    "rmsprop_momentum": ("rmsprop",),
    "rmsprop_epsilon": ("rmsprop",),
    "adam_beta1": ("adam", "adamw", "lamb"),
    "adam_beta2": ("adam", "adamw", "lamb"),
    "adam_epsilon": ("adam", "adamw"),
    "lamb_epsilon": ("lamb",),
    "lion_beta1": ("lion",),
    "lion_beta2": ("lion",),
    "lars_eeta": ("lars",),
    "lars_epsilon": ("lars",),
}
# Of what a flag of one optimizer says, another optimizer may have its own.
_ITS_OWN = {
    ("momentum", "rmsprop"): "rmsprop_momentum",
    ("adam_beta1", "lion"): "lion_beta1",
    ("adam_beta2", "lion"): "lion_beta2",
    ("adam_epsilon", "lamb"): "lamb_epsilon",
}
_SCHEDULES_OF_FLAG = {
    "learning_rate": tuple(name for name in SCHEDULES if name != "piecewise"),
    "num_epochs_per_decay": ("exponential",),
    "learning_rate_decay_factor": ("exponential", "plateau"),
    "minimum_learning_rate": ("exponential", "plateau"),
    "piecewise_learning_rate_schedule": ("piecewise",),
    "learning_rate_power": ("polynomial",),
    "learning_rate_end": ("cosine", "cosine_restarts", "polynomial"),
    "learning_rate_cycle_epochs": ("cosine_restarts",),
    "learning_rate_cycle_multiplier": ("cosine_restarts",),
    "learning_rate_cycle_decay": ("cosine_restarts",),
    "learning_rate_patience_epochs": ("plateau",),
}


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
    """Flags of a schedule, when the constant learning rate is only the default."""
    if not given.unsure.isdisjoint((*_SCHEDULE_FLAGS, "num_epochs_per_decay")):
        return []  # a schedule was given, but which one is not known
    needs = {
        "learning_rate_decay_factor": "--num_epochs_per_decay",
        "minimum_learning_rate": "--num_epochs_per_decay and --learning_rate_decay_factor",
        "learning_rate_power": "--learning_rate_schedule=polynomial",
        "learning_rate_end": "--learning_rate_schedule=cosine or polynomial",
        "learning_rate_patience_epochs": "--learning_rate_schedule=plateau",
    }
    of_cycles = [name for name in _SCHEDULES_OF_FLAG if name.startswith("learning_rate_cycle_")]
    needs |= dict.fromkeys(of_cycles, "--learning_rate_schedule=cosine_restarts")
    return [f"--{name} needs {need}" for name, need in needs.items() if given.is_set_on(name)]


def _missing_of_schedule(given: ExplicitFlags, how: str) -> list[str]:
    flags = given.params.learning_rate
    needed = {
        "exponential": ("num_epochs_per_decay", "learning_rate_decay_factor"),
        "piecewise": ("piecewise_learning_rate_schedule",),
        "cosine_restarts": ("learning_rate_cycle_epochs",),
        "plateau": ("learning_rate_decay_factor",),
    }
    lines = [
        f"{how} needs --{name}"
        for name in needed.get(flags.schedule, ())
        if getattr(flags, name) is None
    ]
    run = given.params.run
    if flags.schedule == "plateau" and not (run.eval_every_epochs or run.eval_every_steps):
        lines.append(f"{how} needs --eval_every_epochs or --eval_every_steps")
    return lines


def minimum_learning_rate(given: ExplicitFlags) -> list[str]:
    flags = given.params.learning_rate
    if flags.learning_rate is None or flags.minimum_learning_rate <= flags.learning_rate:
        return []
    return [
        f"--minimum_learning_rate={flags.minimum_learning_rate:g} is above "
        f"--learning_rate={flags.learning_rate:g}; the learning rate starts below its minimum"
    ]


def optimizer_flags(given: ExplicitFlags) -> list[str]:
    chosen = given.params.optimization.optimizer
    lines = []
    for name, optimizers in _OPTIMIZERS_OF_FLAG.items():
        if chosen in optimizers:
            continue
        instead = f"--optimizer={optimizers[0]}"
        if (name, chosen) in _ITS_OWN:
            instead = f"--{_ITS_OWN[name, chosen]}"
        why = f"with --optimizer={chosen}; use {instead}"
        lines += given.unused_flag_errors([name], why, because_of=["optimizer"])
    return lines


def weight_decay(given: ExplicitFlags) -> list[str]:
    flags = given.params.optimization
    lines = []
    if flags.decay == 0:
        names = ("weight_decay_exclude", "decoupled_weight_decay")
        lines += given.unused_flag_errors(
            names, "with --weight_decay=0", because_of=["weight_decay"]
        )
    if flags.decoupled_weight_decay and flags.optimizer in ("lars", "lamb"):
        lines.append(
            f"--decoupled_weight_decay cannot be used with --optimizer={flags.optimizer}, which "
            "decays weights in its own way"
        )
    if flags.optimizer in ("adamw", "lion"):
        lines += given.unused_flag_errors(
            ["decoupled_weight_decay"],
            f"with --optimizer={flags.optimizer}, whose weight decay is always decoupled",
            because_of=["optimizer"],
        )
    return lines


def gradient_clip(given: ExplicitFlags) -> list[str]:
    if given.params.optimization.gradient_clip is not None:
        return []
    return given.unused_flag_errors(
        ["gradient_clip_mode"], "without --gradient_clip", because_of=["gradient_clip"]
    )


def moving_average(given: ExplicitFlags) -> list[str]:
    if given.params.optimization.moving_average_decay:
        return []
    return given.unused_flag_errors(
        ["moving_average_start_epoch"],
        "without --moving_average_decay",
        because_of=["moving_average_decay"],
    )


def loss_flags(given: ExplicitFlags) -> list[str]:
    lines = given.errors_unless("loss", "focal", ["focal_gamma"])
    threshold = given.params.optimization.bce_target_threshold
    if threshold is None:
        return lines
    data, how = given.params.data, f"--bce_target_threshold={threshold:g}"
    if given.params.optimization.loss != "bce":
        lines.append(f"{how} needs --loss=bce")
    if not (data.mixup_alpha or data.cutmix_alpha):
        lines.append(f"{how} needs --mixup_alpha or --cutmix_alpha, whose mixtures it is for")
    return lines + given.unused_flag_errors(
        ["label_smoothing", "class_weights"],
        f"with {how}, with which a target is 0 or 1",
        because_of=["bce_target_threshold"],
    )


def loss_scale(given: ExplicitFlags) -> list[str]:
    names = ("fp16_loss_scale", "fp16_inc_loss_scale_every_n")
    return given.errors_unless("dtype", "float16", names)
