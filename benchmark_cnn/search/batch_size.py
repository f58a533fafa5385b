"""`--batch_size=auto`: the largest power of two of images per tower that fits into the memory."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import tensorflow as tf

from benchmark_cnn import before_training, training_setup
from benchmark_cnn.interfaces import Dataset, NetworkSpec
from benchmark_cnn.objective.teacher import Teacher
from benchmark_cnn.params.data_params import AUTOMATIC
from benchmark_cnn.params.params import Params
from benchmark_cnn.reporting import console
from benchmark_cnn.step.step_loop import make_step_loop
from common import process
from common.errors import UsageError

ImageBytes = before_training.ImageBytes


def chosen(
    params: Params,
    spec: NetworkSpec,
    dataset: Dataset,
    earlier: Params | None,
    image_bytes: ImageBytes | None,
    check_device: Callable[[str], None] | None = None,
    teacher: Teacher | None = None,
) -> Params:
    """Returns `params` with a number in place of AUTOMATIC; that of the last start if it resumes.

    Args:
        earlier: parameters of the last start, whose batch size was chosen then.
        image_bytes: see before_training.check.
        teacher: of a run that learns from one.

    Raises:
        UsageError: not even one image fits.
    """
    if params.data.batch_size != AUTOMATIC:
        return params
    if earlier is not None and earlier.data.batch_size:
        size, reason = earlier.data.batch_size, "as at the last start"
    else:
        size, reason = _largest(params, spec, dataset, image_bytes, check_device, teacher)
    console.log(f"Batch size: {size} images per tower, {reason}")
    return with_batch_size(params, size)


def with_batch_size(params: Params, size: int) -> Params:
    """Returns `params` with another batch size."""
    return dataclasses.replace(params, data=dataclasses.replace(params.data, batch_size=size))


def _largest(
    params: Params,
    spec: NetworkSpec,
    dataset: Dataset,
    image_bytes: ImageBytes | None,
    check_device: Callable[[str], None] | None,
    teacher: Teacher | None,
) -> tuple[int, str]:
    """Returns the batch size and how it was found."""
    run_devices, manager = training_setup.make_manager(params, check_device)
    one = with_batch_size(params, 1)
    settings = training_setup.resolve_settings(one, spec, dataset, "train", run_devices.kind)
    images = dataset.examples_per_epoch(settings.subset)
    share = images // (manager.num_towers * params.run.gradient_accumulation_steps)
    most = power_of_two(max(1, share))
    if run_devices.kind == "gpu":

        def trains(size: int) -> bool:
            return _trains(with_batch_size(params, size), spec, dataset, teacher)

        size = search(trains, most)
        return size, "the largest power of two that a step was made with"
    available = process.available_memory_bytes()
    if image_bytes is None or available is None:
        raise UsageError("--batch_size=auto: the free memory is not known; give a number")
    image_size = max(size for size, _ in settings.train_image_sizes)
    settings = dataclasses.replace(settings, image_size=image_size)
    network = training_setup.build_network(one, spec, dataset, manager, settings)
    bytes_per_image = image_bytes(network, image_size)
    fitting = before_training.images_that_fit(available, bytes_per_image, manager.num_local_towers)
    if fitting < 1:
        raise UsageError(
            f"a step of one image needs {bytes_per_image / 2**20:.1f} MiB, and "
            f"{available / 2**20:.1f} MiB are free: use a smaller --image_size or another --model"
        )
    size = min(power_of_two(fitting), most)
    if size == most:
        return size, "the largest power of two in an epoch"
    return size, (
        f"the largest power of two in {available / 2**30:.1f} GiB of free memory, at "
        f"{bytes_per_image * before_training.MEMORY_FACTOR / 2**20:.1f} MiB an image"
    )


def power_of_two(number: int) -> int:
    """Returns the largest power of two that is at most `number`, which is at least 1."""
    return 1 << (number.bit_length() - 1)


def search(fits: Callable[[int], bool], most: int, first: int = 32) -> int:
    """Returns the largest power of two up to `most` that fits, by doubling and halving.

    Args:
        fits: whether a size fits; if one does, all smaller ones do.
        most: a power of two.

    Raises:
        UsageError: 1 does not fit.
    """
    size = min(first, most)
    if fits(size):
        while size < most and fits(2 * size):
            size *= 2
        return size
    while size > 1:
        size //= 2
        if fits(size):
            return size
    raise UsageError("--batch_size=auto: not even one image fits: use a smaller --image_size")


def _trains(
    params: Params, spec: NetworkSpec, dataset: Dataset, teacher: Teacher | None = None
) -> bool:
    """Returns whether a step of black images leaves the memory unexhausted."""
    with console.routed_through(lambda line: None):
        run = training_setup.set_up(params, spec, dataset, loss=teacher)
    step = max(run.phases.values(), key=lambda phase: phase.image_size)
    size, classes = step.image_size, run.settings.num_classes
    shape = [run.plan.batch_per_tower, size, size, 3]
    labels_shape = [shape[0], classes] if dataset.multi_label else [shape[0]]
    labels_type = tf.float32 if dataset.multi_label else tf.int32

    def of_each_tower(make: Callable[[], tf.Tensor]):
        return run.manager.strategy.experimental_distribute_values_from_function(
            lambda context: make()
        )

    batch = (
        of_each_tower(lambda: tf.zeros(shape, tf.uint8)),
        of_each_tower(lambda: tf.zeros(labels_shape, labels_type)),
    )
    loop = make_step_loop(step, itertools.repeat(batch), run.plan.micro_batches)
    try:
        loop(1, True)[0].numpy()
    except tf.errors.ResourceExhaustedError:
        return False
    return True
