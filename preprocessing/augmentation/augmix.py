"""AugMix: an image mixed with three chains of weak operations on it.

Source: Hendrycks et al. 2020, arXiv:1912.02781, algorithm 1 without its second loss, with the
constants of the released code: three chains of one to three operations at a severity of up to 3.
None of the operations is among the corruptions of ImageNet-C.
"""

from __future__ import annotations

import tensorflow as tf

from preprocessing.augmentation.operations import IDENTITY, NAMES, NUM_DRAWS, apply_operation
from preprocessing.randomness import fold_in

OPERATIONS = (
    *("AutoContrast", "Equalize", "Posterize", "Rotate", "Solarize"),
    *("ShearX", "ShearY", "TranslateX", "TranslateY"),
)
WIDTH, LONGEST = 3, 3  # chains, and operations in a chain
SEVERITIES = (0.1, 3.0)
_FILL = 0
# Draw numbers of randomness.fold_in.
_WEIGHTS, _DEPTHS, _CHOICES, _LEVELS, _DRAWS = 54, 55, 56, 57, 58


def augmix(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Mixes an image with chains of operations on it.

    Args:
        image: uint8 [height, width, 3].
        seed: int64 [2], the example's.

    Returns:
        uint8 [height, width, 3].
    """
    weights = chain_weights(seed)
    operations, levels, draws = plan(seed)
    indices = tf.constant([NAMES.index(name) for name in (*OPERATIONS, IDENTITY)])

    def body(number: tf.Tensor, changed: tf.Tensor, mixture: tf.Tensor) -> tuple:
        place = tf.math.floormod(number, LONGEST)  # in its chain
        changed = tf.where(place == 0, image, changed)
        operation = operations[number]
        arguments = _arguments(levels[number], tf.shape(image)[:2])
        changed = apply_operation(
            changed,
            tf.gather(indices, operation),
            tf.gather(arguments, operation),
            draws[number],
            fill=_FILL,
        )
        ends = tf.cast(place == LONGEST - 1, tf.float32)
        share = ends * weights[number // LONGEST]
        return number + 1, changed, mixture + share * tf.cast(changed, tf.float32)

    own = (1 - tf.reduce_sum(weights)) * tf.cast(image, tf.float32)
    _, _, mixture = tf.while_loop(
        lambda number, *_: number < WIDTH * LONGEST,
        body,
        (tf.constant(0), image, own),
        parallel_iterations=1,
    )
    return tf.cast(tf.round(tf.clip_by_value(mixture, 0.0, 255.0)), tf.uint8)


def chain_weights(seed: tf.Tensor) -> tf.Tensor:
    """Draws the share of each chain in the result: float32 [3]; the image itself has the rest.

    They are from Dirichlet(1, 1, 1), times the share of all chains, from Beta(1, 1).
    """
    # Dirichlet(1, ...) is a vector of exponential draws over their sum; Beta(1, 1) is uniform.
    draws = tf.random.stateless_uniform([WIDTH + 1], fold_in(seed, _WEIGHTS))
    weights = -tf.math.log(1 - draws[:WIDTH])
    return weights * (draws[WIDTH] / tf.reduce_sum(weights))


def plan(seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Draws all operations, chain after chain, each of them filled up with the identity.

    Returns:
        (operations int32 [9], of which `len(OPERATIONS)` is the identity; levels float32 [9];
        draws float32 [9, NUM_DRAWS]).
    """
    count = WIDTH * LONGEST
    depths = tf.random.stateless_uniform(
        [WIDTH, 1], fold_in(seed, _DEPTHS), 1, LONGEST + 1, tf.int32
    )
    operations = tf.random.stateless_uniform(
        [WIDTH, LONGEST], fold_in(seed, _CHOICES), 0, len(OPERATIONS), tf.int32
    )
    operations = tf.where(tf.range(LONGEST) < depths, operations, len(OPERATIONS))
    levels = tf.random.stateless_uniform([count], fold_in(seed, _LEVELS), *SEVERITIES)
    draws = tf.random.stateless_uniform([count, NUM_DRAWS], fold_in(seed, _DRAWS))
    return tf.reshape(operations, [-1]), levels, draws


def _arguments(level: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """Returns the argument of every operation and of the identity: float32.

    Degrees, bits, thresholds and pixels are whole numbers, as in the released code.

    Args:
        level: float32 scalar; 10 is the largest of AutoAugment.
        shape: int32 [2], height and width in pixels.
    """
    part = level / 10
    thirds = tf.cast(shape, tf.float32) / 3
    arguments = {
        "Posterize": 4 - tf.floor(4 * part),
        "Rotate": tf.floor(30 * part),
        "Solarize": 256 - tf.floor(256 * part),
        "ShearX": 0.3 * part,
        "ShearY": 0.3 * part,
        "TranslateX": tf.floor(thirds[1] * part),
        "TranslateY": tf.floor(thirds[0] * part),
    }
    zero = tf.zeros([])
    return tf.stack([arguments.get(name, zero) for name in (*OPERATIONS, IDENTITY)])
