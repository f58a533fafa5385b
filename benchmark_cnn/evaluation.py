"""The evaluation loop: every example once, for any number of towers and any batch size."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from benchmark_cnn.class_report import NO_CLASS, Confusion
from benchmark_cnn.distribution.batches import evaluation_batches
from benchmark_cnn.distribution.variable_mgr import VariableManager
from benchmark_cnn.interfaces import Dataset, Network
from benchmark_cnn.objective.losses import CROSS_ENTROPY, Loss
from benchmark_cnn.step import failures, metrics
from common.errors import DataError, UsageError


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
            `num_classes` also a Confusion, `confusion`.

        Raises:
            DataError: a damaged record, or another number of examples than the data set has.
            UsageError: out of memory.
        """
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
        total, pairs = metrics.zero(), []
        for step in range(1, num_steps + 1):
            started = time.perf_counter()
            try:
                counts, classes = self._step(num_classes is not None, *next(batches))
            except tf.errors.ResourceExhaustedError as error:
                raise UsageError(
                    f"out of memory in an evaluation with --batch_size={self.batch_size}: lower it"
                ) from error
            except failures.ERRORS as error:
                raise failures.explain(error, self.dataset, self.subset) from error
            total += counts
            if classes is not None:
                pairs.append(classes)
            elapsed = max(time.perf_counter() - started, 1e-9)
            on_step(step, self.batch_size * self.manager.num_towers / elapsed)
        result: dict = metrics.Counts(*self.manager.sum_over_workers(total)).result()
        if not expected - self.max_skipped <= result["examples"] <= expected:
            raise DataError(
                f"the {self.subset} subset of {self.dataset.name} gave {result['examples']} "
                f"examples where {expected} were announced"
            )
        if num_classes is not None:
            true, predicted = np.concatenate([pair.numpy() for pair in pairs], axis=1)
            is_real = true >= 0
            result["confusion"] = Confusion.of(true[is_real], predicted[is_real], num_classes)
        return result

    def _evaluate_step(self, counts_classes, images, labels, is_real):
        tower = functools.partial(self._tower, counts_classes)
        counts, classes = self.manager.run_towers(tower, (images, labels, is_real))
        towers = zip(*(self.manager.local_results(part) for part in counts), strict=True)
        total = sum((metrics.Counts(*tower) for tower in towers), metrics.zero())
        if not counts_classes:
            return total, None
        # Small tensors that stay on a GPU would fragment its memory.
        with tf.device("/cpu:0"):
            return total, tf.concat(self.manager.local_results(classes), axis=1)

    def _tower(self, counts_classes, images, labels, is_real):
        background = int(self.network.background_class)
        logits = self.network(images, training=False).logits
        counts = metrics.count(logits, labels + background, is_real, self.loss)
        if not counts_classes:
            return counts, None
        true = tf.cast(tf.where(is_real, labels, -1), tf.int64)
        # The background class is NO_CLASS, as is a row that is not finite.
        predicted = tf.maximum(metrics.predicted(logits) - background, NO_CLASS)
        return counts, tf.stack([true, predicted])
