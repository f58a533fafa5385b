"""Wraps a network written with slim layers as a Network.

Slim layers ask TF1's get_variable for variables; KeptVariables answers. They also add tensors to
collections of the graph, which are cleared after each call, and their variable scopes count the
uses of a default name, which closing the network's scope resets.

TF-Slim 1.1 runs on TensorFlow 2.21 without changes, as long as batch norm and dropout are those of
models/slim/layers.py: its other layers do not use `tensorflow.python.framework.ops.Tensor`, which
TensorFlow removed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from models import forward_pass
from models.folding import Fold
from models.layers.batch_norm import BatchNormVariables
from models.layers.pixel_normalization import PixelRange, normalize_pixels
from models.model_spec import BuildConfig
from models.network import Network, make_network

# Of a convolution's kernels, the one that makes its outputs.
_LAST_KERNELS = ("pointwise_weights", "weights", "depthwise_weights")


def slim_network(
    config: BuildConfig, pixel_range: PixelRange, function: Callable[[tf.Tensor, bool], Any]
) -> Network:
    """Creates the variables of `function` and wraps it; call it inside `strategy.scope()`.

    Args:
        function: called with (images, is_training), images [B, H, W, 3] in the network's dtype.
            Returns logits or a pair (logits, auxiliary logits), float32 [B, classes] or
            [B, h, w, classes]. The latter are averaged over h and w, as fully convolutional
            networks are evaluated (Simonyan and Zisserman, 2014).
    """
    kept = KeptVariables(None if config.variables is None else config.shared)

    def forward(images: tf.Tensor, training: bool) -> Any:
        inputs = normalize_pixels(images, pixel_range, config.dtype)
        graph: Any = tf.compat.v1.get_default_graph()
        collections = set(graph.collections)
        with tf.compat.v1.variable_scope("", custom_getter=kept.getter):
            outputs = function(inputs, training)
        for collection in set(graph.collections) - collections:
            graph.clear_collection(collection)
        if isinstance(outputs, tuple):
            return tuple(_logits(output) for output in outputs)
        return _logits(outputs)

    classifier, batch_norms = _trace(forward, config.image_size, kept)
    kept.complete()
    return make_network(
        kept.by_name,
        classifier=classifier,
        name=config.name,
        forward=forward,
        folds=list(_folds(kept.by_name, batch_norms, config.dtype)),
        background_class=config.background_class,
    )


def _trace(
    forward: Callable[[tf.Tensor, bool], Any], image_size: int, kept: KeptVariables
) -> tuple[set[str], dict[str, float]]:
    """Traces `forward`, so that it asks for its variables; nothing is computed.

    Returns:
        Names of the variables of the layers that make logits; scope -> epsilon of each batch norm.
    """
    batch_norms: dict[str, float] = {}

    def traced(images: tf.Tensor) -> Any:
        with forward_pass.forward_pass(tf.zeros([2], tf.int32)) as current:
            outputs = forward(images, True)
        batch_norms.update(current.batch_norms)
        return outputs

    images = tf.TensorSpec([1, image_size, image_size, 3], tf.uint8)
    graph = tf.function(traced, autograph=False).get_concrete_function(images).graph
    return kept.read_by_last_layers(graph.outputs), batch_norms


def _folds(
    variables: Mapping[str, tf.Variable], batch_norms: Mapping[str, float], dtype: str
) -> Iterator[Fold]:
    """Yields the batch norms in the scope of a convolution: slim normalizes its outputs there."""
    for batch_norm, epsilon in batch_norms.items():
        scope, _, name = batch_norm.rpartition("/")
        parts = (variables.get(f"{batch_norm}/{part}") for part in BatchNormVariables._fields)
        for kernel in _LAST_KERNELS if name == "BatchNorm" else ():
            if f"{scope}/{kernel}" in variables:
                yield Fold(
                    kernel=variables[f"{scope}/{kernel}"],
                    batch_norm=BatchNormVariables(*parts),
                    epsilon=epsilon,
                    dtype=dtype,
                    is_depthwise=kernel == "depthwise_weights",
                )
                break


def _logits(outputs: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(outputs, [1, 2]) if len(outputs.shape) == 4 else outputs


class KeptVariables:
    """Creates each variable once and returns it at each later trace, by its scoped name.

    Variables are float32; a layer that computes in another dtype gets them cast. The regularizers
    that slim layers ask for are ignored.

    Args:
        shared: from name and shape to a variable that is there already; None creates each.
    """

    def __init__(self, shared: Callable[[str, Sequence[int]], tf.Variable] | None = None) -> None:
        self.by_name: dict[str, tf.Variable] = {}
        self._shared = shared
        self._reads: dict[str, str] = {}
        self._strategy = tf.distribute.get_strategy()
        self._is_complete = False

    def complete(self) -> None:
        """Makes every further unknown name an error instead of a new variable."""
        self._is_complete = True

    def getter(
        self,
        getter: Any,
        name: str,
        *,
        shape: Any,
        dtype: Any = tf.float32,
        initializer: Any = None,
        trainable: bool = True,
        **_unused: Any,
    ) -> Any:
        """Serves as custom_getter of `tf.compat.v1.variable_scope`.

        It does not call `getter`, which is TF1's and would keep variables in the graph.

        Raises:
            KeyError: the name is unknown.
        """
        if name not in self.by_name:
            if self._is_complete:
                raise KeyError(f"the network was built without a variable {name!r}")
            self.by_name[name] = self._create(name, shape, initializer, trainable)
        variable = self.by_name[name]
        if not self._is_complete:
            read = tf.identity(tf.cast(variable, dtype))
            self._reads[read.op.name] = name
            return read
        value = forward_pass.value_of(variable)
        value = variable if value is None else tf.convert_to_tensor(value)
        return value if dtype == value.dtype else tf.cast(value, dtype)

    def read_by_last_layers(self, outputs: Collection[tf.Tensor]) -> set[str]:
        """Returns the names of variables that the layers before `outputs` read, while tracing."""
        found, seen, waiting = set(), set(), [tensor.op for tensor in outputs]
        while waiting:
            operation = waiting.pop()
            if operation.name in seen:
                continue
            seen.add(operation.name)
            if operation.name in self._reads:
                found.add(self._reads[operation.name])
                continue
            # Of a layer's product, the second factor is its kernel, the first what comes before.
            is_product = operation.type in ("Conv2D", "MatMul")
            inputs = operation.inputs[1:] if is_product else operation.inputs
            waiting += [tensor.op for tensor in inputs]
        return found

    def _create(self, name: str, shape: Any, initializer: Any, trainable: bool) -> tf.Variable:
        shape = tf.TensorShape(shape).as_list()
        if self._shared is not None:
            return self._shared(name, shape)
        # init_scope leaves the graph that is being traced, and the strategy's scope with it.
        with tf.init_scope(), self._strategy.scope():
            return tf.Variable(
                lambda: initializer(shape, dtype=tf.float32), trainable=trainable, name=name
            )
