"""The evaluation loop: every example once, for any number of towers and any batch size."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import tensorflow as tf

from benchmark_cnn.distribution.batches import evaluation_batches
from benchmark_cnn.distribution.variable_mgr import VariableManager
from benchmark_cnn.interfaces import Dataset, Network
from benchmark_cnn.step import metrics
from common.errors import DataError, UsageError

# Errors that damaged records and missing files raise.
INPUT_ERRORS = (
    tf.errors.DataLossError,
    tf.errors.InvalidArgumentError,
    tf.errors.NotFoundError,
    tf.errors.PermissionDeniedError,
    tf.errors.UnknownError,
)


class Evaluator:
    """Evaluates `network` on one subset; keeps its compiled step between evaluations.

    Args:
        batch_size: examples per tower and step; any number gives the same result.
        max_skipped: damaged records that may be skipped (`--max_corrupt_records`).
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
    ):
        self.manager = manager
        self.network = network
        self.dataset = dataset
        self.batch_size = batch_size
        self.image_size = image_size
        self.subset = subset
        self.max_skipped = max_skipped
        self._step = tf.function(self._evaluate_step, autograph=False)

    def run(self, on_step: Callable[[int, float], None] = lambda step, speed: None) -> dict:
        """Evaluates the current weights on the whole subset.

        Args:
            on_step: called after each step with its number and its examples per second.

        Returns:
            `top_1` and `top_5` as fractions, the mean cross entropy `loss`, and `examples`.

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
        num_steps = math.ceil(math.ceil(expected / self.batch_size) / self.manager.num_towers)
        total = metrics.zero()
        for step in range(1, num_steps + 1):
            started = time.perf_counter()
            try:
                total += self._step(*next(batches))
            except tf.errors.ResourceExhaustedError as error:
                raise UsageError(
                    f"out of memory in an evaluation with --batch_size={self.batch_size}: lower it"
                ) from error
            except INPUT_ERRORS as error:
                raise self.dataset.explain(error, self.subset) from error
            elapsed = max(time.perf_counter() - started, 1e-9)
            on_step(step, self.batch_size * self.manager.num_towers / elapsed)
        result = total.result()
        if not expected - self.max_skipped <= result["examples"] <= expected:
            raise DataError(
                f"the {self.subset} subset of {self.dataset.name} gave {result['examples']} "
                f"examples where {expected} were announced"
            )
        return result

    def _evaluate_step(self, images, labels, is_real):
        counts = self.manager.run_towers(self._tower, (images, labels, is_real))
        towers = zip(*(self.manager.local_results(part) for part in counts), strict=True)
        return sum((metrics.Counts(*tower) for tower in towers), metrics.zero())

    def _tower(self, images, labels, is_real):
        if self.network.background_class:
            labels = labels + 1
        logits = self.network(images, training=False).logits
        return metrics.count(logits, labels, is_real)
