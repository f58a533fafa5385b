"""Ways to train a network on one batch of random images, for the comparisons of this folder.

Each function builds a candidate and returns a call that takes `steps` steps: by default batches of
32 images of 224 px, on the CPU in float32, with Nesterov momentum and weight decay. The engine
repeats the one batch of the synthetic data set, the others one batch of random pixels with nearly
the same statistics. TensorFlow is imported by the process that calls them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras

    from benchmark_cnn.distribution.cluster import Cluster
    from benchmark_cnn.run import TrainingRun
    from benchmarks.rounds import Run

BATCH_SIZE = 32
IMAGE_SIZE = 224
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 0.01, 0.9, 4e-5


def bare_loop(
    model: str, steps: int, *, image_size: int = IMAGE_SIZE, batch_size: int = BATCH_SIZE
) -> Run:
    """Trains our network in a hand-written loop: no strategy, no engine."""
    import tensorflow as tf

    network = build(model, image_size)
    images, labels = map(tf.constant, batch(image_size, batch_size))
    weights = [network.variables[name] for name in network.trainable]
    accumulators = [tf.Variable(tf.zeros_like(v), trainable=False) for v in weights]
    step = tf.Variable(tf.zeros([], tf.int64), trainable=False)

    @tf.function(autograph=False)
    def train_step():
        seed = tf.stack([1, tf.cast(step, tf.int32)])
        with tf.GradientTape() as tape:
            result = network(images, training=True, seed=seed)
            loss = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(labels, result.logits)
            )
        gradients: Any = tape.gradient(loss, weights)
        for name, weight, accumulator, gradient in zip(
            network.trainable, weights, accumulators, gradients, strict=True
        ):
            if name in network.decayed:
                gradient = gradient + WEIGHT_DECAY * weight
            tf.raw_ops.ResourceApplyMomentum(
                var=weight.handle,
                accum=accumulator.handle,
                lr=LEARNING_RATE,
                grad=gradient,
                momentum=MOMENTUM,
                use_nesterov=True,
            )
        for name, value in result.statistics.items():
            network.variables[name].assign(value)
        step.assign_add(1)
        return loss

    def run() -> None:
        for _ in range(steps):
            train_step()

    return run


def engine(
    model: str,
    steps: int,
    num_towers: int = 1,
    *,
    image_size: int = IMAGE_SIZE,
    batch_size: int = BATCH_SIZE,
    **flags: Any,
) -> Run:
    """Runs what train.py runs, from the parameters to the step loop."""
    setup = set_up_engine(model, num_towers, image_size=image_size, batch_size=batch_size, **flags)
    return steps_of(setup, steps)


def set_up_engine(
    model: str,
    num_towers: int = 1,
    *,
    image_size: int,
    batch_size: int,
    cluster: Cluster | None = None,
    **flags: Any,
) -> TrainingRun:
    """Sets the engine up on the CPU.

    Args:
        num_towers: of this process.
        batch_size: of the towers of this process together.
        cluster: the workers of which this process is one; None trains alone.
        flags: further ones.
    """
    from benchmark_cnn import training_setup
    from benchmark_cnn.params.data_params import DataParams
    from benchmark_cnn.params.validation import make_params
    from models import registry
    from preprocessing.registry import open_dataset

    prepare_cpu(num_towers)
    params = make_params(
        model=model,
        device="cpu",
        num_gpus=num_towers,
        variable_update="replicated" if cluster is None else "collective_all_reduce",
        batch_size=batch_size // num_towers,
        image_size=image_size,
        learning_rate=LEARNING_RATE,
        **flags,
    )
    data = open_dataset(DataParams())
    return training_setup.set_up(params, registry.get(model), data, cluster=cluster)


def steps_of(setup: TrainingRun, steps: int) -> Run:
    """Returns a call that takes `steps` steps of the engine."""
    from benchmark_cnn.distribution.batches import training_batches
    from benchmark_cnn.step.step_loop import make_step_loop

    batches = training_batches(
        setup.manager,
        setup.dataset,
        batch_size=setup.plan.batch_per_tower,
        image_size=setup.settings.image_size,
        seed=1,
    )
    loop = make_step_loop(setup.step, batches, micro_batches=1)

    def run() -> None:
        for _ in range(steps):
            loop(1, False)

    return run


def fit(
    model: str, steps: int, *, image_size: int = IMAGE_SIZE, batch_size: int = BATCH_SIZE
) -> Run:
    """Trains the same network in Keras' own layers, by `fit`."""
    import keras

    network = keras_model(model, image_size)
    network.compile(
        optimizer=keras.optimizers.SGD(
            LEARNING_RATE, momentum=MOMENTUM, nesterov=True, weight_decay=WEIGHT_DECAY
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    data = repeated(batch(image_size, batch_size))

    def run() -> None:
        network.fit(data, steps_per_epoch=steps, epochs=1, shuffle=False, verbose=0)

    return run


def build(model: str, image_size: int, **options: Any) -> Any:
    """Prepares the CPU and builds a network of 1000 classes; returns models.network.Network."""
    from models import registry

    prepare_cpu()
    return registry.get(model).build(num_classes=1000, image_size=image_size, **options)


def keras_model(model: str, image_size: int) -> Any:
    """Prepares the CPU and builds the same network of Keras' own layers.

    One of keras.applications is built as it is there.
    """
    import keras

    from models import registry

    application = registry.get(model).options.get("application")
    if not application:
        return with_keras_layers(build(model, image_size).keras_model)
    prepare_cpu()
    function = getattr(keras.applications, application)
    shape = (image_size, image_size, 3)
    return function(weights=None, input_shape=shape, classifier_activation=None)


def repeated(arrays: tuple[np.ndarray, ...]) -> Any:
    """Returns an endless tf.data.Dataset of one batch, for Keras.

    Every call of fit deletes an iterator, which can wait seconds for tf.data's autotuning thread:
    little compared with an epoch, but a multiple of the few steps that are measured here. There is
    none here.
    """
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    return tf.data.Dataset.from_tensors(arrays).repeat().with_options(options)


def prepare_cpu(num_towers: int = 1) -> None:
    """Starts TensorFlow on the CPU as train.py does."""
    from benchmark_cnn.distribution import devices
    from benchmark_cnn.params.validation import make_params

    devices.prepare(make_params(device="cpu", num_gpus=num_towers).hardware)


def batch(image_size: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns random images, uint8 [B, S, S, 3], and labels, int32 [B]."""
    random = np.random.default_rng(0)
    images = random.normal(127, 60, (batch_size, image_size, image_size, 3)).clip(0, 255)
    return images.astype(np.uint8), random.integers(0, 1000, batch_size).astype(np.int32)


def with_keras_layers(model: keras.Model) -> keras.Model:
    """Returns a clone with `keras.layers` in place of ours; weights are initialized again.

    Stochastic depth becomes dropout of whole examples, which is what it is.
    """
    import keras

    return keras.models.clone_model(model, clone_function=_clone)


def _clone(layer: keras.layers.Layer) -> keras.layers.Layer:
    import keras

    from models.layers.batch_norm import FusedBatchNorm
    from models.layers.depthwise_convolution import DepthwiseConvolution
    from models.layers.dropout import Dropout, StochasticDepth

    name = layer.name
    if isinstance(layer, FusedBatchNorm):
        return keras.layers.BatchNormalization(
            momentum=layer.momentum, epsilon=layer.epsilon, scale=layer.scale, name=name
        )
    if isinstance(layer, StochasticDepth):
        return keras.layers.Dropout(
            1.0 - layer.keep_probability, noise_shape=(None, 1, 1, 1), name=name
        )
    if isinstance(layer, Dropout):
        return keras.layers.Dropout(layer.rate, name=name)
    if isinstance(layer, DepthwiseConvolution):
        return keras.layers.DepthwiseConv2D(
            layer.kernel_size,
            layer.strides,
            padding=layer.padding,
            use_bias=False,
            depthwise_initializer=layer.depthwise_initializer,
            name=name,
        )
    return layer.__class__.from_config(layer.get_config())
