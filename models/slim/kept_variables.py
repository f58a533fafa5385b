"""Variables for code that asks TF1's get_variable for them, in a program without sessions."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


class KeptVariables:
    """Creates every variable once and hands it back at each later trace, by its scoped name.

    Initial values, names and shapes are those that the slim layers ask for; their regularizers do
    not get here. Variables are float32: a layer that computes in another dtype gets them cast.
    """

    def __init__(self) -> None:
        self.by_name: dict[str, tf.Variable] = {}
        self._strategy = tf.distribute.get_strategy()
        self._is_complete = False

    def complete(self) -> None:
        """From now on a name that is not there is an error, not a new variable."""
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
        """A custom_getter for `tf.compat.v1.variable_scope`; KeyError for an unknown name.

        `getter`, TF1's own, is not called: it would keep variables in the graph.
        """
        if name not in self.by_name:
            if self._is_complete:
                raise KeyError(f"the network was built without a variable {name!r}")
            self.by_name[name] = self._create(name, shape, initializer, trainable)
        variable = self.by_name[name]
        return variable if dtype == variable.dtype else tf.cast(variable, dtype)

    def _create(self, name: str, shape: Any, initializer: Any, trainable: bool) -> tf.Variable:
        shape = tf.TensorShape(shape).as_list()
        # Out of the graph that is being traced; that leaves the scope of the strategy as well.
        with tf.init_scope(), self._strategy.scope():
            return tf.Variable(
                lambda: initializer(shape, dtype=tf.float32), trainable=trainable, name=name
            )
