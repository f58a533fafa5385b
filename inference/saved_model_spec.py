"""A SavedModel as a network of the engine: eval.py counts with it as with a checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from benchmark_cnn.params.data_params import DataParams
from benchmark_cnn.params.params import Params
from benchmark_cnn.params.values import parse_mean_std
from common.errors import DataError, UsageError
from inference import signature
from inference.signature import Signature
from inference.view import WHOLE

if TYPE_CHECKING:
    import tensorflow as tf

    from models.network import Network

# Signatures that take images: TensorFlow 2's, and that of TensorFlow 1's modules of TF Hub.
_SIGNATURES = ("serving_default", "default")
_SERVE = "serve"
# Where there are several outputs, the first of these: logits keep what probabilities round.
_OUTPUTS = ("logits", "probabilities", "predictions", "default", "output_0")
_BYTES, _HUB = "0,1", "0,255"  # values of --saved_model_mean_std
_FREE_BATCH_SIZE = 32
_IMAGES_RANK = 4
_PROBABILITY_TOLERANCE = 1e-3  # of the sum of a row


@dataclass(frozen=True)
class Interface:
    """What the file of a SavedModel says about its images, read without starting TensorFlow.

    Attributes:
        tags: of its graph.
        key: of its signature; None if the object is called directly, and the rest is not known.
        input: the name of the images in the signature.
        outputs: all names.
        shape: of the images, None where free: batch, height, width, 3.
        is_integer: whether pixels are uint8.
    """

    tags: tuple[str, ...]
    key: str | None = None
    input: str = ""
    outputs: tuple[str, ...] = ()
    shape: tuple[int | None, ...] = (None, None, None, 3)
    is_integer: bool = False


@dataclass(frozen=True)
class SavedModelSpec:
    """A `NetworkSpec` whose network is loaded from `directory`, with its weights.

    Attributes:
        name: of the directory.
        image_size: in pixels.
        batch_size: the one that the graph is fixed to, or a moderate one.
        mean_std: the graph is fed (pixel - mean) / std.
    """

    directory: Path
    interface: Interface
    image_size: int
    batch_size: int
    mean_std: tuple[float, float]
    learning_rate: float = 0.0

    @property
    def name(self) -> str:
        """The name of the directory."""
        return self.directory.absolute().name

    def build(
        self,
        *,
        num_classes: int,
        image_size: int,
        dtype: str = "float32",
        data_format: str = "NHWC",
        sync_batch_norm: bool = False,
        dropout_rate: float | None = None,
        drop_path_rate: float | None = None,
        variables: Mapping[str, tf.Variable] | None = None,
    ) -> Network:
        """Loads the network; precision, layout, rates and weights are those of its graph.

        Raises:
            DataError: It cannot be loaded or run, or has another number of classes.
        """
        del dtype, data_format, sync_batch_norm, dropout_rate, drop_path_rate, variables
        import numpy as np
        import tensorflow as tf

        from models.network import Network

        try:
            graph = _loaded(self.directory, self.interface)
            shape = (self.batch_size, image_size, image_size, 3)
            noise = tf.constant(np.random.default_rng(1).uniform(0, 255, shape), tf.float32)
            strategy = tf.distribute.get_strategy()
            # Within a function, because TensorFlow warns of towers that run eagerly.
            outputs = strategy.run(tf.function(lambda: graph(self._fed(noise)), autograph=False))
            outputs = strategy.experimental_local_results(outputs)[0]
        except (tf.errors.OpError, ValueError, TypeError, OSError) as error:
            raise DataError(f"{self.directory} cannot be run: {_first_line(error)}") from error
        num_outputs = outputs.shape[-1]
        if outputs.shape.rank != 2 or num_outputs not in (num_classes, num_classes + 1):
            raise DataError(
                f"{self.directory} gives outputs of shape {outputs.shape}, for {num_classes} "
                "classes: give the number of its classes, without a background class, as "
                "--num_classes, and data with these labels"
            )
        gives_probabilities = _are_probabilities(outputs)

        def forward(images: tf.Tensor, training: bool) -> tf.Tensor:
            del training
            outputs = tf.cast(graph(self._fed(images)), tf.float32)
            return _log(outputs) if gives_probabilities else outputs

        return Network(
            name=self.name,
            variables={},
            trainable=(),
            decayed=frozenset(),
            forward=forward,
            background_class=num_outputs == num_classes + 1,
        )

    def _fed(self, images: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        mean, std = self.mean_std
        pixels = (tf.cast(images, tf.float32) - mean) / std
        return tf.cast(tf.round(pixels), tf.uint8) if self.interface.is_integer else pixels


def open_spec(params: Params) -> tuple[SavedModelSpec, Params]:
    """Opens `--saved_model`. Also returns the parameters by which it is meant to be evaluated.

    Raises:
        DataError: There is no SavedModel that takes images.
        UsageError: A size or a batch that the graph cannot take, or no size is known.
    """
    directory = Path(params.evaluation.saved_model or "")
    interface, own = read_interface(directory), _own_signature(directory)
    batch, height, width = interface.shape[:3]
    if height != width:
        raise DataError(f"{directory} takes images of {height}x{width} pixels, and no squares")
    _check_fixed("image_size", params.network.image_size, height, directory)
    _check_fixed("batch_size", params.data.batch_size, batch, directory)
    image_size = height or params.network.image_size or (own.image_size if own else None)
    if image_size is None:
        raise UsageError(f"{directory} takes images of any size: give --image_size")
    takes_bytes = interface.is_integer or own is not None
    typed = params.evaluation.saved_model_mean_std
    spec = SavedModelSpec(
        directory=directory,
        interface=interface,
        image_size=image_size,
        batch_size=batch or _FREE_BATCH_SIZE,
        mean_std=parse_mean_std(typed or (_BYTES if takes_bytes else _HUB)),
    )
    # Whole images, of digits, have no view that flags could change.
    view = dataclasses.asdict(own.view) if own and own.view.eval_method != WHOLE else {}
    return spec, Params(data=dataclasses.replace(DataParams(), **view))


def read_interface(directory: Path) -> Interface:
    """Returns what a SavedModel takes and gives; its signature for images if there are several.

    Raises:
        DataError: There is no SavedModel, or none of its signatures is for images.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString((directory / "saved_model.pb").read_bytes())
    except OSError as error:
        raise DataError(
            f"{directory} is no SavedModel: {error.strerror}: {directory / 'saved_model.pb'}"
        ) from error
    except DecodeError as error:
        raise DataError(f"{directory / 'saved_model.pb'} is damaged") from error
    if not saved.meta_graphs:
        raise DataError(f"{directory / 'saved_model.pb'} is damaged: it holds no graph")
    graph = next((g for g in saved.meta_graphs if _SERVE in g.meta_info_def.tags), None)
    graph = graph or saved.meta_graphs[0]
    tags, signatures = tuple(graph.meta_info_def.tags), graph.signature_def
    for key in _SIGNATURES:
        inputs = signatures[key].inputs if key in signatures else {}
        images = [
            (name, info)
            for name, info in inputs.items()
            if len(info.tensor_shape.dim) == _IMAGES_RANK
        ]
        if len(images) == 1:
            name, info = images[0]
            shape = tuple(d.size if d.size > 0 else None for d in info.tensor_shape.dim)
            is_integer = info.dtype == tf.uint8.as_datatype_enum
            return Interface(tags, key, name, tuple(signatures[key].outputs), shape, is_integer)
    if _SIGNATURES[0] in signatures:
        raise DataError(f"{directory} takes no images [batch, height, width, 3]")
    return Interface(tags)


def _own_signature(directory: Path) -> Signature | None:
    path = directory / signature.EXTRAS / signature.FILE_NAME
    return signature.from_json(path.read_bytes(), str(directory)) if path.exists() else None


def _check_fixed(name: str, typed: int | None, fixed: int | None, directory: Path) -> None:
    if typed is not None and fixed is not None and typed != fixed:
        raise UsageError(
            f"--{name}={typed} cannot be: {directory} was exported for {fixed}; leave it out"
        )


def _loaded(directory: Path, interface: Interface) -> Callable[[tf.Tensor], tf.Tensor]:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(directory), tags=list(interface.tags))
    if interface.key is None:
        if not callable(loaded):
            raise ValueError("it has no signature and is no function")
        return cast(Callable, loaded)
    output = _choose_output(interface.outputs)

    def call(images: tf.Tensor) -> tf.Tensor:
        # A signature does not own the variables that it reads: `loaded` has to live.
        return loaded.signatures[interface.key](**{interface.input: images})[output]

    return call


def _choose_output(names: tuple[str, ...]) -> str:
    """Returns the only output, or the one whose name says that it is the classifier's."""
    if len(names) == 1:
        return names[0]
    for name in _OUTPUTS:
        if name in names:
            return name
    raise ValueError(f"its outputs are {', '.join(sorted(names))}, none of {', '.join(_OUTPUTS)}")


def _are_probabilities(outputs: tf.Tensor) -> bool:
    """Returns whether rows are nowhere negative and have the sum 1, as no logits of noise have."""
    import tensorflow as tf

    rows = tf.cast(outputs, tf.float32)
    sums = tf.reduce_sum(rows, axis=1)
    return bool(
        tf.reduce_all(rows >= 0.0) and tf.reduce_all(tf.abs(sums - 1.0) < _PROBABILITY_TOLERANCE)
    )


def _log(probabilities: tf.Tensor) -> tf.Tensor:
    """Returns logits in float64: in float32, different small probabilities would be equal.

    A probability of 0 becomes the smallest float32. NaN stays.
    """
    import numpy as np
    import tensorflow as tf

    tiny = tf.constant(np.finfo(np.float32).smallest_subnormal, tf.float64)
    exact = tf.cast(probabilities, tf.float64)
    return tf.math.log(tf.where(exact == 0.0, tiny, exact))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
