"""Checkpoints as TensorFlow 1 wrote them: by its own Saver, out of a session."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import tensorflow as tf


def save(prefix: str | os.PathLike[str], tensors: Mapping[str, np.ndarray]) -> None:
    """Write name -> value to `<prefix>.index` and its data file."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        placeholders, variables = {}, {}
        for name, value in tensors.items():
            placeholders[name] = tf.compat.v1.placeholder(value.dtype, value.shape)
            variables[name] = tf.compat.v1.Variable(placeholders[name], use_resource=True)
        feed = {placeholder: tensors[name] for name, placeholder in placeholders.items()}
        session.run([variable.initializer for variable in variables.values()], feed)
        tf.compat.v1.train.Saver(variables).save(session, os.fspath(prefix), write_meta_graph=False)
