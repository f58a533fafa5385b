"""Flags of the run's length, the learning rate and the updates."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark_cnn.params.flag import flag
from benchmark_cnn.params.values import parse_pattern, parse_piecewise_schedule

SCHEDULES = (
    "constant", "exponential", "piecewise", "cosine", "cosine_restarts", "polynomial", "plateau",
)  # fmt: skip
OPTIMIZERS = ("sgd", "momentum", "rmsprop", "adam", "adamw", "lars", "lamb", "lion")
_WEIGHT_DECAY, _DECOUPLED_WEIGHT_DECAY = 4e-5, 0.01


@dataclass(frozen=True)
class RunParams:
    """Length of the run, work of a step, and evaluations during training."""

    num_batches: int | None = flag(
        None,
        "Total number of updates, without warm-up; a resumed run makes the remaining ones.",
        lower=1,
        when_none="the length of num_epochs, or 100 for synthetic images, else 90 epochs",
    )
    num_epochs: float | None = flag(
        None,
        "Passes over the training set; may have a fraction.",
        above=0,
        when_none="the length of num_batches",
    )
    num_warmup_batches: int | None = flag(
        None,
        "Untimed updates at the start of a benchmark.",
        lower=0,
        when_none="10 for synthetic images without train_dir, else 0",
    )
    steps_per_loop: int = flag(
        1, "Updates per call into TensorFlow; more of them reduce the overhead of Python.", lower=1
    )
    gradient_accumulation_steps: int = flag(
        1, "Batches per tower whose gradients are averaged for one update.", lower=1
    )
    learning_rate_finder: bool = flag(
        False,
        "Instead of training, make 100 steps with growing learning rates, draw their losses and "
        "propose a learning rate. Nothing else is saved.",
    )
    forward_only: bool = flag(
        False, "Benchmark the forward pass alone; nothing is trained or saved."
    )
    folds: int | None = flag(
        None,
        "Cross-validation: divide a folder of photos into this many parts, and train as many runs, "
        "in train_dir/fold_1 and so on. Each part tests one of them.",
        lower=2,
        when_none="one run",
    )
    eval_every_epochs: float | None = flag(
        None, "Epochs between evaluations during training.", above=0, when_none="no evaluation"
    )
    eval_every_steps: int | None = flag(
        None, "Updates between evaluations during training.", lower=1, when_none="no evaluation"
    )
    stop_at_top_1_accuracy: float | None = flag(
        None,
        "Stop training when an evaluation reaches this top-1 accuracy, a fraction.",
        above=0,
        upper=1,
        when_none="never",
    )
    early_stopping_epochs: float | None = flag(
        None,
        "Stop training when so many epochs have passed without a better evaluation, by top-1 (or "
        "mean average precision), then loss. The best checkpoint is kept.",
        above=0,
        when_none="never",
    )
    on_nonfinite: str = flag(
        "stop",
        "Reaction to a gradient that is not finite: stop the run, skip that update, or return to "
        "the last checkpoint and train on with the data that follow.",
        choices=("stop", "skip", "rollback"),
    )
    hang_minutes: float = flag(
        5.0,
        "Minutes after which a step that also takes 10 times as long as usual counts as hanging: "
        "the stacks of all threads are printed and kept in train_dir. 0 watches nothing.",
        lower=0,
    )
    max_run_minutes: float | None = flag(
        None,
        "Minutes after which this process saves, stops and exits with 75, as after a signal; the "
        "same command resumes.",
        above=0,
        when_none="no limit",
    )
    spot_notice: str = flag(
        "auto",
        "Stop in the same way when EC2 announces that it takes a spot instance back; auto asks for "
        "the notice on EC2 only.",
        choices=("auto", "on", "off"),
    )


@dataclass(frozen=True)
class LearningRateParams:
    """The learning rate over the steps; it multiplies a mean over the global batch."""

    learning_rate: float | None = flag(
        None,
        "Initial learning rate (after warm-up), for a gradient that is the mean over the global "
        "batch.",
        lower=0,
        when_none="the model's; 0.001 with optimizer=adamw and lamb, 0.0001 with lion",
    )
    learning_rate_schedule: str | None = flag(
        None,
        "Schedule of the learning rate. plateau multiplies it by learning_rate_decay_factor when "
        "evaluations stop getting better.",
        choices=SCHEDULES,
        when_none="piecewise or exponential if their flags are given, else constant",
    )
    num_epochs_per_decay: float | None = flag(
        None, "Epochs between decays of the exponential schedule.", above=0, when_none="no decay"
    )
    learning_rate_decay_factor: float | None = flag(
        None,
        "Factor of each decay of the exponential and plateau schedules.",
        above=0,
        upper=1,
        when_none="no decay",
    )
    minimum_learning_rate: float = flag(
        0.0, "Lower limit of the exponential and plateau schedules.", lower=0
    )
    piecewise_learning_rate_schedule: str | None = flag(
        None,
        'Learning rates and the epochs between them, "LR;epoch;LR;epoch;...;LR", for example '
        '"0.1;30;0.01;60;0.001".',
        when_none="no piecewise schedule",
        syntax=parse_piecewise_schedule,
    )
    num_learning_rate_warmup_epochs: float = flag(0.0, "Epochs of linear warm-up from 0.", lower=0)
    learning_rate_base_batch: int | None = flag(
        None,
        "Global batch, in images, for which the learning rate is given, for example 256; the rate "
        "is scaled linearly to the actual global batch.",
        lower=1,
        when_none="the learning rate as given",
    )
    learning_rate_power: float = flag(2.0, "Exponent of the polynomial schedule.", above=0)
    learning_rate_end: float = flag(
        0.0,
        "Final learning rate of the cosine and polynomial schedules, and of each cycle of "
        "cosine_restarts.",
        lower=0,
    )
    learning_rate_cycle_epochs: float | None = flag(
        None,
        "Epochs of the first cycle of the cosine_restarts schedule; each cycle falls from the "
        "initial learning rate to the final one.",
        above=0,
        when_none="no cycles",
    )
    learning_rate_cycle_multiplier: float = flag(
        1.0, "Length of each cycle, divided by that of the cycle before.", lower=1
    )
    learning_rate_cycle_decay: float = flag(
        1.0,
        "Initial learning rate of each cycle, divided by that of the cycle before.",
        above=0,
        upper=1,
    )
    learning_rate_patience_epochs: float = flag(
        10.0,
        "Epochs without a better evaluation, by top-1 (or mean average precision), then loss, "
        "after which the plateau schedule decays; it waits as long for the next decay.",
        above=0,
    )

    @property
    def schedule(self) -> str:
        """The name of the schedule, inferred from the other flags if it is not given."""
        if self.learning_rate_schedule is not None:
            return self.learning_rate_schedule
        if self.piecewise_learning_rate_schedule is not None:
            return "piecewise"
        return "constant" if self.num_epochs_per_decay is None else "exponential"


@dataclass(frozen=True)
class OptimizationParams:
    """The loss, the optimizer, and everything between a gradient and its update."""

    optimizer: str = flag(
        "momentum",
        "Optimizer: sgd (no momentum), momentum, rmsprop and adam have TensorFlow 1's formulas, "
        "the others those of their papers.",
        choices=OPTIMIZERS,
    )
    momentum: float = flag(0.9, "Momentum of optimizer=momentum and lars.", lower=0, below=1)
    nesterov: bool = flag(True, "Use Nesterov momentum with optimizer=momentum.")
    rmsprop_decay: float = flag(0.9, "Decay per update of RMSProp's mean square.", lower=0, below=1)
    rmsprop_momentum: float = flag(0.9, "Momentum of RMSProp.", lower=0, below=1)
    rmsprop_epsilon: float = flag(
        1.0, "Epsilon of RMSProp, added to the mean square inside the root.", above=0
    )
    adam_beta1: float = flag(
        0.9, "Decay per update of the mean gradient of adam, adamw and lamb.", lower=0, below=1
    )
    adam_beta2: float = flag(
        0.999, "Decay per update of the mean square of adam, adamw and lamb.", lower=0, below=1
    )
    adam_epsilon: float = flag(
        1e-8,
        "Epsilon of adam and adamw, added outside the root; adamw's is added after the correction "
        "of the first steps.",
        above=0,
    )
    lamb_epsilon: float = flag(1e-6, "Epsilon of LAMB, added outside the root.", above=0)
    lion_beta1: float = flag(
        0.9, "Share of the earlier gradients in the direction of Lion's update.", lower=0, below=1
    )
    lion_beta2: float = flag(0.99, "Decay per update of Lion's mean gradient.", lower=0, below=1)
    lars_eeta: float = flag(0.001, "Trust coefficient of LARS.", above=0)
    lars_epsilon: float = flag(0.0, "Epsilon in the denominator of LARS's trust ratio.", lower=0)
    weight_decay: float | None = flag(
        None,
        "Weight decay w: adds 0.5 * w * |v|^2 to the loss for each kernel v, for any number of "
        "towers; never for batch norm. adamw, lamb and lion add w * v to their update instead.",
        lower=0,
        when_none=f"{_WEIGHT_DECAY:g}; {_DECOUPLED_WEIGHT_DECAY:g} with optimizer=adamw, lamb and "
        "lion",
    )
    weight_decay_exclude: str | None = flag(
        None,
        "Regular expression: weights with a matching checkpoint name do not decay.",
        when_none="only the model's rule applies",
        syntax=parse_pattern,
    )
    decoupled_weight_decay: bool = flag(
        False,
        "Subtract learning rate * decay * weight in the update instead of adding to the loss, as "
        "adamw and lion always do.",
    )
    gradient_clip: float | None = flag(
        None,
        "Maximum norm (or value, see gradient_clip_mode) of the gradient averaged over all towers.",
        above=0,
        when_none="no clipping",
    )
    gradient_clip_mode: str = flag(
        "norm",
        "Clip by the global norm of all gradients, or each element by its value (as "
        "tf_cnn_benchmarks does).",
        choices=("norm", "value"),
    )
    loss: str = flag(
        "softmax",
        "Loss: softmax cross entropy, binary cross entropy of one sigmoid a class (the mean over "
        "the classes), or focal loss. Images of several labels need bce or focal.",
        choices=("softmax", "bce", "focal"),
        inherited=True,
    )
    focal_gamma: float = flag(
        2.0,
        "Exponent of loss=focal: the loss of an example is multiplied by (1 - p)^gamma, p the "
        "probability of its label.",
        lower=0,
        inherited=True,
    )
    bce_target_threshold: float | None = flag(
        None,
        "With loss=bce on mixed images (mixup, CutMix): each class with a larger share than this "
        "has the target 1, all others 0.",
        lower=0,
        below=1,
        when_none="the shares as targets",
    )
    class_weights: str = flag(
        "none",
        "Weight of each class in the loss: balanced (in inverse proportion to its number of "
        "training images), or a JSON or CSV file of names and weights. They are scaled to a mean "
        "of 1 over the images.",
        is_path=True,
        words=("none", "balanced"),
    )
    label_smoothing: float = flag(
        0.0, "Share of the target that is spread uniformly over all classes.", lower=0, below=1
    )
    moving_average_decay: float | None = flag(
        None,
        "Decay per update of the moving average of weights and batch-norm statistics, such as "
        "0.9999. 0 drops the average of a resumed run; with 0, eval.py evaluates raw weights.",
        lower=0,
        below=1,
        when_none="no average",
        eval=True,
    )
    moving_average_start_epoch: float = flag(
        0.0,
        "Epoch at which the moving average begins; until then it is a copy of the weights.",
        lower=0,
    )
    fp16_loss_scale: float = flag(
        32768.0, "Initial loss scale of float16 training; it adapts.", lower=1
    )
    fp16_inc_loss_scale_every_n: int = flag(
        1000, "Consecutive finite updates after which the loss scale is doubled.", lower=1
    )

    @property
    def decay(self) -> float:
        """The weight decay: the optimizer's usual one if it is not given."""
        if self.weight_decay is not None:
            return self.weight_decay
        is_decoupled = self.optimizer in ("adamw", "lamb", "lion")
        return _DECOUPLED_WEIGHT_DECAY if is_decoupled else _WEIGHT_DECAY
