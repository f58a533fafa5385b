"""The interface of a network to the engine: named variables and a call."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from common.commands import did_you_mean
from common.errors import UsageError
from models import blocks
from models.folding import Fold, FoldedNetwork, keras_folds, rounding, substituted
from models.forms import quantization, recompute
from models.forward_pass import forward_pass
from models.layers.dropout import StochasticDepth


class ForwardResult(NamedTuple):
    """What one call returns.

    Attributes:
        logits: float32 [B, classes].
        aux_logits: float32 [B, classes], or None where the network has no auxiliary head.
        statistics: checkpoint name of each batch-norm moving statistic -> its float32 value after
            this batch. The network does not assign it; the caller averages over towers and assigns.
        features: outputs of the layers that `Network.observing` named.
    """

    logits: tf.Tensor
    aux_logits: tf.Tensor | None
    statistics: dict[str, tf.Tensor]
    features: tuple[tf.Tensor, ...] = ()


@dataclass(frozen=True)
class Network:
    """A network and its variables by checkpoint name.

    Attributes:
        variables: trainable variables and moving statistics in the order of their creation.
        decayed: names of the variables that weight decay applies to.
        forward: called with (images, training); returns logits or a pair (logits, aux_logits).
        groups: names of trainable variables by depth; the last group makes the logits (see
            models/blocks.py).
        statistic_names: id of the object that batch norm reports to (see models/forward_pass.py)
            -> checkpoint name.
        branches: id of a layer that drops a residual branch -> names of the branch's last layer.
        folds: the batch norms that convolutions can take in.
        background_class: whether class 0 is one that no label uses.
        num_observed: how many of the last outputs of `forward` are features of layers.
        recomputed_bytes: bytes an image of what the backward pass computes again at a time.
        float_network: the network that computes in float with the same variables, if this one
            rounds to 8 bits (models/forms/quantization.py).
        keras_model: the Keras model of the network, for summary(), save() or fine-tuning; None for
            TF-Slim.
    """

    name: str
    variables: dict[str, tf.Variable]
    trainable: tuple[str, ...]
    decayed: frozenset[str]
    forward: Callable[[tf.Tensor, bool], Any]
    groups: tuple[tuple[str, ...], ...] = ()
    statistic_names: Mapping[int, str] = field(default_factory=dict)
    branches: Mapping[int, frozenset[str]] = field(default_factory=dict)
    folds: Sequence[Fold] = ()
    background_class: bool = False
    num_observed: int = 0
    recomputed_bytes: int = 0
    keras_model: Any = None
    float_network: Network | None = None

    @tf.autograph.experimental.do_not_convert
    def __call__(
        self,
        images: tf.Tensor,
        *,
        training: bool,
        seed: tf.Tensor | None = None,
        frozen: frozenset[str] = frozenset(),
    ) -> ForwardResult:
        """Runs the network.

        Args:
            images: [B, H, W, 3], RGB, uint8 or float32 in 0..255.
            seed: int32 [2], different for each step, tower and micro-batch; the same seed gives the
                same masks. Only networks with random layers need it, in training.
            frozen: names of variables that are not trained. A batch norm whose statistics are among
                them normalizes with these and reports none; a branch whose last layer is among them
                is never dropped. Dropout stays.

        Raises:
            ValueError: a random layer was called in training without a seed.
        """
        with forward_pass(seed, self._frozen_parts(frozen)) as current:
            outputs = self.forward(images, training)
        outputs = tuple(outputs) if isinstance(outputs, (list, tuple)) else (outputs,)
        heads, features = outputs, ()
        if self.num_observed:
            heads, features = outputs[: -self.num_observed], outputs[-self.num_observed :]
        logits, aux_logits = heads if len(heads) > 1 else (*heads, None)
        statistics = {self.statistic_names[key]: value for key, value in current.statistics.items()}
        return ForwardResult(logits, aux_logits, statistics, features)

    def _frozen_parts(self, names: frozenset[str]) -> frozenset[int]:
        statistics = {key for key, name in self.statistic_names.items() if name in names}
        branches = {key for key, branch in self.branches.items() if branch <= names}
        return frozenset(statistics | branches)

    def recomputing(self) -> Network:
        """Returns the network with a training that computes activations again (`--recompute`).

        Raises:
            UsageError: the network has no parts that could be computed again.
        """
        if self.keras_model is None:
            raise UsageError(
                f"{self.name}, a network of TF-Slim, has no parts: leave --recompute out"
            )
        divided, size = recompute.divided(self.keras_model, self.forward)

        def forward(images: tf.Tensor, training: bool) -> Any:
            if not training or self.float_network is None:
                return divided(images, training)
            # The parts are handed rounded kernels, and hand gradients back through the rounding.
            with rounding(self.folds):
                return divided(images, training)

        return replace(self, forward=forward, recomputed_bytes=size)

    def observing(self, layers: Sequence[str]) -> Network:
        """Returns the network whose results hold the outputs of layers, as `features`.

        Args:
            layers: names of Keras layers whose outputs are images of channels. A slash may stand
                for the dot in a name, as it does in checkpoints.

        Raises:
            UsageError: there is no such layer, or the network is one of TF-Slim.
        """
        if self.keras_model is None:
            raise UsageError(f"{self.name}, a network of TF-Slim, has no layers by name")
        model, outputs = self.keras_model, feature_layers(self.keras_model)
        plain = [layer.replace("/", ".") for layer in layers]
        for layer in plain:
            if layer not in outputs:
                near = did_you_mean(layer, outputs)
                known = f"{near}; python -m models.describe --model={self.name} --layers lists them"
                raise UsageError(f"{self.name} has no layer {layer} with a height and width{known}")
        observed = keras.Model(model.inputs, [*model.outputs, *(outputs[name] for name in plain)])
        return replace(self, forward=_forward_of(observed), num_observed=len(plain))

    def quantization_aware(self, variables: Mapping[str, tf.Variable] | None = None) -> Network:
        """Returns the network that rounds to 8 bits what its INT8 file will round.

        Call it inside `strategy.scope()`.

        Args:
            variables: of the same network for images of another size, whose ranges it shares; None
                creates new ones.

        Raises:
            UsageError: the network has an operation that cannot be trained so.
        """
        if self.keras_model is None:
            raise UsageError(quantization.refusal(self.name, "it is one of TF-Slim"))
        made = quantization.rounding_model(self.name, self.keras_model, self.folds, variables)

        def forward(images: tf.Tensor, training: bool) -> Any:
            with rounding(made.folds):
                return made.model(images, training=training)

        ranges = {name: moments.value for name, moments in made.ranges.items()}
        names = {id(moments): name for name, moments in made.ranges.items()}
        return replace(
            self,
            variables={**self.variables, **ranges},
            statistic_names={**self.statistic_names, **names},
            forward=forward,
            folds=made.folds,
            keras_model=made.model,
            float_network=self,
        )

    def for_inference(self) -> FoldedNetwork:
        """Returns the network with batch norm folded into its convolutions.

        Call it inside `strategy.scope()`.
        """
        return FoldedNetwork(self.forward, self.folds)


def make_network(
    variables: Mapping[str, keras.Variable | tf.Variable],
    *,
    classifier: Collection[str],
    **fields: Any,
) -> Network:
    """Makes a Network of its variables.

    Args:
        classifier: names of the variables of the layers that make logits.
        fields: those that do not follow from the variables.
    """
    trainable = tuple(name for name, variable in variables.items() if variable.trainable)
    return Network(
        variables={
            name: variable.value if isinstance(variable, keras.Variable) else variable
            for name, variable in variables.items()
        },
        trainable=trainable,
        decayed=kernels(trainable),
        groups=blocks.groups(trainable, classifier),
        statistic_names={
            id(variable): name for name, variable in variables.items() if not variable.trainable
        },
        **fields,
    )


def kernels(trainable: Sequence[str]) -> frozenset[str]:
    """Returns the names of kernels: weight decay spares biases and batch norm by default."""
    return frozenset(name for name in trainable if name.rsplit("/", 1)[-1] in blocks.KERNELS)


def keras_network(
    model: keras.Model,
    *,
    scope: str,
    name: str,
    background_class: bool = False,
    shared: Callable[[str, Sequence[int]], tf.Variable] | None = None,
) -> Network:
    """Wraps a Keras model that is built.

    Keras allows no slash in a layer's name, so a dot stands for it: the kernel of the layer
    "blocks_0.conv2d" is "<scope>/blocks_0/conv2d/kernel" in a checkpoint.

    Args:
        shared: from name and shape to the variable that takes the place of the model's own.
    """
    variables = {
        name: variable
        for layer in model.layers
        for name, variable in _named_weights(scope, layer).items()
    }
    if len(variables) != len(model.weights):
        raise ValueError(f"model {name!r} has variables that share a name")
    if shared is not None:
        for checkpoint_name, variable in variables.items():
            # What Keras calls to give a variable its value; it takes a tf.Variable as it is.
            variable._initialize(shared(checkpoint_name, variable.shape))
    last_layers = [_layer_before(outputs) for outputs in model.outputs]

    return make_network(
        variables,
        classifier={n for layer in last_layers for n in _named_weights(scope, layer)},
        branches={
            id(layer): frozenset(_named_weights(scope, _layer_before(layer.input)))
            for layer in model.layers
            if isinstance(layer, StochasticDepth)
        },
        name=name,
        forward=_forward_of(model),
        folds=keras_folds(model),
        background_class=background_class,
        keras_model=model,
    )


def feature_layers(model: keras.Model) -> dict[str, Any]:
    """Returns name -> Keras tensor of each layer that is called once, on images of channels."""
    layers: Any = model.layers
    once = [layer for layer in layers if len(layer._inbound_nodes) == 1]
    found = {layer.name: layer.output for layer in once if not isinstance(layer.output, list)}
    return {name: output for name, output in found.items() if len(output.shape) == 4}


def _forward_of(model: keras.Model) -> Callable[[tf.Tensor, bool], Any]:
    def forward(images: tf.Tensor, training: bool) -> Any:
        with substituted():
            return model(images, training=training)

    return forward


def _named_weights(scope: str, layer: Any) -> dict[str, keras.Variable]:
    scope = f"{scope}/{layer.name.replace('.', '/')}"
    return {f"{scope}/{variable.name}": variable for variable in layer.weights}


def _layer_before(outputs: Any) -> Any:
    """Returns the last layer with weights on the way to a Keras tensor of a chain of layers."""
    layer = outputs._keras_history.operation
    while not getattr(layer, "weights", None):
        layer = layer.input._keras_history.operation
    return layer
