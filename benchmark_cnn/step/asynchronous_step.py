"""A step of one worker among many that do not wait for each other: compute, apply, count."""

from __future__ import annotations

import tensorflow as tf

from benchmark_cnn.step.training_step import TrainingStep

_NO_LIMIT = 2**62


class AsynchronousStep(TrainingStep):
    """The arithmetic of TrainingStep, on weights that other workers may change meanwhile.

    The step's number is counted after its updates, in the same call, so that whatever is counted
    was applied; a step that a lost worker left unfinished is not.
    """

    def run(self, batch) -> tuple[tf.Tensor, tf.Tensor]:
        """Runs a step on (images, labels).

        Returns:
            The values, float32 [len(REPORT)], and int64 [2]: the updates that were applied before
            the weights were read, and before this step's were. Their difference is the staleness.
        """
        counter, graph = self.state.global_step, tf.compat.v1.get_default_graph()
        read = counter.read_value()
        true, false = tf.constant(True), tf.constant(False)
        with tf.control_dependencies([read]):
            first = len(graph.get_operations())
            values, norm = self.update(read, (batch,), true, false)
            self.count_skipped(norm)
        updates = [
            operation
            for operation in graph.get_operations()[first:]
            if operation.op_def.is_stateful and operation.type != "ReadVariableOp"
        ]
        with tf.control_dependencies([tf.group(*updates)]), tf.device(counter.device):
            # Two workers that add at the same time get two numbers.
            applied = tf.raw_ops.ResourceCountUpTo(
                resource=counter.handle, limit=_NO_LIMIT, T=tf.int64
            )
            self.state.examples_seen.assign_add(self.global_batch)
        return values, tf.stack([read, applied])
