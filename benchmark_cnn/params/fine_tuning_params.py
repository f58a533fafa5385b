"""Flags of fine-tuning and distillation: what a run learns from besides its labels."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark_cnn.params.flag import flag
from benchmark_cnn.params.values import parse_layer_pairs, parse_pattern

BACKBONE = "backbone"
PUBLISHED_TEACHER = "published"


@dataclass(frozen=True)
class FineTuningParams:
    """What is trained of a network that has learned already, and at which rate."""

    freeze: str | None = flag(
        None,
        "Regular expression: variables with a matching checkpoint name are not trained; "
        f"{BACKBONE} stands for all but the classifier. A frozen batch norm normalizes with its "
        "moving statistics and keeps them.",
        when_none=f"everything is trained, or {BACKBONE} with freeze_epochs",
        syntax=parse_pattern,
    )
    freeze_epochs: float | None = flag(
        None,
        "Epochs for which freeze holds; then everything is trained.",
        above=0,
        when_none="the whole run",
    )
    backbone_learning_rate_multiplier: float = flag(
        1.0,
        "Multiplier of the learning rate of all variables but the classifier's.",
        above=0,
    )
    layer_decay: float = flag(
        1.0,
        "Layer-wise decay D of the learning rate: the n-th group of layers before the classifier "
        "has D^n times the rate. A group is a block of the network, or a layer outside of blocks.",
        above=0,
        upper=1,
    )


@dataclass(frozen=True)
class DistillationParams:
    """Learning from the outputs of a trained network, the teacher."""

    teacher: str | None = flag(
        None,
        "Network whose outputs are soft targets of the training. It sees the same batch, after "
        "augmentation, and is not trained.",
        when_none="the network of the run in teacher_checkpoint; no teacher without that",
    )
    teacher_checkpoint: str | None = flag(
        None,
        f"Weights of the teacher: a run, a checkpoint, or {PUBLISHED_TEACHER}. Moving averages are "
        "read where there are any.",
        when_none="the published weights of teacher",
        is_path=True,
        may_be_remote=True,
        words=(PUBLISHED_TEACHER,),
    )
    distillation_temperature: float = flag(
        4.0,
        "Temperature T: logits of teacher and student are divided by it before the softmax, and "
        "the divergence of the two is multiplied by T^2.",
        # Beyond, the divergence is lost in the rounding of a softmax, or T^2 is 0 in float32.
        lower=0.01,
        upper=1000,
    )
    hard_label_share: float = flag(
        0.1,
        "Share of the loss that belongs to the labels; the rest belongs to the teacher's outputs.",
        lower=0,
        below=1,
    )
    teacher_features: str | None = flag(
        None,
        "Attention transfer: STUDENT_LAYER:TEACHER_LAYER,..., pairs of layers whose maps of mean "
        "squared activations shall agree. Both layers of a pair have the same height and width.",
        when_none="the teacher's outputs alone",
        syntax=parse_layer_pairs,
    )
    teacher_features_weight: float = flag(
        1.0, "Weight of the attention transfer in the loss.", above=0
    )

    @property
    def feature_pairs(self) -> tuple[tuple[str, str], ...]:
        """Names of the student's and the teacher's layer of each pair of `teacher_features`."""
        return parse_layer_pairs(self.teacher_features) if self.teacher_features else ()

    @property
    def has_teacher(self) -> bool:
        """Whether there is a teacher."""
        return self.teacher is not None or self.teacher_checkpoint is not None
