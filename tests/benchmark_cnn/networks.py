"""Small networks and data sets with known arithmetic, in the shape the engine expects."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from benchmark_cnn.interfaces import DataDescription


class Output(NamedTuple):
    logits: tf.Tensor
    aux_logits: tf.Tensor | None
    statistics: dict


class ForInference:
    """A network that evaluations call as it is."""

    def __init__(self, network):
        self.network = network

    def updates(self):
        return ()

    def __call__(self, images):
        return self.network(images, training=False).logits


class Unprepared:
    """A network whose form for inference is itself."""

    def for_inference(self):
        return ForInference(self)


class ProductNetwork(Unprepared):
    """tf_cnn_benchmarks' test model: loss = mean(x) * A * B, with A = 1 and B = 2 at the start."""

    name = "product"
    background_class = False

    def __init__(self):
        self.variables = {"A": tf.Variable(1.0, name="A"), "B": tf.Variable(2.0, name="B")}
        self.trainable = ("A", "B")
        self.decayed = frozenset(self.trainable)
        self.groups = (("A",), ("B",))

    def __call__(self, images, *, training, seed=None, frozen=frozenset()):
        x = tf.reshape(tf.cast(images, tf.float32), [-1, 1])
        return Output(x * self.variables["A"] * self.variables["B"], None, {})

    @staticmethod
    def loss(output, labels):
        return tf.reduce_mean(output.logits), tf.zeros([])


class ConvNetwork(Unprepared):
    """Two convolutions and a dense layer; batch norm and dropout by choice, auxiliary logits too.

    batch_norm: None, "tower" (statistics of each tower's slice) or "sync" (of all towers).
    """

    name = "conv"
    background_class = False

    def __init__(self, *, batch_norm=None, dropout=0.0, num_classes=5, auxiliary=False):
        random = np.random.default_rng(7)
        self.batch_norm, self.dropout, self.auxiliary = batch_norm, dropout, auxiliary
        shapes = {
            "conv1/kernel": (3, 3, 3, 4),
            "conv2/kernel": (3, 3, 4, 6),
            "dense/kernel": (6, num_classes),
            "dense/bias": (num_classes,),
        }
        if auxiliary:
            shapes["aux/kernel"] = (4, num_classes)
        self.variables = {
            name: tf.Variable(random.normal(0, 0.5, shape).astype(np.float32), name=name)
            for name, shape in shapes.items()
        }
        if batch_norm:
            self.variables |= {
                "bn/gamma": tf.Variable(random.uniform(0.5, 1.5, 4).astype(np.float32)),
                "bn/beta": tf.Variable(random.normal(0, 0.1, 4).astype(np.float32)),
                "bn/moving_mean": tf.Variable(np.zeros(4, np.float32), trainable=False),
                "bn/moving_variance": tf.Variable(np.ones(4, np.float32), trainable=False),
            }
        self.trainable = tuple(n for n in self.variables if "moving" not in n)
        self.decayed = frozenset(n for n in self.variables if n.endswith("kernel"))
        layers = (("conv1", "bn"), ("conv2",), ("dense", "aux"))
        self.groups = tuple(
            tuple(n for n in self.trainable if n.split("/")[0] in names) for names in layers
        )

    def __call__(self, images, *, training, seed=None, frozen=frozenset()):
        v = self.variables
        x = tf.cast(images, tf.float32) / 128.0 - 1.0
        x = tf.nn.conv2d(x, v["conv1/kernel"], 2, "SAME")
        statistics = {}
        if self.batch_norm:
            x, statistics = self._normalize(x, training and "bn/moving_mean" not in frozen)
        x = tf.nn.relu6(x)
        aux = None
        if self.auxiliary:
            aux = tf.reduce_mean(x, [1, 2]) @ v["aux/kernel"]
        x = tf.nn.relu6(tf.nn.conv2d(x, v["conv2/kernel"], 2, "SAME"))
        x = tf.reduce_mean(x, [1, 2])
        if training and self.dropout:
            keep = tf.random.stateless_uniform(tf.shape(x), seed) >= self.dropout
            x = tf.where(keep, x / (1 - self.dropout), 0.0)
        return Output(x @ v["dense/kernel"] + v["dense/bias"], aux, statistics)

    def _normalize(self, x, training, momentum=0.9, epsilon=1e-3):
        v = self.variables
        mean, variance = v["bn/moving_mean"] * 1.0, v["bn/moving_variance"] * 1.0
        statistics = {}
        if training:
            mean = tf.reduce_mean(x, [0, 1, 2])
            square = tf.reduce_mean(x * x, [0, 1, 2])
            if self.batch_norm == "sync":
                context = tf.distribute.get_replica_context()
                mean, square = context.all_reduce(tf.distribute.ReduceOp.MEAN, [mean, square])
            variance = square - mean * mean
            for name, value in (("moving_mean", mean), ("moving_variance", variance)):
                old = v[f"bn/{name}"]
                statistics[f"bn/{name}"] = momentum * old + (1 - momentum) * value
        scale = v["bn/gamma"] * tf.math.rsqrt(variance + epsilon)
        return (x - mean) * scale + v["bn/beta"], statistics


class Spec:
    """What a registry hands to the engine, around a network made by `build_network`."""

    def __init__(self, build_network, *, image_size=8, batch_size=4, learning_rate=0.05):
        self.name = "test"
        self.image_size, self.batch_size = image_size, batch_size
        self.learning_rate = learning_rate
        self.background_class = False
        self._build_network = build_network

    def build(self, *, variables=None, **_):
        network = self._build_network()
        if variables is not None:
            network.variables = dict(variables)
        return network


class ArrayData:
    """Arrays as a data set: example i of the stream is row i % n, whatever the seed.

    Labels [n, classes] are several labels an image.
    """

    synthetic = False
    name = "arrays"
    batch_augmentation = None

    def __init__(self, images, labels, num_classes=5):
        self.multi_label = np.ndim(labels) == 2
        dtype = np.float32 if self.multi_label else np.int32
        self.images, self.labels = np.asarray(images), np.asarray(labels, dtype)
        self.num_classes = num_classes

    def describe(self):
        return DataDescription(self.name)

    def examples_per_epoch(self, subset):
        return self.num_examples(subset)

    def class_counts(self, subset):
        return np.bincount(self.labels, minlength=self.num_classes)

    def num_examples(self, subset):
        return len(self.labels)

    def train_batches(
        self, *, batch_size, image_size, seed, start_example=0, shard=(0, 1), subset="train"
    ):
        data = tf.data.Dataset.from_tensor_slices((self.images, self.labels)).repeat()
        return data.skip(start_example).batch(batch_size, drop_remainder=True)

    def eval_batches(self, *, batch_size, image_size, subset="validation", shard=(0, 1)):
        index, count = shard
        images, labels = self.images[index::count], self.labels[index::count]
        n = len(labels)
        padded = -(-n // batch_size) * batch_size
        index = np.minimum(np.arange(padded), n - 1)
        is_real = np.arange(padded) < n
        data = tf.data.Dataset.from_tensor_slices((images[index], labels[index], is_real))
        return data.batch(batch_size, drop_remainder=True)

    def records_of(self, *, start_example, count, seed, subset="train"):
        return [
            ("arrays", i % len(self.labels)) for i in range(start_example, start_example + count)
        ]

    def explain(self, error, subset):
        return error


def random_examples(count, *, image_size=8, num_classes=5, seed=3):
    """uint8 images [count, S, S, 3] and labels [count]."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, image_size, image_size, 3)).astype(np.uint8)
    return images, random.integers(0, num_classes, count).astype(np.int32)


def several_labels(labels, num_classes=5):
    """float32 [count, C]: of each image its label, and the next class of every third image."""
    both = np.eye(num_classes)[labels]
    both[::3] += np.roll(both[::3], 1, axis=1)
    return both.astype(np.float32)
