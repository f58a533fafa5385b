"""Learning from a teacher: the loss, its gradients, and what a run keeps of the teacher."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from typing import ClassVar

import numpy as np
import pytest
import tensorflow as tf

import train
from benchmark_cnn import identity, training, training_setup
from benchmark_cnn.interfaces import MixedLabels
from benchmark_cnn.objective import losses, teacher
from benchmark_cnn.objective.distillation import Distillation, TaughtLabels
from benchmark_cnn.params.validation import make_params
from benchmark_cnn.reporting import console, run_record
from benchmark_cnn.run_directory import RunDirectory
from checkpoints import store
from common.errors import DataError, Stopped, UsageError
from tests.benchmark_cnn.distribution.test_towers_equal_one import assert_same_run
from tests.benchmark_cnn.engine import EVERYTHING, run_steps
from tests.benchmark_cnn.networks import (
    ArrayData,
    ConvNetwork,
    Output,
    Spec,
    Unprepared,
    random_examples,
)

FEATURES, CLASSES, BATCH, STEPS = 7, 5, 6, 10
TEMPERATURE, SHARE, SMOOTHING = 3.0, 0.3, 0.1


class LinearNetwork(Unprepared):
    """One dense layer on images [B, 1, 1, FEATURES]."""

    background_class = False

    def __init__(self, seed=1):
        random = np.random.default_rng(seed)
        kernel = random.normal(0, 1, (FEATURES, CLASSES)).astype(np.float32)
        self.variables = {
            "dense/kernel": tf.Variable(kernel),
            "dense/bias": tf.Variable(random.normal(0, 1, CLASSES).astype(np.float32)),
        }
        self.trainable, self.decayed = tuple(self.variables), frozenset({"dense/kernel"})
        self.groups = (self.trainable,)

    def __call__(self, images, *, training, seed=None, frozen=frozenset()):
        x = tf.reshape(tf.cast(images, tf.float32), [-1, FEATURES])
        return Output(x @ self.variables["dense/kernel"] + self.variables["dense/bias"], None, {})


class MixedData(ArrayData):
    """Each image is three quarters itself and one quarter of the last, next to last... image."""

    @staticmethod
    def batch_augmentation(images, labels, key):
        mixed = 0.75 * images + 0.25 * images[::-1]
        return mixed, MixedLabels(labels, labels[::-1], tf.fill(tf.shape(labels), 0.75))


def saved(network, directory, step=3, **about):
    """The teacher with the weights of `network`, as a run would have left them."""
    values = {name: variable.numpy() for name, variable in network.variables.items()}
    prefix = store.save(directory, step, values)
    return teacher.read(Spec(type(network)), prefix, str(directory), **about)


def softmax(logits):
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def test_ten_steps_are_those_of_numpy_also_of_mixed_images(tmp_path):
    """Hinton's loss in float64; the teacher is asked about the mixed image."""
    random = np.random.default_rng(5)
    images = random.normal(0, 1, (20, 1, 1, FEATURES)).astype(np.float32)
    labels = random.integers(0, CLASSES, 20)
    taught_by = LinearNetwork(seed=2)
    rate, decay = 0.25, 0.01
    reports, tensors = run_steps(
        LinearNetwork, MixedData(images, labels), steps=STEPS, global_batch=BATCH,
        loss_function=saved(taught_by, tmp_path), optimizer="sgd", learning_rate=rate,
        weight_decay=decay, label_smoothing=SMOOTHING, hard_label_share=SHARE,
        distillation_temperature=TEMPERATURE, teacher_checkpoint=str(tmp_path), image_size=1,
    )  # fmt: skip

    ours, its = (
        [v.numpy().astype(np.float64) for v in n.variables.values()]
        for n in (LinearNetwork(), taught_by)
    )
    expected = []
    for step in range(STEPS):
        rows = np.arange(step * BATCH, (step + 1) * BATCH) % 20
        x, y = (
            images[rows].reshape(BATCH, FEATURES).astype(np.float64),
            np.eye(CLASSES)[labels[rows]],
        )
        x, y = 0.75 * x + 0.25 * x[::-1], 0.75 * y + 0.25 * y[::-1]
        y = (1 - SMOOTHING) * y + SMOOTHING / CLASSES
        z, t = x @ ours[0] + ours[1], x @ its[0] + its[1]
        q, q_soft, p_soft = softmax(z), softmax(z / TEMPERATURE), softmax(t / TEMPERATURE)
        hard = -(y * np.log(q)).sum(1).mean()
        soft = TEMPERATURE**2 * (p_soft * np.log(p_soft / q_soft)).sum(1).mean()
        expected.append(SHARE * hard + (1 - SHARE) * soft)
        error = SHARE * (q - y) + (1 - SHARE) * TEMPERATURE * (q_soft - p_soft)
        ours[0] -= rate * (x.T @ error / BATCH + decay * ours[0])
        ours[1] -= rate * error.sum(0) / BATCH
    np.testing.assert_allclose([r["cross_entropy"] for r in reports], expected, rtol=1e-6)
    for name, value in zip(("dense/kernel", "dense/bias"), ours, strict=True):
        np.testing.assert_allclose(tensors[name], value, rtol=1e-6, atol=1e-6)
    assert set(tensors) == {
        *("dense/kernel", "dense/bias", "global_step", "examples_seen", "skipped_steps"),
        "skipped_steps/in_a_row",
    }, "nothing of the teacher is saved"


@pytest.mark.parametrize("skipped", [0, 1])
def test_the_loss_leaves_out_a_background_class_and_covers_auxiliary_logits(skipped):
    random = np.random.default_rng(8)
    main, aux, its = (random.normal(0, 2, (4, CLASSES)) for _ in range(3))
    labels = random.integers(0, CLASSES, 4)
    extra = random.normal(0, 2, (4, skipped))
    student = [tf.constant(np.concatenate([extra, z], 1), tf.float32) for z in (main, aux)]
    loss = Distillation(losses.Loss(), 2.0, 0.0, skipped)
    taught = TaughtLabels(tf.constant(labels + skipped, tf.int32), tf.constant(its, tf.float32))
    p = softmax(its / 2)
    wanted = [4 * (p * np.log(p / softmax(z / 2))).sum(1).mean() for z in (main, aux)]
    np.testing.assert_allclose(loss(Output(*student, {}), taught), wanted, rtol=1e-6)


@pytest.fixture(scope="module")
def conv_teacher(tmp_path_factory):
    """A network with batch norm, whose moving statistics are not those of a batch."""
    network = ConvNetwork(batch_norm="tower")
    network.variables["bn/moving_mean"].assign([0.3, -0.2, 0.1, 0.4])
    made = saved(network, tmp_path_factory.mktemp("teacher"))
    spec = Spec(lambda: ConvNetwork(batch_norm="tower"))
    return teacher.read(spec, made.prefix, made.given)


SLOW = [{"variable_update": "parameter_server"}, {"xla": "towers"}, {"xla": "step"}]


@pytest.fixture(scope="module")
def of_one_tower(conv_teacher):
    return taught(conv_teacher, num_gpus=1)


def taught(conv_teacher, **mode):
    return run_steps(
        lambda: ConvNetwork(auxiliary=True), ArrayData(*random_examples(48)), steps=3,
        global_batch=16, loss_function=conv_teacher, **EVERYTHING, teacher_checkpoint="here",
        **mode,
    )  # fmt: skip


@pytest.mark.parametrize("mode", [{}, *(pytest.param(m, marks=pytest.mark.slow) for m in SLOW)])
def test_two_towers_are_one(mode, conv_teacher, of_one_tower):
    assert_same_run(taught(conv_teacher, num_gpus=2, **mode), of_one_tower, 1)


def start(train_dir, taught_by, *, on_line=None, **flags):
    flags = {"teacher_checkpoint": "as given"} | flags if taught_by else flags
    params = make_params(
        device="cpu", train_dir=str(train_dir), batch_size=8, num_batches=6, learning_rate=0.05,
        save_model_steps=2, display_every=1, moving_average_decay=0.8, **flags,
    )  # fmt: skip
    with console.routed_through(on_line or (lambda line: None)):
        return training.train(
            params,
            Spec(lambda: ConvNetwork(dropout=0.3)),
            ArrayData(*random_examples(40)),
            loss=taught_by,
        )


def test_a_resumed_run_has_the_bits_of_an_unbroken_one_and_keeps_its_teacher(
    tmp_path, conv_teacher
):
    start(tmp_path / "unbroken", conv_teacher)

    def stop(line):
        if line.startswith("3\t"):
            os.kill(os.getpid(), signal.SIGTERM)

    broken = tmp_path / "broken"
    with pytest.raises(Stopped):
        start(broken, conv_teacher, on_line=stop)
    recorded = run_record.last_start(broken / "run.json")["teacher"]
    assert recorded == conv_teacher.identity
    assert (recorded["model"], recorded["checkpoint"]) == ("test", "model.ckpt-3")

    other = ConvNetwork(batch_norm="tower")
    other.variables["dense/bias"].assign_add(tf.fill([CLASSES], 1e-6))
    other = saved(other, tmp_path / "other", step=4)
    with pytest.raises(DataError) as error:
        start(broken, other)
    line = str(error.value)
    assert "learns from the raw weights of test, model.ckpt-3" in line
    assert "give the checkpoint model.ckpt-3 with --teacher_checkpoint" in line
    assert "\n" not in line
    with pytest.raises(DataError, match="not from its labels alone: give --teacher_checkpoint="):
        start(broken, None)

    start(broken, conv_teacher)
    got, wanted = store.read(broken), store.read(tmp_path / "unbroken")
    assert got.keys() == wanted.keys()
    assert not [name for name in wanted if not np.array_equal(got[name], wanted[name])]
    assert (broken / "metrics.csv").read_bytes() == (
        tmp_path / "unbroken" / "metrics.csv"
    ).read_bytes()


def test_a_teacher_of_other_classes_is_refused(tmp_path, conv_teacher):
    data = ArrayData(*random_examples(8))
    of_seven = saved(ConvNetwork(num_classes=7), tmp_path)
    of_seven = teacher.read(Spec(ConvNetwork), of_seven.prefix, "DIR")

    def run(taught_by):
        run_steps(
            ConvNetwork, data, steps=1, global_batch=4, loss_function=taught_by,
            teacher_checkpoint="DIR",
        )  # fmt: skip

    with pytest.raises(DataError) as error:
        run(of_seven)
    assert str(error.value) == (
        "--teacher_checkpoint=DIR: the teacher has 7 classes, the student 5: give a teacher that "
        "was trained on the classes of the data"
    )
    of_named = teacher.read(
        conv_teacher.spec, conv_teacher.prefix, "DIR", class_names=("ant", "bee", "cat", "dog", "e")
    )
    names = ["ant", "bee", "cow", "dog", "e"]
    about = data.describe()._replace(class_names=names)
    data.describe = lambda: about
    with pytest.raises(DataError, match="cat where the data have cow"):
        run(of_named)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ({"hard_label_share": 0.5}, "--hard_label_share has no effect without --teacher"),
        ({"teacher": "lenet", "loss": "bce"}, "--loss=bce cannot be used with a teacher"),
        (
            {"teacher": "lenet", "hard_label_share": 0.0, "label_smoothing": 0.1},
            "--label_smoothing has no effect with --hard_label_share=0",
        ),
        (
            {"teacher": "lenet", "hard_label_share": 0.0, "loss": "focal"},
            "--loss=focal has no effect with --hard_label_share=0",
        ),
        ({"teacher": "lenet", "forward_only": True}, "--teacher has no effect with --forward_only"),
    ],
)
def test_flags_without_effect_are_refused(flags, line):
    with pytest.raises(UsageError, match=line):
        make_params(**flags)


def test_the_command_says_what_its_teacher_is_and_costs(tmp_path, capsys):
    data = [f"--data_dir={tmp_path / 'data'}", "--data_name=digits"]
    common = ["--device=cpu", "--image_size=16", "--batch_size=4", "--num_batches=1", *data]
    assert train.main([*common, "--model=lenet", f"--train_dir={tmp_path / 'big'}"]) == 0
    taught = [*common, "--model=trivial", f"--teacher_checkpoint={tmp_path / 'big'}"]
    capsys.readouterr()
    assert train.main([*taught, f"--train_dir={tmp_path / 'small'}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("Teacher:"))
    assert lines[first] == (f"Teacher:     lenet, raw weights of {tmp_path / 'big'} (model.ckpt-1)")
    # By hand: 5x5 filters of 3 -> 32 at 16 px, 32 -> 64 at 8 px; 1,024 x 512 + 512 x 10.
    its = 16 * 16 * 75 * 32 + 8 * 8 * 800 * 64 + 1024 * 512 + 512 * 10
    ours = 16 * 16 * 3 + 4096 + 4096 * 10
    assert f"adds {its / (3 * ours):.0%} to the multiply-adds of a step" in lines[first + 1]
    assert (
        "Loss:        10% softmax cross entropy; 90% divergence from the teacher, temperature 4"
        in lines
    )
    assert train.main([*taught, "--teacher=trivial", f"--train_dir={tmp_path / 'x'}"]) == 3
    assert "the run trained lenet: leave --teacher out" in capsys.readouterr().err
    assert train.main([*common, "--model=lenet", "--teacher_checkpoint=published"]) == 2


def test_a_run_without_a_teacher_gets_none_later(tmp_path, conv_teacher):
    """The teacher of a start is compared with that of the last one, which had none."""
    record = {"class_names": [], "starts": [{"data": {}}]}
    (tmp_path / "run.json").write_text(json.dumps(record))
    directory = RunDirectory(tmp_path)
    identity.check_teacher(directory, None, make_params())
    with pytest.raises(DataError, match=r"learns from its labels alone, .*: leave out --teacher"):
        identity.check_teacher(directory, conv_teacher, make_params())


def test_a_teacher_answers_batches_of_each_size(conv_teacher):
    """With one set of weights, as a run with --image_size_schedule asks it."""

    class SizedSpec(Spec):
        built: ClassVar[list] = []

        def build(self, image_size, variables=None, **_):
            network = ConvNetwork(batch_norm="tower")
            network.built_for = image_size
            network.variables = network.variables if variables is None else variables
            self.built.append(network)
            return network

    def multiply_adds(network, size):
        assert size == getattr(network, "built_for", size), "a network takes images of one size"
        return 1000

    of_sizes = dataclasses.replace(conv_teacher, spec=SizedSpec(None), multiply_adds=multiply_adds)
    params = make_params(device="cpu")
    _, manager = training_setup.make_manager(params)
    teaching = of_sizes.build(params.network, manager, CLASSES, {8, 16})
    assert len({id(network.variables["conv1/kernel"]) for network in SizedSpec.built}) == 1
    student = ConvNetwork(batch_norm="tower")
    assert "adds 33%" in of_sizes.lines(teaching, student, 16)[1]
    assert len(of_sizes.lines(teaching, student, 24)) == 1  # the student's size comes never
    for size in (8, 16):
        images, _ = random_examples(3, image_size=size)
        wanted = conv_teacher.spec.build()
        for name, value in conv_teacher.values.items():
            wanted.variables[name].assign(value)
        logits = wanted(images, training=False).logits
        np.testing.assert_allclose(teaching(tf.constant(images)).logits, logits, rtol=1e-6)
