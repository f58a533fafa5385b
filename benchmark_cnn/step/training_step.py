"""One training step: towers, aggregate, unscale, decay, clip, update, average, in this order."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from benchmark_cnn.distribution.one_trace import OneTrace
from benchmark_cnn.distribution.variable_mgr import VariableManager
from benchmark_cnn.fine_tuning.plan import EVERYTHING, FineTuning
from benchmark_cnn.objective.losses import AUXILIARY_WEIGHT
from benchmark_cnn.params.training_params import OptimizationParams
from benchmark_cnn.step import gradients, losses, optimizers, train_state
from benchmark_cnn.step.markers import Markers, mark
from benchmark_cnn.step.tower import SCALARS, Tower
from benchmark_cnn.step.train_state import Progress, TrainState

# The values of a step, in the order of its vector. Those that cost a pass over all weights
# (weight_decay, and gradient_norm without clipping) are NaN unless a report was requested.
REPORT = (
    "total_loss",
    *SCALARS,
    "weight_decay",
    "gradient_norm",
    "learning_rate",
    "loss_scale",
)


class _Terms(NamedTuple):
    """What the update of a variable depends on, besides its gradient: scalar tensors.

    Attributes:
        updates: of this variable, before this one.
        average_decay: of its moving average.
    """

    learning_rate: tf.Tensor
    updates: tf.Tensor
    average_decay: tf.Tensor


@dataclasses.dataclass(frozen=True)
class TrainingStep:
    """The arithmetic of a step.

    Attributes:
        image_size: of the training images, in pixels.
        decayed: checkpoint names of the variables that weight decay applies to.
        fine_tuning: the rates of the variables, and when their training begins.
        skip_nonfinite: skip the update when a gradient is not finite.
        averages_from: number of the step that first averages; before, averages are copies.
        compiles: run each tower's step in XLA programs (`--xla=step`).
        inlined: whether the graph of each tower is a part of the step's, and no call.
        markers: counters that say how far a step is; None counts nothing.
        on_gradients, on_images: called in summarized steps, inside the graph, with the number of
            the finished step and the gradients by name, or the first tower's images.
    """

    manager: VariableManager
    tower: Tower
    image_size: int
    state: TrainState
    optimizer: optimizers.Optimizer
    schedule: Callable
    optimization: OptimizationParams
    decayed: frozenset[str]
    global_batch: int
    seed: int
    skip_nonfinite: bool
    averages_from: int = 0
    compiles: bool = False
    inlined: bool = True
    fine_tuning: FineTuning = EVERYTHING
    markers: Markers | None = None
    on_gradients: Callable | None = None
    on_images: Callable | None = None

    def __call__(self, micro_batches, report, summarize) -> tf.Tensor:
        """Runs a step.

        Args:
            micro_batches: pairs (images, labels) of per-tower values; see Tower.run.
            report: bool scalar tensor, whether the caller will read the result.
            summarize: bool scalar tensor, whether to call the hooks.

        Returns:
            float32 [len(REPORT)].
        """
        step = self.state.global_step.read_value()
        values, norm = self.update(step, micro_batches, report, summarize)
        self._count(norm)
        return values

    def update(self, step, micro_batches, report, summarize) -> tuple[tf.Tensor, Any]:
        """Updates the weights; returns the values of the step, and its gradient's norm by tower.

        Args:
            step: int64 scalar tensor, the steps made before this one.
        """
        state = self.state
        progress = state.progress(step)
        learning_rate = self.schedule(step)
        scale = state.loss_scale.read_value() if state.scales_loss else None
        if self.on_images is not None:
            self._hand_out(self.on_images, summarize, step, self._shared(micro_batches[0][0]))
        results, norm = self.manager.run_towers(
            self._tower, (micro_batches, report, summarize, progress, learning_rate, scale)
        )
        *scalars, decay_loss = tf.unstack(self._shared(results))
        total_loss = scalars[0] + AUXILIARY_WEIGHT * scalars[1] + decay_loss
        if self.tower.forward_only:
            total_loss = tf.zeros([])
        used_scale = tf.ones([]) if scale is None else scale
        shared = (self._shared(norm), learning_rate, used_scale)
        return tf.stack([total_loss, *scalars, decay_loss, *shared]), norm

    def _tower(self, micro_batches, report, summarize, progress, learning_rate, scale):
        if self.compiles:
            return self._compiled_tower(micro_batches, progress, learning_rate, scale)
        tower, unknown = self._local_tower(), tf.constant(float("nan"))
        prepared = self.tower.prepare(micro_batches, seed=self.seed, step=progress.steps)
        result = self._compute(tower, prepared, scale)
        if self.markers is not None:
            mark(self.markers.towers[tower], [result.scalars, *result.gradients])
        result = gradients.aggregate(self.manager, result)
        if self.tower.forward_only:
            return tf.concat([result.scalars, [0.0]], 0), unknown
        finished, decay_loss, norm = result.gradients, unknown, unknown
        if tower == 0 or not self.manager.computes_once:
            finished, decay_loss, norm = self._finish(result.gradients, report, scale)
        tf.distribute.get_replica_context().merge_call(
            self._apply,
            args=(finished, result.statistics, norm, progress, learning_rate, summarize),
        )
        return tf.concat([result.scalars, [decay_loss]], 0), norm

    @functools.cached_property
    def _compute(self) -> OneTrace:
        """The forward and backward passes of a tower."""
        variables = self.state.variables.values()
        return OneTrace(self.manager, self.tower.compute, variables, inlined=self.inlined)

    @functools.cached_property
    def _update_copies(self) -> OneTrace:
        """The update of a tower's copies of the variables."""

        def update(gradients, statistics, progress, learning_rate):
            own = functools.partial(self._update_copy, 0)
            self._update_all(gradients, statistics, progress, learning_rate, own)

        variables = self.state.named_variables().values()
        return OneTrace(self.manager, update, variables, inlined=False)

    def _compiled_tower(self, micro_batches, progress, learning_rate, scale):
        """Runs the step in one XLA program, or in two with the all-reduce between them.

        Each tower updates its own copies of the variables.
        """
        prepared = self.tower.prepare(micro_batches, seed=self.seed, step=progress.steps)
        compiled = functools.partial(tf.function, jit_compile=True, autograph=False)

        def update(result, scale, progress, learning_rate):
            finished, decay_loss, norm = self._finish(result.gradients, True, scale)
            self._update_own(finished, result.statistics, norm, progress, learning_rate)
            return tf.concat([result.scalars, [decay_loss]], 0), norm

        def whole(prepared, scale, progress, learning_rate):
            return update(self.tower.compute(prepared, scale), scale, progress, learning_rate)

        if self.manager.num_towers == 1:
            return compiled(whole)(prepared, scale, progress, learning_rate)
        result = compiled(self.tower.compute)(prepared, scale)
        result = gradients.aggregate(self.manager, result)
        return compiled(update)(result, scale, progress, learning_rate)

    def _finish(self, computed, report, scale):
        """Returns the gradients to apply, the loss of weight decay, and the gradients' norm."""

        def if_reported(compute):
            nothing = tf.constant(float("nan"))
            return compute() if report is True else tf.cond(report, compute, lambda: nothing)

        finished = gradients.unscale(computed, scale)
        if not self._decay_is_separate:
            finished = gradients.add_weight_decay(finished, self.tower.trained, self._weight_decays)
        if self._always_needs_norm:
            norm = gradients.global_norm(finished)
        else:
            norm = if_reported(lambda: gradients.global_norm(finished))
        decay_loss = if_reported(self._decay_loss)
        finished = gradients.clip(
            finished,
            limit=self.optimization.gradient_clip,
            mode=self.optimization.gradient_clip_mode,
            norm=norm,
        )
        return finished, decay_loss, norm

    def _local_tower(self) -> int:
        """Returns the number of the running tower among those of this worker."""
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        return int(tf.get_static_value(number)) % self.manager.num_local_towers

    @property
    def _decay_is_separate(self) -> bool:
        """Whether weight decay is no part of the gradient that is clipped and applied."""
        return self._decouples_decay or self.optimizer.includes_weight_decay

    @property
    def _decouples_decay(self) -> bool:
        flags = self.optimization
        return flags.decoupled_weight_decay or self.optimizer.decouples_weight_decay

    @property
    def _always_needs_norm(self) -> bool:
        return self.skip_nonfinite or self.optimization.gradient_clip is not None

    @property
    def _weight_decays(self) -> list[float]:
        names = self.tower.trained_names
        return [self.optimization.decay if name in self.decayed else 0.0 for name in names]

    def _decay_loss(self):
        if self._decay_is_separate:
            return tf.zeros([])
        weights = zip(self.tower.trained, self._weight_decays, strict=True)
        decayed = [variable for variable, decay in weights if decay]
        return losses.l2_penalty(decayed, self.optimization.decay)

    def _apply(
        self, _strategy, gradients, statistics, norm, progress, learning_rate, summarize
    ) -> None:
        """Updates every copy of every variable. Called between the towers."""
        learning_rate = self._shared(learning_rate)
        progress = Progress(*map(self._shared, progress))
        gradients = self.manager.computed_once(gradients)
        statistics = self.manager.computed_once(statistics)
        if self.on_gradients is not None:
            named = zip(self.tower.trained_names, map(self._shared, gradients), strict=True)
            self._hand_out(self.on_gradients, self._shared(summarize), progress.steps, dict(named))
        update = functools.partial(
            self._update_everywhere, gradients, statistics, progress, learning_rate
        )
        if self.skip_nonfinite:
            tf.cond(self._all_finite(norm), update, lambda: None)
        else:
            update()

    def _update_everywhere(self, gradients, statistics, progress, learning_rate) -> None:
        """Updates all copies of all variables."""
        copies = self.manager.local_results(next(iter(self.state.variables.values())))
        if self.inlined or len(copies) == 1:
            self._update_all(gradients, statistics, progress, learning_rate, self.manager.update)
            return
        for tower, copy in enumerate(copies):
            values = (list(gradients), list(statistics), progress, learning_rate)
            arguments = self._own(tower, values)
            with tf.device(copy.device):
                self._update_copies(tower, *arguments)

    @staticmethod
    def _hand_out(hook: Callable, summarize, step, value) -> None:
        def call():
            hook(step + 1, value)
            return tf.constant(0)

        tf.cond(summarize, call, lambda: tf.constant(0))

    def _all_finite(self, norm):
        norms = self.manager.local_results(norm)
        if self.manager.exchanges:
            norms = norms[:1]  # that of the gradient that all towers share
        return tf.reduce_all([tf.math.is_finite(value) for value in norms])

    def _shared(self, value):
        """Returns a value that is the same on every tower."""
        return self.manager.local_results(value)[0]

    def _update_own(self, gradients, statistics, norm, progress, learning_rate) -> None:
        """Updates the running tower's copies; a skipped update leaves what they held."""
        tower = self._local_tower()

        def update(variable, function, args):
            own = tf.nest.flatten(self._own(tower, (variable, args)))
            copies = [value for value in own if isinstance(value, tf.Variable)]
            before = [copy.read_value() for copy in copies]
            self._update_copy(tower, variable, function, args)
            if not self.skip_nonfinite:
                return
            for copy, value in zip(copies, before, strict=True):
                copy.assign(tf.where(tf.math.is_finite(norm), copy.read_value(), value))

        self._update_all(gradients, statistics, progress, learning_rate, update)

    def _update_copy(self, tower: int, variable, function, args) -> None:
        variable, args = self._own(tower, (variable, args))
        function(variable, *args)

    def _own(self, tower: int, values):
        """Returns nested values with a tower's own in place of per-tower values and variables."""

        def own(value):
            is_distributed = isinstance(value, tf.distribute.DistributedValues)
            return self.manager.local_results(value)[tower] if is_distributed else value

        return tf.nest.map_structure(own, values)

    def _update_all(self, gradients, statistics, progress, learning_rate, update) -> None:
        """Updates weights, slots, averages and statistics by `update`; see VariableManager."""
        terms = functools.cache(functools.partial(self._terms, progress, learning_rate))
        rate, first_step = self.fine_tuning.rate, self.fine_tuning.first_step
        for name, gradient in zip(self.tower.trained_names, gradients, strict=True):
            self._update_weight(update, name, gradient, terms(first_step(name), rate(name)))
        for name, value in zip(self.tower.statistics_names, statistics, strict=True):
            average_decay = terms(first_step(name), 1.0).average_decay
            self._assign_statistic(update, name, value, average_decay)

    def _terms(self, progress: Progress, learning_rate, first_step: int, rate: float) -> _Terms:
        begins = max(first_step, self.averages_from)
        decay = train_state.decay_at(
            progress.updates_since(begins) + 1, self.optimization.moving_average_decay or 0.0
        )
        if self.averages_from:
            decay = tf.where(progress.steps < begins, 0.0, decay)
        return _Terms(
            learning_rate if rate == 1.0 else learning_rate * rate,
            progress.updates_since(first_step),
            decay,
        )

    def _update_weight(self, update, name: str, gradient, terms: _Terms) -> None:
        state, decayed = self.state, name in self.decayed

        def apply(variable, gradient, slots, average):
            if decayed and self._decouples_decay:
                optimizers.decay_decoupled(
                    variable,
                    weight_decay=self.optimization.decay,
                    learning_rate=terms.learning_rate,
                )
            self.optimizer.apply(
                variable,
                gradient,
                slots,
                learning_rate=terms.learning_rate,
                step=terms.updates,
                decayed=decayed,
            )
            if average is not None:
                train_state.update(average, variable, terms.average_decay)

        others = (gradient, state.slots[name], state.averages.get(name))
        update(state.variables[name], apply, others)

    def _assign_statistic(self, update, name: str, value, average_decay) -> None:
        def assign(variable, value, average):
            variable.assign(value)
            if average is not None:
                train_state.update(average, value, average_decay)

        average = self.state.averages.get(name)
        update(self.state.variables[name], assign, (value, average))

    def _count(self, norm) -> None:
        """Advances the counters and the loss scale."""
        self.count_skipped(norm)
        self.state.global_step.assign_add(1)
        self.state.examples_seen.assign_add(self.global_batch)

    def count_skipped(self, norm) -> None:
        """Counts a skipped update, and adapts the loss scale."""
        state = self.state
        if self.skip_nonfinite and not self.tower.forward_only:
            finite = self._all_finite(norm)
            state.skipped_steps.assign_add(tf.cast(~finite, tf.int64))
            in_a_row = state.skipped_in_a_row.read_value() + 1
            state.skipped_in_a_row.assign(tf.where(finite, tf.zeros_like(in_a_row), in_a_row))
            if state.scales_loss:
                scale, good_steps = gradients.next_scale(
                    state.loss_scale,
                    state.good_steps,
                    finite,
                    increase_every=self.optimization.fp16_inc_loss_scale_every_n,
                )
                state.loss_scale.assign(scale)
                state.good_steps.assign(good_steps)
