"""Checkpoints as TensorFlow 1 wrote them: by its own Saver, out of a session."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

v1: Any = tf.compat.v1


def save(
    prefix: str | os.PathLike[str], tensors: Mapping[str, np.ndarray], *, one_file: bool = False
) -> None:
    """Write name -> value to `<prefix>.index` and its data file, or as V1 to one file `prefix`."""
    version = v1.train.SaverDef.V1 if one_file else v1.train.SaverDef.V2
    with tf.Graph().as_default(), v1.Session() as session:
        placeholders, variables = {}, {}
        for name, value in tensors.items():
            placeholders[name] = v1.placeholder(value.dtype, value.shape)
            variables[name] = v1.Variable(placeholders[name], use_resource=True)
        feed = {placeholder: tensors[name] for name, placeholder in placeholders.items()}
        session.run([variable.initializer for variable in variables.values()], feed)
        saver = v1.train.Saver(variables, write_version=version)
        saver.save(session, os.fspath(prefix), write_meta_graph=False)
