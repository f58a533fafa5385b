"""`--batch_size=auto`: the search, the estimate for a CPU, and the number that a run keeps."""

from __future__ import annotations

import dataclasses

import pytest

from benchmark_cnn import before_training, training
from benchmark_cnn.flags import command_line
from benchmark_cnn.params.data_params import AUTOMATIC
from benchmark_cnn.params.params import read_parameters
from benchmark_cnn.params.validation import make_params
from benchmark_cnn.search import batch_size
from common import process
from common.errors import UsageError
from tests.benchmark_cnn.networks import (
    ArrayData,
    ConvNetwork,
    Spec,
    random_examples,
    several_labels,
)


@pytest.mark.parametrize("fitting", [1, 5, 32, 100, 4096])
@pytest.mark.parametrize("most", [1, 16, 1024])
def test_the_search_finds_the_largest_power_of_two(fitting, most):
    tried = []

    def fits(size):
        tried.append(size)
        return size <= fitting

    expected = max(2**n for n in range(20) if 2**n <= min(fitting, most))
    assert batch_size.search(fits, most) == expected
    assert len(tried) == len(set(tried))
    with pytest.raises(UsageError, match="not even one image fits"):
        batch_size.search(lambda size: False, most)


def chosen(*, image_bytes, examples=40, earlier=None, **flags):
    params = make_params(device="cpu", batch_size=AUTOMATIC, **flags)
    dataset = ArrayData(*random_examples(examples))
    found = batch_size.chosen(
        params, Spec(ConvNetwork), dataset, earlier=earlier,
        image_bytes=lambda network, size: image_bytes,
    )  # fmt: skip
    return found.data.batch_size


@pytest.fixture
def available(monkeypatch):
    """A machine whose memory no neighbor takes or returns meanwhile."""
    monkeypatch.setattr(process, "available_memory_bytes", lambda: 20 << 30)
    return 20 << 30


def test_a_cpu_takes_what_its_memory_holds(available):
    # 1.4 times the activations of 12 images fit on each of two towers.
    image = int(available / (before_training.MEMORY_FACTOR * 2 * 12))
    assert chosen(image_bytes=image, num_gpus=2) == 8
    assert chosen(image_bytes=1) == 32  # 40 images are an epoch
    assert chosen(image_bytes=1, num_gpus=2, gradient_accumulation_steps=2) == 8
    with pytest.raises(UsageError, match="a step of one image needs"):
        chosen(image_bytes=2 * available)


def test_the_largest_of_several_sizes_decides(available):
    sizes = []

    def image_bytes(network, size):
        sizes.append(size)
        return int(available / (before_training.MEMORY_FACTOR * 12)) if size == 16 else 1

    params = make_params(
        device="cpu", batch_size=AUTOMATIC, image_size=12, image_size_schedule="16:0,8:1"
    )
    dataset = ArrayData(*random_examples(40))
    found = batch_size.chosen(
        params, Spec(ConvNetwork), dataset, earlier=None, image_bytes=image_bytes
    )
    assert (found.data.batch_size, sizes) == (8, [16])


def test_the_number_is_written_down_and_a_resumed_run_keeps_it(tmp_path, available):
    def train(memory_of_an_image, steps):
        params = make_params(
            device="cpu", batch_size=AUTOMATIC, train_dir=str(tmp_path / "run"), num_batches=steps,
            num_warmup_batches=0,
        )  # fmt: skip
        dataset = ArrayData(*random_examples(40))
        count = (lambda network, size: memory_of_an_image) if memory_of_an_image else None
        training.train(params, Spec(ConvNetwork), dataset, image_bytes=count)
        return read_parameters(tmp_path / "run").data.batch_size

    assert train(1, 1) == 32
    assert train(available // 40, 2) == 32  # a first start would have taken less
    assert chosen(image_bytes=available // 40) == 16


def test_the_word_is_read_and_refused_where_it_cannot_be_meant():
    flags = command_line.parse("train.py", ["--batch_size=auto"], choices={}, answers={})
    assert flags.params.data.batch_size == AUTOMATIC
    for program, argv, words in (
        ("train.py", ["--batch_size=-2"], "must be at least 1"),
        ("train.py", ["--batch_size=auto", "--forward_only"], "cannot be used with --forward_only"),
        ("eval.py", ["--batch_size=auto", "--train_dir=x"], "auto is for train.py"),
    ):
        with pytest.raises(UsageError, match=words):
            command_line.parse(program, argv, choices={}, answers={})


def test_a_number_stays():
    params = make_params(device="cpu", batch_size=8)
    dataset = ArrayData(*random_examples(40))
    earlier = dataclasses.replace(params)
    same = batch_size.chosen(params, Spec(ConvNetwork), dataset, earlier=earlier, image_bytes=None)
    assert same is params


@pytest.mark.parametrize("loss", ["softmax", "bce"])
def test_a_gpu_tries_a_whole_step(loss):
    """Here on two towers of the CPU, whose memory it cannot exhaust."""
    images, labels = random_examples(40)
    dataset = ArrayData(images, several_labels(labels) if loss == "bce" else labels)
    params = make_params(
        device="cpu", batch_size=4, num_gpus=2, gradient_accumulation_steps=2, loss=loss
    )
    assert batch_size._trains(params, Spec(ConvNetwork), dataset)
