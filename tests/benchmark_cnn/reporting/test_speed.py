"""Speed figures against NumPy, by the formulas tf_cnn_benchmarks publishes."""

import math

import numpy as np
import pytest

from benchmark_cnn.reporting.speed import Speed

STEP_SECS = [0.25, 0.2, 0.4, 0.25, 0.1, 0.5, 0.3]


def recorded(step_secs=STEP_SECS, images_per_step=64):
    speed = Speed(images_per_step)
    for seconds in step_secs:
        speed.record(seconds)
    return speed


def test_the_formulas():
    times = np.array(STEP_SECS)
    speeds = 64 / times
    report = recorded().report()
    assert report.images_per_sec == pytest.approx(64 / times.mean(), rel=1e-12)
    assert report.uncertainty == pytest.approx(speeds.std() / np.sqrt(7), rel=1e-12)
    spread = np.median(np.abs(speeds - np.median(speeds)))
    assert report.jitter == pytest.approx(1.4826 * spread, rel=1e-12)


def test_by_hand():
    # 10 images in 1, 0.5 and 0.25 s: speeds 10, 20, 40; 30 images in 1.75 s.
    report = recorded([1.0, 0.5, 0.25], images_per_step=10).report()
    assert report.images_per_sec == pytest.approx(30 / 1.75)
    # Mean speed 70/3; squared deviations (1600 + 100 + 2500) / 9 over 3.
    assert report.uncertainty == pytest.approx(math.sqrt(4200 / 27) / math.sqrt(3))
    # Median 20; deviations 10, 0, 20, whose median is 10.
    assert report.jitter == pytest.approx(14.826)


def test_equal_steps_have_no_spread():
    assert recorded([0.5] * 4, images_per_step=8).report()[:3] == (16.0, 0.0, 0.0)


def test_jitter_ignores_an_outlier_and_the_uncertainty_does_not():
    report = recorded([1.0] * 9 + [100.0], images_per_step=1).report()
    assert report.jitter == 0.0
    assert report.uncertainty > 0.05


def test_several_steps_in_one_call_count_each():
    together, apart = Speed(32), Speed(32)
    together.record(1.0, steps=4, data_wait_secs=0.5)
    together.record(0.5)
    for seconds in [0.25] * 4:
        apart.record(seconds, data_wait_secs=0.125)
    apart.record(0.5)
    assert together.num_steps == apart.num_steps == 5
    assert together.report() == pytest.approx(apart.report(), rel=1e-12)


def test_the_data_wait_share_is_of_the_time_not_of_the_steps():
    speed = Speed(1)
    speed.record(3.0, data_wait_secs=0.0)
    speed.record(1.0, data_wait_secs=0.8)
    assert speed.report().data_wait_share == pytest.approx(0.2)


def test_the_speed_of_late():
    speed = recorded([4.0, 4.0], images_per_step=8)
    speed.record(1.0, data_wait_secs=0.5)
    report = speed.report(since=2)
    assert (report.images_per_sec, report.data_wait_share) == (8.0, 0.5)
    assert speed.report().images_per_sec == pytest.approx(24 / 9)


def test_a_clock_that_goes_backwards_leaves_finite_figures():
    speed = Speed(16)
    speed.record(1.0)
    speed.record(-0.5, data_wait_secs=3600.0)
    speed.record(0.0, data_wait_secs=-3600.0)
    report = speed.report()
    assert all(math.isfinite(value) for value in report)
    assert report.images_per_sec == pytest.approx(48, rel=1e-6)
    assert 0 <= report.data_wait_share <= 1


def test_nothing_recorded():
    assert all(math.isnan(value) for value in Speed(16).report())
    assert all(math.isnan(value) for value in recorded().report(since=7))
