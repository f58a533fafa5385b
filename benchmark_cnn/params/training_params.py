"""Parameters of the run's length, of the learning rate and of the updates."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark_cnn.params.flag import flag


@dataclass(frozen=True)
class RunParams:
    """How long the run is, what a step consists of, and when it is interrupted to evaluate."""

    num_batches: int | None = flag(
        None,
        "Updates to make in all, not counting warm-up; a resumed run makes the rest.",
        lower=1,
        when_none="num_epochs' worth; without either 100 of synthetic images, or 90 epochs",
    )
    num_epochs: float | None = flag(
        None,
        "Times to go through the training set; need not be whole.",
        above=0,
        when_none="num_batches' worth",
    )
    num_warmup_batches: int | None = flag(
        None,
        "Updates of a benchmark that come first and are not timed.",
        lower=0,
        when_none="10 with synthetic images and no train_dir, else 0",
    )
    steps_per_loop: int = flag(
        1, "Updates made per call into TensorFlow; more of them take Python off the path.", lower=1
    )
    gradient_accumulation_steps: int = flag(
        1, "Batches of each tower whose gradients are averaged into one update.", lower=1
    )
    forward_only: bool = flag(False, "Measure the forward pass alone; nothing is trained or saved.")
    eval_every_epochs: float | None = flag(
        None, "Epochs of training between evaluations.", above=0, when_none="no evaluation"
    )
    eval_every_steps: int | None = flag(
        None, "Updates between evaluations.", lower=1, when_none="no evaluation"
    )
    stop_at_top_1_accuracy: float | None = flag(
        None,
        "Top-1 accuracy of an evaluation, as a fraction, at which training stops.",
        above=0,
        upper=1,
        when_none="no such stop",
    )
    on_nonfinite: str = flag(
        "stop",
        "What to do when a gradient is not finite: stop the run, or skip that update.",
        choices=("stop", "skip"),
    )


@dataclass(frozen=True)
class LearningRateParams:
    """The learning rate as a function of the step; it multiplies a mean over the global batch."""

    learning_rate: float | None = flag(
        None,
        "Learning rate at the start (after warm-up), for a gradient that is the mean over the "
        "global batch.",
        lower=0,
        when_none="the model's",
    )
    learning_rate_schedule: str | None = flag(
        None,
        "How the learning rate changes over the run.",
        choices=("constant", "exponential", "piecewise", "cosine", "polynomial"),
        when_none="piecewise or exponential where their flags are given, else constant",
    )
    num_epochs_per_decay: float | None = flag(
        None, "Epochs between decays of the exponential schedule.", above=0, when_none="no decay"
    )
    learning_rate_decay_factor: float | None = flag(
        None,
        "Factor of each decay of the exponential schedule.",
        above=0,
        upper=1,
        when_none="no decay",
    )
    minimum_learning_rate: float = flag(
        0.0, "Learning rate below which the exponential schedule does not fall.", lower=0
    )
    piecewise_learning_rate_schedule: str | None = flag(
        None,
        'Learning rates and the epochs between them, "LR;epoch;LR;epoch;...;LR", for example '
        '"0.1;30;0.01;60;0.001".',
        when_none="no piecewise schedule",
    )
    num_learning_rate_warmup_epochs: float = flag(
        0.0, "Epochs over which the learning rate rises linearly from 0.", lower=0
    )
    learning_rate_base_batch: int | None = flag(
        None,
        "Global batch in images that the learning rate is given for, for example 256; it is "
        "multiplied by global batch / this.",
        lower=1,
        when_none="the learning rate as given",
    )
    learning_rate_power: float = flag(2.0, "Exponent of the polynomial schedule.", above=0)
    learning_rate_end: float = flag(
        0.0, "Learning rate at the end of the cosine and polynomial schedules.", lower=0
    )

    @property
    def schedule(self) -> str:
        """The schedule's name, inferred from the other flags where it is not given."""
        if self.learning_rate_schedule is not None:
            return self.learning_rate_schedule
        if self.piecewise_learning_rate_schedule is not None:
            return "piecewise"
        return "constant" if self.num_epochs_per_decay is None else "exponential"


@dataclass(frozen=True)
class OptimizationParams:
    """The loss, and what happens to a gradient until it has changed the weights."""

    optimizer: str = flag(
        "momentum",
        "Optimizer, with TensorFlow 1's formulas; sgd is plain gradient descent without momentum.",
        choices=("sgd", "momentum", "rmsprop", "adam", "lars"),
    )
    momentum: float = flag(0.9, "Momentum of optimizer=momentum and lars.", lower=0, below=1)
    nesterov: bool = flag(True, "Nesterov's form of optimizer=momentum.")
    rmsprop_decay: float = flag(0.9, "Decay per update of RMSProp's mean square.", lower=0, below=1)
    rmsprop_momentum: float = flag(0.9, "Momentum of RMSProp.", lower=0, below=1)
    rmsprop_epsilon: float = flag(
        1.0, "Number added to RMSProp's mean square, inside the root.", above=0
    )
    adam_beta1: float = flag(0.9, "Decay per update of Adam's mean gradient.", lower=0, below=1)
    adam_beta2: float = flag(0.999, "Decay per update of Adam's mean square.", lower=0, below=1)
    adam_epsilon: float = flag(1e-8, "Number added to Adam's root, outside of it.", above=0)
    lars_eeta: float = flag(0.001, "Trust coefficient of LARS.", above=0)
    lars_epsilon: float = flag(0.0, "Number added to the denominator of LARS's ratio.", lower=0)
    weight_decay: float = flag(
        4e-5,
        "Weight decay w: adds 0.5 * w * |v|^2 to the loss for each kernel v, once whatever the "
        "number of towers; never for batch norm.",
        lower=0,
    )
    weight_decay_exclude: str | None = flag(
        None,
        "Regular expression; weights whose checkpoint name it matches do not decay.",
        when_none="the model's rule alone",
    )
    decoupled_weight_decay: bool = flag(
        False, "Subtract learning rate * decay * weight at the update, not through the loss."
    )
    gradient_clip: float | None = flag(
        None,
        "Largest norm (or value, see gradient_clip_mode) of the gradient averaged over all towers.",
        above=0,
        when_none="no clipping",
    )
    gradient_clip_mode: str = flag(
        "norm",
        "Clip by the global norm of all gradients, or each element by its value (the ancestors' "
        "way).",
        choices=("norm", "value"),
    )
    label_smoothing: float = flag(
        0.0, "Share of the target that is spread evenly over all classes.", lower=0, below=1
    )
    moving_average_decay: float | None = flag(
        None,
        "Decay per update of the average of weights and batch-norm statistics, for example "
        "0.9999; given to eval.py, the average is evaluated instead of the raw weights.",
        above=0,
        below=1,
        when_none="no average",
        eval=True,
    )
    fp16_loss_scale: float = flag(
        32768.0, "Loss scale that float16 training starts with; it then adapts.", lower=1
    )
    fp16_inc_loss_scale_every_n: int = flag(
        1000, "Finite updates in a row after which the loss scale is doubled.", lower=1
    )
