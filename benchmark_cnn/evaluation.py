"""The evaluation loop: every example once, for any number of towers and any batch size."""

from __future__ import annotations

import copy
import functools
import math
import numbers
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from benchmark_cnn.class_report import NO_CLASS, Confusion
from benchmark_cnn.distribution.batches import evaluation_batches
from benchmark_cnn.distribution.variable_mgr import VariableManager
from benchmark_cnn.interfaces import Dataset, InferenceNetwork, Network
from benchmark_cnn.objective import average_precision
from benchmark_cnn.objective.losses import BCE, CROSS_ENTROPY, Loss
from benchmark_cnn.step import failures, metrics
from benchmark_cnn.step.train_state import TrainState
from common.errors import DataError, UsageError

_STEPS_OF_A_GPUS_QUEUE = 10


class Evaluator:
    """Evaluates `network` on one subset; keeps its compiled step between evaluations.

    Args:
        batch_size: examples per tower and step; any number gives the same result.
        max_skipped: damaged records that may be skipped (`--max_corrupt_records`).
        loss: of the training; reported without its weights and label smoothing.
    """

    def __init__(
        self,
        manager: VariableManager,
        network: Network,
        dataset: Dataset,
        *,
        batch_size: int,
        image_size: int,
        subset: str = "validation",
        max_skipped: int = 0,
        loss: Loss = CROSS_ENTROPY,
    ):
        self.manager = manager
        self.network = network
        self.dataset = dataset
        self.batch_size = batch_size
        self.image_size = image_size
        self.subset = subset
        self.max_skipped = max_skipped
        self.loss = loss.unweighted()
        self._step = tf.function(self._evaluate_step, autograph=False)
        # Made by the first evaluation: a training without any needs no second copy of the weights.
        self._inference: InferenceNetwork | None = None

    def on_subset(self, subset: str) -> Evaluator:
        """Returns an evaluator of the same network on another subset."""
        if subset == self.subset:
            return self
        other = copy.copy(self)
        other.subset = subset
        other._step = tf.function(other._evaluate_step, autograph=False)
        return other

    def run(
        self,
        on_step: Callable[[int, float], None] = lambda step, speed: None,
        *,
        num_classes: int | None = None,
    ) -> dict:
        """Evaluates the current weights on the whole subset.

        Args:
            on_step: called after each step with its number and its examples per second.
            num_classes: if given, what each of these classes was predicted as is counted, too, over
                the examples of this worker, which has to be the only one. The host keeps 16 bytes
                an example.

        Returns:
            `top_1` and `top_5` as fractions, the mean `loss`, and `examples`; with
            `num_classes` also a Confusion, `confusion`. Of images with several labels, top-k counts
            those of which a label is among the first k, and there are `mean_average_precision`,
            `average_precisions` float64 [C] and `examples_of_classes` int64 [C] instead of a
            Confusion. The host then keeps 8 C bytes an example.

        Raises:
            DataError: a damaged record, or another number of examples than the data set has.
            UsageError: out of memory.
        """
        self._take_weights()
        batches = evaluation_batches(
            self.manager,
            self.dataset,
            batch_size=self.batch_size,
            image_size=self.image_size,
            subset=self.subset,
        )
        expected = self.dataset.num_examples(self.subset)
        share = math.ceil(expected / self.manager.worker[1])
        num_steps = math.ceil(math.ceil(share / self.batch_size) / self.manager.num_local_towers)
        total, pairs, scored = metrics.zero(), [], []
        clock = _Clock(1 if self.manager.shares_memory else _STEPS_OF_A_GPUS_QUEUE)
        for step in range(1, num_steps + 1):
            try:
                counts, classes, scores = self._step(num_classes is not None, *next(batches))
            except tf.errors.ResourceExhaustedError as error:
                raise UsageError(
                    f"out of memory in an evaluation with --batch_size={self.batch_size}: lower it"
                ) from error
            except failures.ERRORS as error:
                raise failures.explain(error, self.dataset, self.subset) from error
            total += counts
            if classes is not None:
                pairs.append(classes)
            if scores is not None:
                scored.append(scores)
            per_sec = clock.steps_per_sec(step, total.examples)
            on_step(step, self.batch_size * self.manager.num_towers * per_sec)
        result: dict = metrics.Counts(*self.manager.sum_over_workers(total)).result()
        if not expected - self.max_skipped <= result["examples"] <= expected:
            raise DataError(
                f"the {self.subset} subset of {self.dataset.name} gave {result['examples']} "
                f"examples where {expected} were announced"
            )
        if self.dataset.multi_label:
            rows = np.concatenate([part.numpy() for part in scored])
            result |= self._precisions(rows, share)
        elif num_classes is not None:
            true, predicted = np.concatenate([pair.numpy() for pair in pairs], axis=1)
            is_real = true >= 0
            result["confusion"] = Confusion.of(true[is_real], predicted[is_real], num_classes)
        return result

    def _take_weights(self) -> None:
        if self._inference is None:
            with self.manager.scope():
                self._inference = self.network.for_inference()
        for variable, function, arguments in self._inference.updates():
            self.manager.update(variable, function, arguments)

    def _evaluate_step(self, counts_classes, images, labels, is_real):
        tower = functools.partial(self._tower, counts_classes)
        counts, classes, scores = self.manager.run_towers(tower, (images, labels, is_real))
        towers = zip(*(self.manager.local_results(part) for part in counts), strict=True)
        total = sum((metrics.Counts(*tower) for tower in towers), metrics.zero())
        # Small tensors that stay on a GPU would fragment its memory.
        with tf.device("/cpu:0"):
            if self.dataset.multi_label:
                return total, None, tf.concat(self.manager.local_results(scores), axis=0)
            if not counts_classes:
                return total, None, None
            return total, tf.concat(self.manager.local_results(classes), axis=1), None

    def _tower(self, counts_classes, images, labels, is_real):
        background = int(self.network.background_class)
        logits, of_loss = self._answers(images)
        of_outputs = metrics.after_background(labels) if background else labels
        counts = metrics.count(logits, of_outputs, is_real, self.loss)
        if of_loss is not None:
            by_loss = metrics.count(of_loss, of_outputs, is_real, self.loss)
            counts = counts._replace(loss_sum=by_loss.loss_sum)
        if self.dataset.multi_label:
            real = tf.cast(is_real, tf.float32)[:, tf.newaxis]
            scores = tf.cast(logits[:, background:], tf.float32)
            return counts, None, tf.concat([real, labels, scores], axis=1)
        if not counts_classes:
            return counts, None, None
        true = tf.cast(tf.where(is_real, labels, -1), tf.int64)
        # The background class is NO_CLASS, as is a row that is not finite.
        predicted = tf.maximum(metrics.predicted(logits) - background, NO_CLASS)
        return counts, tf.stack([true, predicted]), None

    def _answers(self, images) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Returns the logits, and those of the loss where they are others: see `mean_of_views`."""
        assert self._inference is not None
        if images.shape.rank == 4:
            return self._inference(images), None
        # One view of all images after the other: the memory of activations is that of one.
        of_views = tf.map_fn(
            self._inference,
            tf.transpose(images, [1, 0, 2, 3, 4]),
            parallel_iterations=1,
            fn_output_signature=tf.float32,
        )
        if self.dataset.multi_label:
            return metrics.mean_of_views(of_views, independent=True), None
        logits = metrics.mean_of_views(of_views, independent=False)
        if self.loss.name != BCE:
            return logits, None
        return logits, metrics.mean_of_views(of_views, independent=True)

    def _precisions(self, scored: np.ndarray, share: int) -> dict:
        """Returns the average precisions over the rows of all workers.

        Args:
            scored: float32 [rows, 1 + 2 C] of this worker: whether the row is real, labels, scores.
            share: rows that a worker has at most.
        """
        index, count = self.manager.worker
        own = scored[scored[:, 0] > 0]
        if count > 1:
            # Each worker has its own rows, and zeros where the others have theirs.
            rows = np.zeros([count, share, scored.shape[1]], np.float32)
            rows[index, : len(own)] = own
            (summed,) = self.manager.sum_over_workers([rows])
            rows = np.asarray(summed).reshape(-1, scored.shape[1])
            own = rows[rows[:, 0] > 0]
        labels, scores = np.split(own[:, 1:], 2, axis=1)
        precisions = average_precision.average_precisions(labels, scores)
        return {
            "mean_average_precision": average_precision.mean(precisions),
            "average_precisions": precisions,
            "examples_of_classes": (labels > 0).sum(axis=0),
        }


def figures(result: dict) -> dict:
    """Returns the numbers of a result about all images, without what it says of each class."""
    return {name: value for name, value in result.items() if isinstance(value, numbers.Real)}


class _Clock:
    """Measures steps, the work of GPUs in them: a call only queues it.

    Args:
        every: steps after which the GPUs are waited for.
    """

    def __init__(self, every: int):
        self._every, self._measured, self._per_sec = every, 0, 0.0
        self._since = time.perf_counter()

    def steps_per_sec(self, step: int, result: tf.Tensor) -> float:
        """Returns the speed up to the last step that was waited for, the first among them."""
        if step == 1 or step % self._every == 0:
            np.asarray(result)  # waits
            now = time.perf_counter()
            self._per_sec = (step - self._measured) / max(now - self._since, 1e-9)
            self._measured, self._since = step, now
        return self._per_sec


class _Abandoned(Exception):
    """An evaluation that was interrupted."""


def evaluate_averages(
    evaluator: Evaluator, state: TrainState, *, num_classes: int | None, stops: Callable[[], bool]
) -> dict | None:
    """Evaluates the averages of a training, or its weights without any; see `Evaluator.run`.

    Args:
        stops: whether to stop, asked after every step; then the result is None.
    """

    def check(*_) -> None:
        if stops():
            raise _Abandoned

    state.swap_averages()
    try:
        return evaluator.run(check, num_classes=num_classes)
    except _Abandoned:
        return None
    finally:
        state.swap_averages()
