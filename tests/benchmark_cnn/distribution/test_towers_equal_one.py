"""The engine's promise: N towers are one tower on the same global batch, in every mode."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmark_cnn.engine import EVERYTHING, run_steps
from tests.benchmark_cnn.networks import (
    ArrayData,
    ConvNetwork,
    ProductNetwork,
    random_examples,
)

MODES = [
    {"num_gpus": 2},
    {"num_gpus": 4},
    {"num_gpus": 8},
    {"num_gpus": 4, "all_reduce_spec": "pscpu:200"},
    {"num_gpus": 1, "variable_update": "parameter_server"},
    {"num_gpus": 2, "variable_update": "parameter_server"},
    {"num_gpus": 8, "variable_update": "parameter_server"},
    {"num_gpus": 2, "xla": "towers"},
    {"num_gpus": 1, "xla": "step"},
    {"num_gpus": 2, "xla": "step"},
    {"num_gpus": 2, "steps_per_loop": 2},
]
STEPS = 6
BATCH = 16


def mode_name(mode):
    return "-".join(str(value) for value in mode.values())


def assert_same_run(got, expected, steps_per_loop):
    """Same losses, gradient norms and accuracies where both report, same final tensors."""
    got_reports, got_tensors = got
    reports, tensors = expected
    reported = reports[steps_per_loop - 1 :: steps_per_loop]
    for mine, theirs in zip(got_reports, reported, strict=True):
        for name, value in theirs.items():
            np.testing.assert_allclose(mine[name], value, rtol=1e-5, atol=1e-7, err_msg=name)
    assert got_tensors.keys() == tensors.keys()
    for name, value in tensors.items():
        scale = np.abs(value).max()
        np.testing.assert_allclose(
            got_tensors[name], value, rtol=1e-5, atol=1e-5 * float(scale), err_msg=name
        )


def check_equal(build_network, dataset, mode):
    expected = run_steps(
        build_network, dataset, steps=STEPS, global_batch=BATCH, num_gpus=1, **EVERYTHING
    )
    norms = [report["gradient_norm"] for report in expected[0]]
    assert max(norms) > EVERYTHING["gradient_clip"], "the clip must have something to do"
    got = run_steps(
        build_network, dataset, steps=STEPS, global_batch=BATCH, **{**EVERYTHING, **mode}
    )
    assert_same_run(got, expected, mode.get("steps_per_loop", 1))


@pytest.mark.parametrize("mode", MODES, ids=mode_name)
def test_without_batch_norm(mode):
    check_equal(lambda: ConvNetwork(auxiliary=True), ArrayData(*random_examples(48)), mode)


@pytest.mark.parametrize("mode", [mode for mode in MODES if "xla" not in mode], ids=mode_name)
def test_with_sync_batch_norm(mode):
    check_equal(lambda: ConvNetwork(batch_norm="sync"), ArrayData(*random_examples(48)), mode)


@pytest.mark.parametrize("mode", MODES, ids=mode_name)
def test_with_batch_norm_per_tower_on_identical_slices(mode):
    """Eight equal slices of two examples: every tower and micro-batch has the same statistics."""
    images, labels = random_examples(2 * STEPS)
    images = np.repeat(images.reshape(STEPS, 1, 2, 8, 8, 3), 8, axis=1).reshape(-1, 8, 8, 3)
    labels = np.repeat(labels.reshape(STEPS, 1, 2), 8, axis=1).reshape(-1)
    mode = {**mode, "gradient_accumulation_steps": 8 // mode["num_gpus"]}
    build_network, dataset = lambda: ConvNetwork(batch_norm="tower"), ArrayData(images, labels)
    flags = {**EVERYTHING, "gradient_accumulation_steps": 1}
    expected = run_steps(build_network, dataset, steps=STEPS, global_batch=BATCH, **flags)
    got = run_steps(build_network, dataset, steps=STEPS, global_batch=BATCH, **{**flags, **mode})
    assert_same_run(got, expected, mode.get("steps_per_loop", 1))


PRODUCT = {"optimizer": "sgd", "learning_rate": 2.0**-4, "weight_decay": 2.0**-4}


@pytest.mark.parametrize("mode", [{"num_gpus": 1}, *MODES], ids=mode_name)
def test_product_model_gives_the_published_losses(mode):
    """spec: A=1, B=2, x=-1..14, batches of 4; mean gradients give one series in every mode."""
    mode = {name: value for name, value in mode.items() if name != "steps_per_loop"}
    if mode["num_gpus"] == 8:
        mode["num_gpus"] = 4
    x = (np.arange(16, dtype=np.float32) - 1).reshape(16, 1, 1, 1)
    reports, _ = run_steps(
        ProductNetwork,
        ArrayData(x, np.zeros(16)),
        steps=4,
        global_batch=4,
        loss_function=ProductNetwork.loss,
        **{**PRODUCT, **mode},
    )
    losses = [report["total_loss"] for report in reports]
    np.testing.assert_allclose(losses, [1.15625, 8.385638, 5.532262, -9.585484], rtol=1e-6)
    bases = [report["cross_entropy"] for report in reports]
    np.testing.assert_allclose(bases, [1, 8.238235, 5.438459, -9.662707], rtol=1e-6)


def test_product_model_with_nesterov_momentum():
    x = (np.arange(16, dtype=np.float32) - 1).reshape(16, 1, 1, 1)
    reports, _ = run_steps(
        ProductNetwork,
        ArrayData(x, np.zeros(16)),
        steps=4,
        global_batch=4,
        loss_function=ProductNetwork.loss,
        num_gpus=2,
        **{**PRODUCT, "optimizer": "momentum"},
    )
    losses = [report["total_loss"] for report in reports]
    np.testing.assert_allclose(losses, [1.15625, 7.712365, -2.524666, -36.708601], rtol=1e-6)


def test_independent_towers_differ_from_one():
    """The scaling ceiling exchanges nothing, so it cannot give the losses of one tower."""
    x = (np.arange(16, dtype=np.float32) - 1).reshape(16, 1, 1, 1)
    reports, tensors = run_steps(
        ProductNetwork,
        ArrayData(x, np.zeros(16)),
        steps=4,
        global_batch=4,
        loss_function=ProductNetwork.loss,
        num_gpus=2,
        variable_update="independent",
        **PRODUCT,
    )
    # Tower 0 alone sees the first two examples of each four: by hand, as in the published series.
    a, b, expected = 1.0, 2.0, []
    for mean in (-0.5, 3.5, 7.5, 11.5):
        expected.append(mean * a * b + 2.0**-5 * (a * a + b * b))
        gradient_a, gradient_b = mean * b + 2.0**-4 * a, mean * a + 2.0**-4 * b
        a, b = a - 2.0**-4 * gradient_a, b - 2.0**-4 * gradient_b
    np.testing.assert_allclose([r["total_loss"] for r in reports], expected, rtol=1e-6)
    np.testing.assert_allclose([tensors["A"], tensors["B"]], [a, b], rtol=1e-6)
