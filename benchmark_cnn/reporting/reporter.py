"""Reports a training run: console, progress bar, TensorBoard, metrics.csv, curves, run.json."""

from __future__ import annotations

import contextlib
import numbers
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark_cnn.class_report import Confusion
from benchmark_cnn.objective.early_stopping import reason_to_stop
from benchmark_cnn.reporting import console, curves, metrics_log, run_record
from benchmark_cnn.reporting.confusion import ClassLog
from benchmark_cnn.reporting.loggers import Loggers
from benchmark_cnn.reporting.progress import ProgressBar
from benchmark_cnn.reporting.speed import Speed, SpeedReport, Timing
from benchmark_cnn.reporting.staleness import Staleness
from benchmark_cnn.reporting.summaries import Summaries
from benchmark_cnn.run import TrainingRun, crosses
from benchmark_cnn.run_directory import RunDirectory

# Steps of the recent speed.
_RECENT_STEPS = 100


class Reporter:
    """A context around the training loop, which calls it after every call into TensorFlow."""

    def __init__(
        self,
        run: TrainingRun,
        directory: RunDirectory | None,
        start_step: int,
        command_line: Sequence[str] = (),
        about: Mapping[str, Any] | None = None,
        *,
        class_names: Sequence[str] = (),
    ):
        """Prepares the reports; `about` says in run.json what the run is (`identity.of_start`)."""
        self._run, self._directory = run, directory
        self._report = run.params.report
        self._start_step = start_step
        # A benchmark always says so: tools look for these lines.
        self._warms_up = run.dataset.synthetic or run.plan.warmup_steps > start_step
        self._command_line = command_line
        self._about = about or {}
        self._speed = Speed(run.plan.global_batch)
        self._last_step = start_step
        self._stack = contextlib.ExitStack()
        self._log: metrics_log.MetricsLog | None = None
        self._loggers = Loggers(None, None)
        self._evaluations: list[dict] = []
        self._test = self._earlier_test()
        names = class_names or self._about.get("class_names", ())
        unnamed = range(len(names), run.settings.num_classes)
        self._classes = ClassLog(
            None if directory is None else directory.path,
            [*names, *(f"class {number}" for number in unnamed)],
        )
        self._record: run_record.RunRecord | None = None
        self._examples_from: tuple[int, int] | None = None
        self._staleness = Staleness() if run.manager.is_asynchronous else None
        self._resizes = run.params.network.image_size_schedule is not None

    def __enter__(self) -> Reporter:
        run, stack = self._run, self._stack
        if self._directory is not None:
            columns = metrics_log.COLUMNS
            if run.dataset.multi_label:
                columns = metrics_log.MULTI_LABEL_COLUMNS
            if self._staleness is not None:
                columns = (*columns, *metrics_log.STALENESS)
            if self._resizes:
                columns = (*columns, *metrics_log.IMAGE_SIZE)
            log = metrics_log.MetricsLog(self._directory.metrics, columns)
            self._log = stack.enter_context(log)
            logged_step = log.last_step
            log.rewind(self._start_step)
            self._loggers = stack.enter_context(
                Loggers(self._report.log_to, self._directory.path, logged_step)
            )
            self._evaluations = self._logged_evaluations()
            self._open_record(self._directory)
        train_dir = None if self._directory is None else self._directory.path
        self._summaries = stack.enter_context(
            Summaries(train_dir, self._report.summary_verbosity, self._start_step)
        )
        if self._start_step < run.plan.total_steps:
            parameters = run.params.to_dict() | self._about.get("run", {})
            self._summaries.parameters(parameters)
            self._loggers.start(self._start_step, parameters)
        self._progress = stack.enter_context(
            ProgressBar(
                run.plan.total_steps,
                self._start_step,
                gpu_memory_bytes=_gpu_memory_bytes if run.devices.kind == "gpu" else None,
            )
        )
        console.log(console.INITIALIZING)
        if self._start_step >= run.plan.total_steps:
            console.log(console.finished_line(self._start_step))
            return self
        if self._warms_up:
            console.log(console.WARMING_UP)
        if run.plan.warmup_steps <= self._start_step:
            self._open_table()
        return self

    def __exit__(self, *error) -> None:
        self._stack.__exit__(*error)

    def _open_record(self, directory: RunDirectory) -> None:
        """Begins an entry in run.json, unless the run is finished and has one that says so."""
        is_finished = self._start_step >= self._run.plan.total_steps
        if is_finished and run_record.last_start(directory.run_info).get("outcome") == "done":
            return
        self._record = self._stack.enter_context(
            run_record.RunRecord(
                directory.run_info,
                self._command_line,
                self._run.devices,
                self._start_step,
                self._about,
            )
        )

    def hooks(self) -> dict[str, Callable | None]:
        """Returns the hooks of TrainingStep that write to TensorBoard from inside its graph."""
        verbosity = self._summaries.verbosity
        return {
            "on_gradients": self._summaries.gradients if verbosity >= 2 else None,
            "on_images": self._summaries.images if verbosity >= 3 else None,
        }

    def due(self, previous: int, step: int) -> bool:
        """Returns whether the values of the steps in (previous, step] will be read."""
        return self._displays(previous, step) or self.logs(previous, step)

    def logs(self, previous: int, step: int) -> bool:
        """Returns whether (previous, step] ends with a metrics.csv row and a summary."""
        every = self._report.save_summaries_steps or self._report.display_every
        return self._directory is not None and (previous == 0 or crosses(previous, step, every))

    def on_steps(
        self,
        previous: int,
        step: int,
        timing: Timing | None,
        values: dict | None,
        *,
        compiled: bool,
    ) -> None:
        """Records a call: its steps, and its values unless they were not requested.

        Args:
            timing: of all steps since the last call that had one; None for steps that may still
                run on a GPU.
            compiled: whether the call compiled its graph, and does not count in the speed.
        """
        warmup = self._run.plan.warmup_steps
        self._last_step = step
        if timing is not None and timing.first >= warmup and not compiled:
            self._speed.record(timing.seconds, step - timing.first, timing.waited)
        recent = self._recent_speed()
        self._progress.update(step, recent.images_per_sec, recent.data_wait_share)
        if values is not None and self._displays(previous, step):
            only_call = (timing.seconds, step - timing.first) if timing is not None else None
            self._print(step - warmup, values, None if self._speed.num_steps else only_call)
        if values is not None and self.logs(previous, step):
            self._write(step, values)
        if step == warmup:
            self._open_table()

    @property
    def _evaluation(self) -> dict | None:
        """The last evaluation, with its `global_step`."""
        return self._evaluations[-1] if self._evaluations else None

    def on_staleness(self, updates: int) -> None:
        """Records by how many updates the weights of a step were older than their variables."""
        if self._staleness is not None:
            self._staleness.add(updates)

    def count_examples_from(self, step: int, examples_seen: int) -> None:
        """Says where the data were at a step; the counter itself runs ahead of the reports."""
        self._examples_from = step, examples_seen

    def logged_evaluation(self) -> dict | None:
        """Returns the last evaluation in metrics.csv, with its `global_step`.

        Its `examples` are those of the data of that start, if they are known.
        """
        logged = self._logged_evaluations()
        return logged[-1] if logged else None

    def _logged_evaluations(self) -> list[dict]:
        if self._directory is None:
            return []
        rows = metrics_log.read_rows(self._directory.metrics)
        rows = [row for row in rows if "eval_top_1" in row]
        data = run_record.last_start(self._directory.run_info).get("data", {})
        examples = data.get("examples", {}).get("validation")
        is_exact = examples is not None and not self._run.params.data.max_corrupt_records
        known = {"examples": examples} if is_exact else {}
        known["weights"] = self._run.settings.weights
        return [
            {name: row.get(f"eval_{name}", float("nan")) for name in self._evaluated}
            | {**known, "global_step": int(row["global_step"])}
            for row in rows
        ]

    @property
    def _evaluated(self) -> tuple[str, ...]:
        """The numbers of an evaluation that are logged."""
        more = ("mean_average_precision",) if self._run.dataset.multi_label else ()
        return ("top_1", "top_5", "loss", *more)

    def ends_training(self) -> bool:
        """Returns whether the evaluations say that it is enough, and prints why.

        The last one reached `--stop_at_top_1_accuracy`, or `--early_stopping_epochs` have passed.
        """
        flags, last = self._run.params.run, self._evaluation
        if last is None:
            return False
        top_1 = flags.stop_at_top_1_accuracy
        if top_1 is not None and last["top_1"] >= top_1:
            return True
        history = [(evaluation["global_step"], evaluation) for evaluation in self._evaluations]
        line = reason_to_stop(history, flags.early_stopping_epochs, self._run.plan.steps_per)
        if line is not None:
            console.log(line)
        return line is not None

    def on_evaluation(self, step: int, result: dict, confusion: Confusion | None = None) -> None:
        """Reports an evaluation, with what was predicted as what where that was counted."""
        self._evaluations.append({**result, "global_step": step})
        if self._run.dataset.multi_label:
            console.log(console.precision_line(result["mean_average_precision"]))
        console.log(console.accuracy_line(result["top_1"], result["top_5"], result["examples"]))
        if step < self._run.plan.total_steps:
            console.log(console.RESUMING_TRAINING)
        if self._directory is None:
            return
        values = {f"eval_{name}": result[name] for name in self._evaluated}
        self._append(step, epoch=self._epoch(step), **values)
        self._summaries.evaluation(step, result)
        if confusion is not None:
            self._classes.write(step, confusion)
        curves.draw(self._directory.path)

    def has_test_part(self) -> bool:
        """Returns whether the data have images that test the run at its end."""
        trains = not self._run.params.run.forward_only
        return trains and "test" in self._run.dataset.describe().examples

    def is_tested(self) -> bool:
        """Returns whether an earlier start has tested the weights as they are now."""
        return self._test is not None and self._last_step == self._start_step

    def on_test(self, result: dict) -> None:
        """Takes the result of the test part, which is evaluated once, at the end."""
        figures = {n: value for n, value in result.items() if isinstance(value, numbers.Real)}
        self._test = {f"test_{name}": value for name, value in figures.items()}
        console.log(console.accuracy_line(result["top_1"], result["top_5"], result["examples"]))

    def _earlier_test(self) -> dict | None:
        """Returns the result of the test that an earlier start made at the end of the run."""
        last = {} if self._directory is None else run_record.last_start(self._directory.run_info)
        result = last.get("result") or {}
        if last.get("outcome") != "done" or result.get("global_step") != self._start_step:
            return None
        return {n: v for n, v in result.items() if n.startswith("test_")} or None

    def sync(self) -> None:
        """Flushes metrics.csv to the disk, before a checkpoint of the same step."""
        if self._log is not None:
            self._log.sync()

    def rewind(self, step: int) -> None:
        """Takes back what was logged after `step`, to which the run has rolled back."""
        if self._log is not None:
            self._log.rewind(step)
        self._loggers.rewind(step)
        self._summaries.rewind(step)
        self._evaluations, self._last_step = self._logged_evaluations(), step

    def finish(self) -> dict:
        """Closes the run: totals, curves, run.json."""
        speed = self._speed.report()
        if self._run.settings.evaluates:
            console.log(console.DONE_WITH_TRAINING)
        if self._speed.num_steps:
            console.log(*console.total_lines(speed.images_per_sec))
        if self._staleness is not None and self._staleness.total:
            console.log(console.staleness_line(*self._staleness.over_all()))
        skipped = int(self._run.state.skipped_steps)
        if skipped:
            console.log(console.skipped_line(skipped, self._last_step))
        result = {"global_step": self._last_step, "images_per_sec": speed.images_per_sec}
        result |= {n: v for n, v in (self._evaluation or {}).items() if n != "global_step"}
        result |= self._test or {}
        if self._directory is not None:
            if self._record is not None:
                self._record.finish(result)
            self._loggers.finish(result)
            curves.draw(self._directory.path)
            console.log(*self._closing_lines(self._directory.path, result))
        return result

    def _closing_lines(self, train_dir: Path, result: dict) -> list[str]:
        step = -1 if self._evaluation is None else self._evaluation["global_step"]
        self._classes.draw(f"{train_dir.name}  ·  step {step}")
        return console.closing_lines(
            train_dir,
            result,
            num_classes=self._run.settings.num_classes,
            classes=self._classes.lines(step),
            synthetic=self._run.dataset.synthetic,
        )

    def _displays(self, previous: int, step: int) -> bool:
        warmup = self._run.plan.warmup_steps
        if step <= warmup:
            return False
        first = previous <= max(warmup, self._start_step)
        return first or crosses(previous - warmup, step - warmup, self._report.display_every)

    def _open_table(self) -> None:
        with_accuracy = self._report.print_training_accuracy
        warmed_up = [console.WARMED_UP] if self._warms_up else []
        header = console.column_header(with_accuracy, with_staleness=self._staleness is not None)
        console.log(*warmed_up, header)

    def _print(self, step: int, values: dict, only_call: tuple[float, int] | None) -> None:
        """Prints a step line. Only a first call, which compiles, shows its own speed."""
        speed = self._speed
        if only_call is not None:
            speed = Speed(self._run.plan.global_batch)
            speed.record(*only_call)
        accuracy = [values["top_1"], values["top_5"]]
        if not self._report.print_training_accuracy:
            accuracy = []
        line = console.step_line(step, speed.report(), values["total_loss"], *accuracy)
        if self._staleness is not None:
            line += console.staleness_columns(*self._staleness.since("line"))
        console.log(line)

    def _write(self, step: int, values: dict) -> None:
        # Without an auxiliary classifier the cell stays empty.
        values = {
            **values,
            "epoch": self._epoch(step),
            "aux_cross_entropy": values["aux_cross_entropy"] or None,
        }
        if self._staleness is not None:
            values |= dict(zip(metrics_log.STALENESS, self._staleness.since("row"), strict=True))
        if self._resizes:
            phase = self._run.phases[self._run.phase_after(step - 1)]
            values["image_size"] = phase.image_size
        columns = (*metrics_log.COLUMNS, *metrics_log.STALENESS, *metrics_log.IMAGE_SIZE)
        self._append(step, **{n: v for n, v in values.items() if n in columns})
        recent = self._recent_speed()
        if not self._run.state.scales_loss:
            values["loss_scale"] = None
        if self._run.step.skip_nonfinite:
            values["skipped_steps"] = int(self._run.state.skipped_steps)
        self._summaries.scalars(
            step,
            images_per_sec=recent.images_per_sec,
            data_wait_share=recent.data_wait_share,
            **values,
        )
        self._summaries.variables(step, self._run.state.variables)

    def _append(self, step: int, **values: float | None) -> None:
        if self._log is not None:
            self._log.append(step, **values)
        self._loggers.log(step, values)

    def _recent_speed(self) -> SpeedReport:
        return self._speed.report(since=max(0, self._speed.num_steps - _RECENT_STEPS))

    def _epoch(self, step: int) -> float:
        plan = self._run.plan
        if self._examples_from is None:
            return plan.epoch_at(int(self._run.state.examples_seen))
        since, seen = self._examples_from
        return plan.epoch_at(seen + (step - since) * plan.global_batch)


def _gpu_memory_bytes() -> int:
    import tensorflow as tf

    return tf.config.experimental.get_memory_info("GPU:0")["current"]
