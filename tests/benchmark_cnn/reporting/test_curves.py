"""curves.png: the pictures are opened and their pixels looked at."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark_cnn.params.params import write_parameters
from benchmark_cnn.params.validation import make_params
from benchmark_cnn.reporting import curves
from benchmark_cnn.reporting.metrics_log import MetricsLog
from common.errors import DataError

ROOT = Path(__file__).resolve().parents[3]
BLUE, VERMILION = (0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)


def write_run(directory, *, evaluations=(), steps=60, loss=lambda epoch: 7 * math.exp(-epoch)):
    directory.mkdir()
    with MetricsLog(directory / "metrics.csv") as log:
        for step in range(1, steps + 1):
            epoch = step / 20
            log.append(
                step,
                epoch=epoch,
                learning_rate=0.1,
                total_loss=loss(epoch) + 0.5,
                cross_entropy=loss(epoch),
                top_1=epoch / 4,
            )
        for step in evaluations:
            log.append(step, epoch=step / 20, eval_top_1=step / 100, eval_loss=3.0)
    return directory


def pixels(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def count(picture, color):
    return int((np.abs(picture - np.array(color)).sum(axis=2) < 30).sum())


class TestOneRun:
    def test_training_and_evaluation_are_drawn(self, tmp_path):
        run = write_run(tmp_path / "run", evaluations=(20, 40, 60))
        assert curves.draw(run) is True
        picture = pixels(run / "curves.png")
        assert picture.shape[0] > 1000
        assert picture.shape[1] > 1000
        # The three panels lie one above the other, and each has a training curve.
        for panel in np.array_split(picture, 3):
            assert count(panel, BLUE) > 500
        assert count(picture, VERMILION) > 500

    def test_without_evaluations_there_is_no_curve_of_them(self, tmp_path):
        run = write_run(tmp_path / "run")
        assert curves.draw(run)
        assert count(pixels(run / "curves.png"), VERMILION) == 0

    def test_a_falling_loss_falls(self, tmp_path):
        run = write_run(tmp_path / "run")
        curves.draw(run)
        losses = np.array_split(pixels(run / "curves.png"), 3)[0]
        height, width = losses.shape[:2]
        # Left of the legend.
        is_curve = np.abs(losses - np.array(BLUE)).sum(axis=2)[:, : width // 2] < 30
        columns = np.flatnonzero(is_curve.any(axis=0))
        first, last = (np.flatnonzero(is_curve[:, c]).mean() for c in (columns[2], columns[-1]))
        assert last - first > height / 3

    def test_a_spike_does_not_flatten_the_rest(self, tmp_path):
        """The curve keeps its height when one value of many is far off."""
        spiky = write_run(
            tmp_path / "run", steps=2000, loss=lambda e: 1e3 if e == 50 else 7 - e / 20
        )
        curves.draw(spiky)
        losses = np.array_split(pixels(spiky / "curves.png"), 3)[0]
        is_curve = np.abs(losses - np.array(BLUE)).sum(axis=2) < 30
        rows = np.flatnonzero(is_curve[:, : losses.shape[1] // 3].any(axis=1))
        assert rows.size
        assert rows.max() - rows.min() > 10

    def test_one_row(self, tmp_path):
        run = write_run(tmp_path / "run", steps=1)
        assert curves.draw(run)
        assert count(pixels(run / "curves.png"), BLUE) > 20

    def test_evaluations_alone(self, tmp_path):
        run = write_run(tmp_path / "run", steps=0, evaluations=(20, 40))
        assert curves.draw(run)
        assert count(pixels(run / "curves.png"), VERMILION) > 200

    def test_values_that_are_not_numbers_are_gaps(self, tmp_path):
        run = write_run(tmp_path / "run", loss=lambda epoch: math.nan if epoch < 1 else 1.0)
        assert curves.draw(run)
        nothing = write_run(tmp_path / "nothing", loss=lambda _: math.inf)
        assert curves.draw(nothing)

    def test_it_is_drawn_again(self, tmp_path):
        run = write_run(tmp_path / "run")
        (run / "curves.png").write_bytes(b"old")
        assert curves.draw(run)
        pixels(run / "curves.png")
        assert sorted(path.name for path in run.iterdir()) == ["curves.png", "metrics.csv"]

    def test_the_legend_says_what_is_shown(self, tmp_path):
        run = write_run(tmp_path / "run", steps=40)
        rows = curves._rows_of(run)
        assert curves._labels_of(rows, run) == ("training", "evaluation")
        params = make_params(moving_average_decay=0.9, label_smoothing=0.1)
        write_parameters(params, run)
        assert curves._labels_of(rows, run) == (
            "training (labels smoothed by 0.1)",
            "evaluation of the averaged weights",
        )
        longer = write_run(tmp_path / "longer", steps=400)
        write_parameters(make_params(), longer)
        assert curves._labels_of(curves._rows_of(longer), longer) == (
            "training, smoothed",
            "evaluation of the raw weights",
        )

    @pytest.mark.parametrize("mark", ["_mark_above", "_mark_resumes"])
    def test_a_value_above_the_panel_and_a_resume_are_marked(self, tmp_path, monkeypatch, mark):
        """The first evaluation of averages can have ten times the loss of all others."""
        run = write_run(tmp_path / "run", loss=lambda epoch: 1 + epoch / 100)
        with MetricsLog(run / "metrics.csv") as log:
            log.append(61, epoch=3.05, eval_loss=1.02)
            log.append(62, epoch=3.1, eval_loss=900.0)
        (run / "run.json").write_text('{"starts": [{"start_step": 0}, {"start_step": 30}]}')
        assert curves.draw(run)
        marked = pixels(run / "curves.png")
        monkeypatch.setattr(curves, mark, lambda *_: None)
        assert curves.draw(run)
        plain = pixels(run / "curves.png")
        assert marked.shape == plain.shape
        color = VERMILION if mark == "_mark_above" else (0x99, 0x99, 0x99)
        assert count(marked, color) > count(plain, color) + 20


class TestFailures:
    @pytest.mark.parametrize("table", [None, "", "step,loss\n1,2\n"])
    def test_a_failure_is_a_warning(self, tmp_path, caplog, table):
        if table is not None:
            (tmp_path / "metrics.csv").write_text(table)
        assert curves.draw(tmp_path) is False
        assert "no curves of" in caplog.text
        assert not (tmp_path / "curves.png").exists()

    def test_matplotlib_is_missing(self, tmp_path, caplog, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        assert curves.draw(write_run(tmp_path / "run")) is False
        assert "matplotlib" in caplog.text

    def test_a_comparison_fails_with_a_reason(self, tmp_path):
        run = write_run(tmp_path / "run")
        with pytest.raises(DataError, match=r"other/metrics\.csv is missing or empty"):
            curves.compare([run, tmp_path / "other"], tmp_path / "compared.png")


class TestSeveralRuns:
    def test_each_has_its_color(self, tmp_path):
        runs = [write_run(tmp_path / name, evaluations=(20, 60)) for name in ("a", "b", "c")]
        curves.compare(runs, tmp_path / "compared.png")
        picture = pixels(tmp_path / "compared.png")
        for color in (BLUE, VERMILION, (0x00, 0x9E, 0x73)):
            assert count(picture, color) > 100

    def test_long_names_stay_inside(self, tmp_path):
        runs = [write_run(tmp_path / f"{'a_rather_long_run_name' * 2}_{i}") for i in range(9)]
        curves.compare(runs, tmp_path / "compared.png")
        picture = pixels(tmp_path / "compared.png")
        legend = picture[: picture.shape[0] // 10]
        assert (legend[:, :3] == 255).all()
        assert (legend[:, -3:] == 255).all()

    def test_runs_of_one_name_in_two_places(self, tmp_path):
        for place in ("here", "there"):
            (tmp_path / place).mkdir()
            write_run(tmp_path / place / "lite0")
        paths = [tmp_path / "here" / "lite0", tmp_path / "there" / "lite0"]
        curves.compare(paths, tmp_path / "compared.png")
        picture = pixels(tmp_path / "compared.png")
        assert count(picture, BLUE) > 20
        assert count(picture, VERMILION) > 500


class TestCommand:
    def run(self, *arguments, cwd):
        return subprocess.run(
            [sys.executable, "-m", "benchmark_cnn.reporting.curves", *map(str, arguments)],
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
            env={"PYTHONPATH": str(ROOT), "MPLCONFIGDIR": str(cwd)},
        )

    def test_it_draws_and_says_where(self, tmp_path):
        run = write_run(tmp_path / "run")
        result = self.run(run, cwd=tmp_path)
        assert (result.returncode, result.stdout) == (0, f"{run / 'curves.png'}\n")
        pixels(run / "curves.png")

    def test_several(self, tmp_path):
        write_run(tmp_path / "a")
        write_run(tmp_path / "b")
        result = self.run("a", "b", "--output=both.png", cwd=tmp_path)
        assert (result.returncode, result.stdout) == (0, "both.png\n")
        pixels(tmp_path / "both.png")

    def test_a_mistake_is_one_line(self, tmp_path):
        result = self.run("nothing", cwd=tmp_path)
        assert result.returncode == 3
        assert result.stderr == (
            "error: nothing/metrics.csv is missing or empty: give the --train_dir of a run\n"
        )
        write_run(tmp_path / "run")
        result = self.run("run", "--output=missing/curves.png", cwd=tmp_path)
        assert result.returncode == 3
        assert result.stderr.startswith("error: cannot write missing/curves.png: No such file")


class TestSmoothing:
    def test_against_numpy(self):
        values = np.random.default_rng(1).normal(size=300)
        # 2% of 300 values is a span of 6.
        decay = 5 / 7
        weights = decay ** np.arange(300)
        expected = [
            (weights[: t + 1][::-1] * values[: t + 1]).sum() / weights[: t + 1].sum()
            for t in range(300)
        ]
        np.testing.assert_allclose(curves.smoothed(values.tolist()), expected, rtol=1e-9)

    def test_a_constant_stays(self):
        assert curves.smoothed([3.0] * 500) == pytest.approx([3.0] * 500, rel=1e-12)

    def test_few_values_stay_as_they_are(self):
        assert curves.smoothed([1.0, 5.0, 2.0]) == [1.0, 5.0, 2.0]
        assert curves.smoothed([]) == []


_FIGURES_LEFT = """
import gc, sys
from benchmark_cnn.reporting import curves

gc.disable()
for _ in range(4):
    assert curves.draw(sys.argv[1])
print(sum(type(o).__name__ == "Figure" for o in gc.get_objects()))
"""


def test_a_drawn_figure_leaves_the_memory(tmp_path):
    """Python finds cycles of references late: 30 pictures were 80 MB.

    A process of its own counts no figures of other tests. Caches of matplotlib may hold one.
    """
    run = write_run(tmp_path / "run")
    command = [sys.executable, "-c", _FIGURES_LEFT, str(run)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) <= 1
