"""The optimizers, on TensorFlow's fused update kernels.

Arithmetic and slot names of those that TF1 has are those of `tf.compat.v1.train`, so that published
recipes keep their meaning and checkpoints hold TF1's slots (`<variable>/Momentum`,
`<variable>/RMSProp`). Keras 3's RMSprop differs: it starts the accumulator at zero. AdamW, LAMB and
Lion are those of their papers, as PyTorch and timm have them.

Kernels lock what they update: asynchronous workers may update a variable at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import tensorflow as tf

from benchmark_cnn.params.training_params import OPTIMIZERS, OptimizationParams
from common.errors import UsageError


class Optimizer:
    """Updates a variable by its gradient.

    Attributes:
        slots: name of each slot (the suffix of its checkpoint name) -> the value it is filled with.
        includes_weight_decay: whether the optimizer decays weights itself.
        decouples_weight_decay: whether `decay_decoupled` comes before each of its updates.
        default_learning_rate: where the model's, which is for momentum or RMSProp, means nothing.
    """

    slots: ClassVar[Mapping[str, float]] = {}
    includes_weight_decay: ClassVar[bool] = False
    decouples_weight_decay: ClassVar[bool] = False
    default_learning_rate: ClassVar[float | None] = None

    def apply(
        self,
        variable: tf.Variable,
        gradient: tf.Tensor,
        slots: Mapping[str, tf.Variable],
        *,
        learning_rate: tf.Tensor,
        step: tf.Tensor,
        decayed: bool,
    ) -> tf.Operation:
        """Updates the variable and its slots in place.

        Args:
            variable: float32 resource variable on one device.
            gradient: float32, dense, the variable's shape; reduced, unscaled and clipped.
            slots: slot name -> float32 resource variable, shape and device of `variable`.
            learning_rate: float32 scalar.
            step: int64 scalar, the updates made before this one: 0 for the first.
            decayed: whether weight decay applies to this variable.
        """
        raise NotImplementedError


def make_optimizer(optimization: OptimizationParams) -> Optimizer:
    """Makes the optimizer that the optimization flags describe.

    Raises:
        UsageError: no optimizer has that name.
    """
    flags = optimization
    if flags.optimizer == "sgd":
        return GradientDescent()
    if flags.optimizer == "momentum":
        return Momentum(flags.momentum, flags.nesterov)
    if flags.optimizer == "rmsprop":
        return RMSProp(flags.rmsprop_decay, flags.rmsprop_momentum, flags.rmsprop_epsilon)
    if flags.optimizer == "adam":
        return Adam(flags.adam_beta1, flags.adam_beta2, flags.adam_epsilon)
    if flags.optimizer == "adamw":
        return AdamW(flags.adam_beta1, flags.adam_beta2, flags.adam_epsilon)
    if flags.optimizer == "lars":
        return LARS(flags.momentum, flags.decay, flags.lars_eeta, flags.lars_epsilon)
    if flags.optimizer == "lamb":
        return LAMB(flags.adam_beta1, flags.adam_beta2, flags.lamb_epsilon, flags.decay)
    if flags.optimizer == "lion":
        return Lion(flags.lion_beta1, flags.lion_beta2)
    raise UsageError(f"unknown optimizer {flags.optimizer!r}; there are {', '.join(OPTIMIZERS)}")


def decay_decoupled(
    variable: tf.Variable, *, weight_decay: float, learning_rate: tf.Tensor
) -> tf.Operation:
    """Applies `variable -= learning_rate * weight_decay * variable` (arXiv:1711.05101).

    Call it before `apply`, so that both steps start from the old weights, as in the paper.
    """
    return tf.raw_ops.ResourceApplyGradientDescent(
        var=variable.handle,
        alpha=learning_rate * weight_decay,
        delta=variable.read_value(),
        use_locking=True,
    )


@dataclass(frozen=True)
class GradientDescent(Optimizer):
    """`variable -= learning_rate * gradient`; no momentum."""

    def apply(self, variable, gradient, slots, *, learning_rate, step, decayed) -> tf.Operation:
        return tf.raw_ops.ResourceApplyGradientDescent(
            var=variable.handle, alpha=learning_rate, delta=gradient, use_locking=True
        )


@dataclass(frozen=True)
class Momentum(Optimizer):
    """`m = momentum * m + g; variable -= lr * m`, or with Nesterov `lr * (g + momentum * m)`."""

    momentum: float
    nesterov: bool

    slots: ClassVar[Mapping[str, float]] = {"Momentum": 0.0}

    def apply(self, variable, gradient, slots, *, learning_rate, step, decayed) -> tf.Operation:
        return tf.raw_ops.ResourceApplyMomentum(
            var=variable.handle,
            accum=slots["Momentum"].handle,
            lr=learning_rate,
            grad=gradient,
            momentum=self.momentum,
            use_nesterov=self.nesterov,
            use_locking=True,
        )


@dataclass(frozen=True)
class RMSProp(Optimizer):
    """`s = d*s + (1-d)*g^2; m = momentum*m + lr * g / sqrt(s + epsilon); variable -= m`.

    The mean square s starts at one, epsilon is inside the root and the learning rate inside the
    momentum, as EfficientNet's and MobileNet's recipes assume.
    """

    decay: float
    momentum: float
    epsilon: float

    slots: ClassVar[Mapping[str, float]] = {"RMSProp": 1.0, "RMSProp_1": 0.0}

    def apply(self, variable, gradient, slots, *, learning_rate, step, decayed) -> tf.Operation:
        return tf.raw_ops.ResourceApplyRMSProp(
            var=variable.handle,
            ms=slots["RMSProp"].handle,
            mom=slots["RMSProp_1"].handle,
            lr=learning_rate,
            rho=self.decay,
            momentum=self.momentum,
            epsilon=self.epsilon,
            grad=gradient,
            use_locking=True,
        )


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (arXiv:1412.6980) in the form before its section 2.1, with "epsilon hat".

    `variable -= lr * sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + epsilon)`, t = step + 1.
    The powers are computed from the step, so only the slots need to be saved.
    """

    beta1: float
    beta2: float
    epsilon: float

    slots: ClassVar[Mapping[str, float]] = {"Adam": 0.0, "Adam_1": 0.0}

    def apply(self, variable, gradient, slots, *, learning_rate, step, decayed) -> tf.Operation:
        return tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=slots["Adam"].handle,
            v=slots["Adam_1"].handle,
            beta1_power=_power(self.beta1, step),
            beta2_power=_power(self.beta2, step),
            lr=learning_rate,
            beta1=self.beta1,
            beta2=self.beta2,
            epsilon=self._epsilon_hat(step),
            grad=gradient,
            use_locking=True,
        )

    def _epsilon_hat(self, step: tf.Tensor) -> tf.Tensor | float:
        return self.epsilon


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay: algorithm 2 of arXiv:1711.05101, and PyTorch's AdamW.

    `variable -= lr * (m^ / (sqrt(v^) + epsilon) + weight_decay * variable)`, where m^ and v^ are m
    and v divided by 1 - beta^t. In the form of `Adam`, epsilon is multiplied by sqrt(1 - beta2^t).
    """

    decouples_weight_decay: ClassVar[bool] = True
    default_learning_rate: ClassVar[float | None] = 0.001

    def _epsilon_hat(self, step: tf.Tensor) -> tf.Tensor:
        return self.epsilon * tf.sqrt(1.0 - _power(self.beta2, step))


@dataclass(frozen=True)
class LAMB(Optimizer):
    """Layer-wise adaptive moments for batch training: algorithm 2 of arXiv:1904.00962.

    With AdamW's direction `r = m^ / (sqrt(v^) + epsilon)` and `u = r + weight_decay * variable` the
    update is `variable -= lr * |variable| / |u| * u`, or `lr * u` where one of the norms is zero.
    Variables that do not decay lose `lr * r`, as in the authors' code and in timm. With a decay of
    0 timm's kernels do so, too; here they keep their trust ratio.
    """

    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float

    slots: ClassVar[Mapping[str, float]] = {"LAMB": 0.0, "LAMB_1": 0.0}
    includes_weight_decay: ClassVar[bool] = True
    default_learning_rate: ClassVar[float | None] = 0.001

    def apply(self, variable, gradient, slots, *, learning_rate, step, decayed) -> tf.Operation:
        mean, square = slots["LAMB"], slots["LAMB_1"]
        _average_in(mean, gradient, self.beta1)
        _average_in(square, tf.square(gradient), self.beta2)
        corrected_mean = mean.read_value() / (1.0 - _power(self.beta1, step))
        corrected_square = square.read_value() / (1.0 - _power(self.beta2, step))
        update = corrected_mean / (tf.sqrt(corrected_square) + self.epsilon)
        if decayed:
            weights = variable.read_value()
            update += self.weight_decay * weights
            learning_rate = learning_rate * self._trust_ratio(weights, update)
        return tf.raw_ops.ResourceApplyGradientDescent(
            var=variable.handle, alpha=learning_rate, delta=update, use_locking=True
        )

    def _trust_ratio(self, weights: tf.Tensor, update: tf.Tensor) -> tf.Tensor:
        weight_norm, update_norm = tf.norm(weights), tf.norm(update)
        ratio = tf.math.divide_no_nan(weight_norm, update_norm)
        return tf.where(ratio > 0, ratio, 1.0)


@dataclass(frozen=True)
class Lion(Optimizer):
    """Evolved sign momentum: arXiv:2302.06675, program 1.

    `variable -= lr * (sign(beta1 * m + (1 - beta1) * g) + weight_decay * variable)`, and then
    `m = beta2 * m + (1 - beta2) * g`.
    """

    beta1: float
    beta2: float

    slots: ClassVar[Mapping[str, float]] = {"Lion": 0.0}
    decouples_weight_decay: ClassVar[bool] = True
    default_learning_rate: ClassVar[float | None] = 0.0001

    def apply(self, variable, gradient, slots, *, learning_rate, step, decayed) -> tf.Operation:
        mean = slots["Lion"]
        direction = tf.sign(self.beta1 * mean.read_value() + (1.0 - self.beta1) * gradient)
        updated = tf.raw_ops.ResourceApplyGradientDescent(
            var=variable.handle, alpha=learning_rate, delta=direction, use_locking=True
        )
        _average_in(mean, gradient, self.beta2)
        return updated


@dataclass(frozen=True)
class LARS(Optimizer):
    """Layer-wise adaptive rate scaling (arXiv:1708.03888), the variant of the TPU ResNet code.

    For a decayed variable w the gradient becomes `g + weight_decay * w` and the learning rate is
    multiplied by `eeta * |w| / (|g| + weight_decay * |w| + epsilon)`, or by 1 where |w| or |g| is
    zero. Other variables keep gradient and rate. The update is
    `m = momentum * m + rate * gradient; variable -= m`, never Nesterov.
    """

    momentum: float
    weight_decay: float
    eeta: float
    epsilon: float

    slots: ClassVar[Mapping[str, float]] = {"LARSOptimizer": 0.0}
    includes_weight_decay: ClassVar[bool] = True

    def apply(self, variable, gradient, slots, *, learning_rate, step, decayed) -> tf.Operation:
        if decayed:
            weights = variable.read_value()
            learning_rate = learning_rate * self._trust_ratio(weights, gradient)
            gradient = gradient + self.weight_decay * weights
        return tf.raw_ops.ResourceApplyMomentum(
            var=variable.handle,
            accum=slots["LARSOptimizer"].handle,
            lr=1.0,
            grad=learning_rate * gradient,
            momentum=self.momentum,
            use_locking=True,
        )

    def _trust_ratio(self, weights: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        weight_norm, gradient_norm = tf.norm(weights), tf.norm(gradient)
        ratio = tf.math.divide_no_nan(
            self.eeta * weight_norm,
            gradient_norm + self.weight_decay * weight_norm + self.epsilon,
        )
        return tf.where(tf.logical_and(weight_norm > 0, gradient_norm > 0), ratio, 1.0)


def _average_in(average: tf.Variable, value: tf.Tensor, beta: float) -> None:
    """Applies `average = beta * average + (1 - beta) * value`."""
    tf.raw_ops.ResourceApplyGradientDescent(
        var=average.handle,
        alpha=1.0 - beta,
        delta=average.read_value() - value,
        use_locking=True,
    )


def _power(beta: float, step: tf.Tensor) -> tf.Tensor:
    """Computes `beta^(step + 1)` in float64, since float32 would round beta; returns float32."""
    exponent = tf.cast(step, tf.float64) + 1.0
    return tf.cast(tf.pow(tf.constant(beta, tf.float64), exponent), tf.float32)
