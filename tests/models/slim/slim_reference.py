"""Parts of second implementations of slim networks, and weights to compare them with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from models.network import Network

EPSILON = 1e-3


def parts(network: Network, scope: str, limit: float = np.inf) -> tuple[Callable, Callable]:
    """`value(name)`, a variable, and `norm(x, layer)`: batch norm, then ReLU up to `limit`."""

    def value(name: str) -> tf.Tensor:
        return tf.convert_to_tensor(network.variables[f"{scope}/{name}"])

    def norm(x: tf.Tensor, layer: str, is_linear: bool = False) -> tf.Tensor:
        beta, mean, variance = (
            value(f"{layer}/BatchNorm/{kind}")
            for kind in ("beta", "moving_mean", "moving_variance")
        )
        gamma = network.variables.get(f"{scope}/{layer}/BatchNorm/gamma")
        x = tf.nn.batch_normalization(x, mean, variance, beta, gamma, EPSILON)
        return x if is_linear else tf.clip_by_value(x, 0.0, limit)

    return value, norm


def patches(num_images: int, image_size: int, generator: np.random.Generator) -> np.ndarray:
    """Returns images of colored patches, which differ after any pooling, unlike noise."""
    repeats = -(-image_size // 4)
    images = generator.integers(0, 256, (num_images, 4, 4, 3), np.uint8)
    return images.repeat(repeats, 1).repeat(repeats, 2)[:, :image_size, :image_size]


def make_images_matter(
    network: Network, images: np.ndarray, decay: float, generator: np.random.Generator
) -> None:
    """Assigns random weights, and the moving statistics of these images.

    With other statistics all images would give nearly the same logits. Gammas are so large that
    some values exceed 6.

    Args:
        decay: of the network's batch norm.
    """
    for name, variable in network.variables.items():
        kind = name.rsplit("/", 1)[1]
        if kind == "gamma":
            variable.assign(generator.uniform(1.0, 4.0, variable.shape))
        elif kind.startswith("moving"):
            variable.assign(tf.zeros_like(variable))
        else:
            variable.assign(generator.normal(0.0, 0.5, variable.shape))
    result = network(images, training=True, seed=tf.constant([1, 2]))
    for name, value in result.statistics.items():
        network.variables[name].assign(value / (1.0 - decay))


def differences(logits: np.ndarray | tf.Tensor) -> float:
    """Returns the largest distance of an image's logits from the mean of all images."""
    values = np.asarray(logits)
    return float(np.abs(values - values.mean(axis=0)).max())
