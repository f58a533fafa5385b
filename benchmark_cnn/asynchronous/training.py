"""The training loop of the chief of an asynchronous run.

Between two points at which the weights have to stand still (a checkpoint, an evaluation, the end),
workers are kept busy, and each result is reported as it arrives. A step has the number of its
update, which the servers count; so what is counted was applied, however often a lost worker's step
was scheduled again.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable

from benchmark_cnn import evaluation
from benchmark_cnn.asynchronous.calls import LOST, Calls
from benchmark_cnn.distribution.asynchronous_manager import AsynchronousManager
from benchmark_cnn.distribution.remote_tasks import RemoteTasks
from benchmark_cnn.reporting import console
from benchmark_cnn.reporting.reporter import Reporter
from benchmark_cnn.reporting.speed import Timing
from benchmark_cnn.run import (
    TrainingRun,
    errors_in_one_line,
    evaluation_cadence,
    evaluation_due,
    next_multiple,
    stop_line,
)
from benchmark_cnn.saving import Saver
from benchmark_cnn.step.asynchronous_step import AsynchronousStep
from benchmark_cnn.survival.non_finite import Guard
from checkpoints.tensor_roles import MOVING_AVERAGE
from common.errors import Stopped
from common.process import StopSignal

# After a signal, how long the workers may take for the steps that they have begun.
_FINISH_SECS = 60.0


@dataclasses.dataclass
class AsynchronousTraining:
    """The loop, and what it works with; call `train`."""

    run: TrainingRun
    tasks: RemoteTasks
    saver: Saver
    reporter: Reporter
    guard: Guard
    stop: StopSignal
    num_results: int = 0

    def train(self, step: int) -> None:
        """Trains from `step` to the end of the plan, or until the evaluations suffice.

        Raises:
            Stopped: after a signal, with the state saved.
            ClusterError: a parameter server is gone, or all workers are.
        """
        run, total = self.run, self.run.plan.total_steps
        self._make_up_for_an_evaluation(step)
        calls = self._calls() if step < total else {}
        suffices = self.reporter.ends_training()
        while step < total and not suffices and not self.stop.requested:
            previous, end = step, self._next_standstill(step)
            phase = max(first for first in calls if first <= step)
            step = self._train_to(end, step, calls[phase])
            state = run.state.host_values()
            self.guard.check_weights(step, state)
            ends = bool(self.stop.requested) or step >= total
            evaluates = evaluation_due(run, previous, step)
            if ends or evaluates or self.saver.due(previous, step):
                self.saver.save(step, state, self.reporter.sync, waits=ends)
            if evaluates and not self.stop.requested:
                self._evaluate(step)
                suffices = self.reporter.ends_training()
        self.saver.wait()
        if self.stop.requested and step < total:
            raise Stopped(stop_line(run, step, self.stop))

    def _calls(self) -> dict[int, Calls]:
        """Returns the first step of each phase -> how to schedule its steps."""
        run, manager = self.run, self.run.manager
        assert isinstance(manager, AsynchronousManager)
        batches = manager.batches(
            run.dataset,
            batch_size=run.plan.batch_per_tower,
            image_size=run.settings.image_size,
            seed=run.params.hardware.tf_random_seed,
            start_example=int(run.state.examples_seen),
            subset=run.settings.subset,
        )
        return {
            first: Calls(manager, step.run, batches)
            for first, step in run.phases.items()
            if isinstance(step, AsynchronousStep)
        }

    def _next_standstill(self, step: int) -> int:
        """Returns the next step after which weights are saved or evaluated, or a phase begins."""
        plan, checkpoint = self.run.plan, self.run.params.checkpoint
        begins = min(
            (first for first in (plan.warmup_steps, *self.run.phases) if first > step),
            default=plan.total_steps,
        )
        evaluates = next_multiple(step, evaluation_cadence(self.run))
        saves = next_multiple(step, checkpoint.save_model_steps if checkpoint.train_dir else None)
        return int(min(begins, evaluates, saves, plan.total_steps))

    def _train_to(self, end: int, step: int, calls: Calls) -> int:
        """Trains until `end`, a stop or a save by time; returns the number of updates applied."""
        run, previous, reached = self.run, step, step
        self.reporter.count_examples_from(step, int(run.state.examples_seen))
        left, began = end - step, time.perf_counter()
        with errors_in_one_line(run):
            while True:
                rests = self.stop.requested or self.saver.due(previous, previous)
                while left and not rests and calls.has_room:
                    calls.schedule()
                    left -= 1
                if not calls.num_pending:
                    break
                result = calls.oldest(self._waits())
                if result is None:
                    calls.abandon()
                    break
                if result is LOST:
                    continue
                self.guard.check(result.number, result.values)
                self.num_results += 1
                self.reporter.on_staleness(result.staleness)
                if result.number <= reached:
                    continue  # a later update was reported before
                now = time.perf_counter()
                self.reporter.on_steps(
                    reached, result.number, Timing(reached, now - began, math.nan), result.values,
                    compiled=self.num_results <= len(run.devices.towers),
                )  # fmt: skip
                reached, began = result.number, now
        return int(run.state.global_step)

    def _waits(self) -> Callable[[], bool]:
        """Returns the check of a wait, which ends when no worker finishes its step any more."""
        since: list[float] = []

        def check() -> bool:
            self._look_at_tasks()
            if not self.stop.requested:
                return True
            since.append(time.monotonic())
            return self.tasks.workers_left > 0 and since[-1] - since[0] < _FINISH_SECS

        return check

    def _evaluate(self, step: int) -> None:
        """Evaluates the averages, or the weights without any, on the chief's own device."""
        run, evaluator = self.run, self.run.evaluator
        console.log(console.running_evaluation_line(step))
        values = run.state.host_values()
        for name, variable in evaluator.network.variables.items():
            variable.assign(values.get(f"{name}/{MOVING_AVERAGE}", values[name]))
        try:
            result = evaluator.run(on_step=lambda *_: self._raise_if_stopped())
        except _Abandoned:
            return
        result = {**evaluation.figures(result), "weights": run.settings.weights}
        self.reporter.on_evaluation(step, result)
        self._take(step, result)

    def _look_at_tasks(self) -> None:
        self.tasks.check()
        if self.tasks.asked_to_stop is not None:
            self.stop.request(self.tasks.asked_to_stop)

    def _raise_if_stopped(self) -> None:
        self._look_at_tasks()
        if self.stop.requested:
            raise _Abandoned

    def _make_up_for_an_evaluation(self, step: int) -> None:
        """Runs an evaluation that a stop or a kill prevented after its checkpoint was saved."""
        if not self.run.settings.evaluates or not evaluation_due(self.run, max(0, step - 1), step):
            return
        logged = self.reporter.logged_evaluation()
        if logged is None or logged["global_step"] != step:
            self._evaluate(step)
        else:
            self._take(step, logged)

    def _take(self, step: int, result: dict) -> None:
        """Keeps the best checkpoint, and lets the learning rate follow."""
        self.saver.keep_if_best(result)
        self.run.observe(step, result, console.log)


class _Abandoned(Exception):
    """An evaluation that was interrupted."""
