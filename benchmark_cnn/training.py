"""The training loop: start or resume, then steps, reports, evaluations and checkpoints."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

from absl import logging

from benchmark_cnn import (
    before_training,
    evaluation,
    identity,
    run_directory,
    saving,
    training_setup,
)
from benchmark_cnn.asynchronous.training import AsynchronousTraining
from benchmark_cnn.distribution import cluster, parameter_servers, task_server
from benchmark_cnn.interfaces import Dataset, NetworkSpec
from benchmark_cnn.objective.teacher import Teacher
from benchmark_cnn.params.params import Params, write_parameters
from benchmark_cnn.phases.loops import PhaseLoops
from benchmark_cnn.reporting import console, run_record
from benchmark_cnn.reporting.profiling import Profiler
from benchmark_cnn.reporting.reporter import Reporter
from benchmark_cnn.reporting.speed import Stopwatch
from benchmark_cnn.run import TrainingRun, errors_in_one_line, evaluation_due, stop_line
from benchmark_cnn.saving import Saver
from benchmark_cnn.search import batch_size
from benchmark_cnn.step.training_step import REPORT
from benchmark_cnn.survival import non_finite
from benchmark_cnn.survival.watchdog import Watchdog
from common import stop_requests
from common.errors import Stopped
from common.process import StopSignal


class _Guards(NamedTuple):
    """What may end a training early, or say why it does not get on."""

    stop: StopSignal
    finite: non_finite.Guard
    watchdog: Watchdog


def train(
    params: Params,
    spec: NetworkSpec,
    dataset: Dataset,
    *,
    command_line: Sequence[str] = (),
    check_device: Callable[[str], None] | None = None,
    image_bytes: before_training.ImageBytes | None = None,
    loss: Callable | Teacher | None = None,
    class_names: Sequence[str] = (),
) -> dict:
    """Trains as `params` says; the same call on the same train_dir resumes.

    Args:
        command_line: program and arguments, for run.json.
        check_device, loss, image_bytes: see training_setup and before_training.check.
        class_names: of the network's classes, where they are known better than by the data set.

    Returns:
        `global_step`, `images_per_sec`, and the last evaluation's `top_1`, `top_5` and `loss`.

    Raises:
        RunError: see common/errors.py. Stopped comes after a signal, with the state saved.
    """
    before_training.open_validation(params, dataset)
    teacher = loss if isinstance(loss, Teacher) else None
    with contextlib.ExitStack() as stack:
        servers = parameter_servers.of(params)
        workers = None if servers else cluster.of(params.hardware)
        is_chief = workers is None or _is_chief(stack, workers, params, dataset, teacher)
        facts = identity.of_task(params)
        directory = earlier = None
        if params.checkpoint.train_dir is not None and is_chief:
            params = _with_data_name(params, dataset)
            directory, earlier = _open_directory(params, dataset, teacher, stack)
        params = batch_size.chosen(
            params, spec, dataset, earlier, image_bytes, check_device, teacher
        )
        if servers is not None:
            stack.enter_context(servers.connected(facts, console.log))
            image_bytes = None  # its steps are not in this machine's memory
        places = {"check_device": check_device, "cluster": workers, "servers": servers}
        run = training_setup.set_up(params, spec, dataset, loss=loss, **places)
        about = identity.of_start(run, teacher)
        if not dataset.synthetic:
            console.log(*console.about_lines(about, params.learning_rate.schedule))
        saver = stack.enter_context(Saver(run.state, directory, params))
        start_step = saver.resume(earlier)
        if directory is not None and earlier is not None:
            _log_changes(run, start_step, directory, earlier)
        start_step = _first_step(run, start_step, is_chief)
        if start_step < run.plan.total_steps:
            before_training.check(run, directory, image_bytes)
            if directory is not None:
                write_parameters(params, directory.path)
        stop = _stop_signal(params, stack)
        reporter = stack.enter_context(
            Reporter(run, directory, start_step, command_line, about, class_names=class_names)
        )
        guard = non_finite.Guard(run, directory, start_step)
        if servers is not None and servers.tasks is not None:
            AsynchronousTraining(run, servers.tasks, saver, reporter, guard, stop).train(start_step)
            return reporter.finish()
        profiler = stack.enter_context(_profiler(params, start_step))
        if start_step == 0 and params.run.on_nonfinite == "rollback":
            saver.save(0, run.state.host_values())  # to have something to return to
        watchdog = Watchdog(params.run.hang_minutes, directory, run.step.markers)
        guards = _Guards(stop, guard, stack.enter_context(watchdog))
        _train(run, start_step, saver, reporter, profiler, guards)
        return reporter.finish()


def _first_step(run: TrainingRun, resumed: int, is_chief: bool) -> int:
    """Gives every worker the weights of the chief; returns the step of all."""
    if resumed == 0 and is_chief:
        _initialize(run)
    run.state.take_from_chief()
    return int(run.state.global_step)


def serve(params: Params, servers: parameter_servers.ParameterServers) -> None:
    """Serves as a worker or parameter server of an asynchronous run; see task_server.serve."""
    facts = identity.of_task(params)
    task_server.serve(servers, facts, params.hardware, console.log)


def _profiler(params: Params, start_step: int) -> Profiler:
    report, train_dir = params.report, params.checkpoint.train_dir
    return Profiler(report.profile_steps, report.trace_file, train_dir, start_step)


def _is_chief(
    stack: contextlib.ExitStack,
    workers: cluster.Cluster,
    params: Params,
    dataset: Dataset,
    teacher: Teacher | None,
) -> bool:
    """Prepares a worker of a cluster: the others than the chief print errors only."""
    facts = identity.of_worker(params, dataset, teacher)
    stack.enter_context(workers.errors_in_one_line())
    stack.enter_context(workers.roll_call(facts))
    console.log(console.worker_line(workers.index, workers.workers))
    if not workers.is_chief:
        stack.enter_context(console.routed_through(lambda line: None))
    return workers.is_chief


def _stop_signal(params: Params, stack: contextlib.ExitStack) -> StopSignal:
    """Returns what signals, the end of the time and spot notices set."""
    stop = stack.enter_context(StopSignal())
    watching = stop_requests.watching(
        stop,
        max_run_minutes=params.run.max_run_minutes,
        spot_notice=params.run.spot_notice,
        warn=logging.warning,
    )
    stack.enter_context(watching)
    return stop


def _open_directory(
    params: Params, dataset: Dataset, teacher: Teacher | None, stack: contextlib.ExitStack
) -> tuple[run_directory.RunDirectory, Params | None]:
    """Opens --train_dir; returns it and the parameters of the run that will be resumed."""
    train_dir = params.checkpoint.train_dir or "."
    directory = stack.enter_context(
        run_directory.open_for_training(train_dir, params.checkpoint.fresh)
    )
    earlier = identity.earlier_start(directory)
    if earlier is not None:
        identity.check_data(directory, dataset, earlier)
        identity.check_teacher(directory, teacher, earlier)
    return directory, earlier


def _initialize(run: TrainingRun) -> None:
    if run.params.checkpoint.init_checkpoint is not None:
        saving.initialize(
            run.state,
            run.params.checkpoint.init_checkpoint,
            background_class=run.step.tower.network.background_class,
        )


def _with_data_name(params: Params, dataset: Dataset) -> Params:
    """Returns `params` with a data_name guessed from data_dir, which eval.py may not have."""
    if params.data.data_dir is None:
        return params
    return dataclasses.replace(
        params, data=dataclasses.replace(params.data, data_name=dataset.name)
    )


def _train(
    run: TrainingRun,
    step: int,
    saver: Saver,
    reporter: Reporter,
    profiler: Profiler,
    guards: _Guards,
) -> None:
    """Runs from `step` to the end of the plan, or until an evaluation says that it is enough."""
    plan = run.plan
    loops = PhaseLoops(run, reporter.hooks())
    if step < plan.total_steps:
        loops.after(step)  # its pipeline fills its buffers during an evaluation
    stop, guard, watchdog = guards
    stopwatch, on_host = Stopwatch(), run.manager.shares_memory
    _settle_last_evaluation(run, step, saver, reporter, stop)
    if run.manager.any_worker(bool(stop.requested)):
        # The pending evaluation belongs to this step: run none before it.
        raise Stopped(stop_line(run, step, stop))
    # The chief alone knows the evaluations of earlier starts.
    suffices = run.manager.any_worker(reporter.ends_training())
    while step < plan.total_steps and not suffices:
        previous, step = step, profiler.end_of_call(step, _end_of_call(run, step))
        evaluates = evaluation_due(run, previous, step)
        # The chief alone saves by time; the others have to look at the same values.
        saves = run.manager.any_worker(saver.due(previous, step))
        saves = saves or evaluates or step == plan.total_steps
        report = saves or reporter.due(previous, step)
        run_steps = loops.after(previous)
        compiles = run_steps.compiles(step - previous)
        # A GPU has a queue of steps. It is waited for where its time or its values are wanted.
        report = report or (not on_host and (compiles or step == plan.warmup_steps))
        stopwatch.start(previous)
        watched = watchdog.steps(previous, step, compiles)
        with errors_in_one_line(run), profiler.steps(previous, step), watched:
            values, waited = run_steps(step - previous, report, reporter.logs(previous, step))
            values = dict(zip(REPORT, values.numpy().tolist(), strict=True)) if report else None
        timing = stopwatch.stop(float(waited)) if on_host or report else None
        reporter.on_steps(previous, step, timing, values, compiled=compiles)
        stops = run.manager.any_worker(bool(stop.requested))
        try:
            if values is not None:
                guard.check(step, values)
            if saves or stops:
                state = run.state.host_values()
                guard.check_weights(step, state)
                ends = stops or step == plan.total_steps
                saver.save(step, state, reporter.sync, waits=ends)
        except non_finite.Found as error:
            step, evaluates = _roll_back(run, error, guard, saver, reporter), False
        if evaluates and not stops:
            _evaluate(run, step, saver, reporter, stop)
            stops = run.manager.any_worker(bool(stop.requested))
            suffices = run.manager.any_worker(reporter.ends_training())
        if stops:
            saver.wait()
            raise Stopped(stop_line(run, step, stop))
    saver.wait()
    _test(run, step, reporter, stop)


def _roll_back(
    run: TrainingRun,
    error: non_finite.Found,
    guard: non_finite.Guard,
    saver: Saver,
    reporter: Reporter,
) -> int:
    """Returns to the last checkpoint, but not to its place in the data; returns its step.

    Raises:
        NonFiniteError: `error`, without --on_nonfinite=rollback or after too many rollbacks.
    """
    if run.params.run.on_nonfinite != "rollback":
        raise error
    seen = int(run.state.examples_seen)
    saver.restore_last()
    run.state.take_from_chief()
    run.state.examples_seen.assign(seen)
    step = int(run.state.global_step)
    line = guard.count_rollback(step, error)
    reporter.rewind(step)
    console.log(line)
    run.observe_logged(step, reporter.logged_evaluation(), console.log)
    return step


def _log_changes(
    run: TrainingRun, step: int, directory: run_directory.RunDirectory, earlier: Params
) -> None:
    """Says what a resumed run does in another way than its last start."""
    identity.log_changes(earlier, run.params)
    seen, batch = int(run.state.examples_seen), run.plan.global_batch
    before = run_record.last_start(directory.run_info).get("run", {}).get("global_batch")
    if before is None and step:  # the run began in an earlier version
        before = round(seen / step)
    if before in (None, batch):
        return
    end = max(step, run.plan.total_steps)
    epochs = run.plan.epoch_at(seen + (end - step) * batch)
    console.log(console.another_batch_line(before, batch, end, epochs))


def _end_of_call(run: TrainingRun, step: int) -> int:
    """Returns the last step of the next call, which ends where a phase or the warm-up does."""
    per_call, plan = run.params.run.steps_per_loop, run.plan
    ends = (plan.total_steps, plan.warmup_steps, *run.phases)
    # After a phase of any length, calls end at multiples again, where reports are due.
    whole = step + per_call - (step % per_call if len(run.phases) > 1 else 0)
    return min(whole, *(end for end in ends if end > step))


def _begin_of_call(run: TrainingRun, step: int) -> int:
    """Returns the step at which the call that ended at `step` began; see `_end_of_call`."""
    per_call = run.params.run.steps_per_loop
    if len(run.phases) == 1:
        return max(0, step - per_call)
    whole = (step - 1) // per_call * per_call
    return max(0, whole, *(first for first in run.phases if first < step))


def _evaluate(
    run: TrainingRun, step: int, saver: Saver, reporter: Reporter, stop: StopSignal
) -> None:
    """Evaluates the averages, or the weights without any, and keeps the best checkpoint.

    A requested stop abandons the evaluation; the resumed run begins with it.
    """
    console.log(console.running_evaluation_line(step))
    result = _evaluated(run, "validation", stop)
    if result is None:
        return
    confusion = result.get("confusion")
    result = {**evaluation.figures(result), "weights": run.settings.weights}
    reporter.on_evaluation(step, result, confusion)
    saver.keep_if_best(result)
    run.observe(step, result, console.log)


def _test(run: TrainingRun, step: int, reporter: Reporter, stop: StopSignal) -> None:
    """Evaluates the test part once, at the end: it has no say in what is trained or kept."""
    # The chief alone knows the tests of earlier starts.
    if not reporter.has_test_part() or run.manager.any_worker(reporter.is_tested()):
        return
    console.log(f"Running test at global_step {step}")
    result = _evaluated(run, "test", stop)
    if result is None:
        raise Stopped(stop_line(run, step, stop))
    reporter.on_test(result)


def _evaluated(run: TrainingRun, subset: str, stop: StopSignal) -> dict | None:
    """Evaluates a subset; returns None if a stop is requested."""
    is_alone = run.manager.worker[1] == 1  # others would count their own examples
    return evaluation.evaluate_averages(
        run.evaluator.on_subset(subset),
        run.state,
        num_classes=run.settings.num_classes if is_alone else None,
        stops=lambda: run.manager.any_worker(bool(stop.requested)),
    )


def _settle_last_evaluation(
    run: TrainingRun, step: int, saver: Saver, reporter: Reporter, stop: StopSignal
) -> None:
    """Makes up for an evaluation that a kill prevented after its checkpoint was saved."""
    if not run.settings.evaluates or not evaluation_due(run, _begin_of_call(run, step), step):
        return
    logged = reporter.logged_evaluation()
    is_logged = logged is not None and logged["global_step"] == step
    # The chief alone has the log.
    if not run.manager.any_worker(is_logged):
        _evaluate(run, step, saver, reporter, stop)
        return
    if logged is not None:
        saver.keep_if_best(logged)
    run.observe_logged(step, logged, console.log)
