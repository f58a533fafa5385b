"""What the engine costs: its step beside a bare loop, eight towers, and Keras' fit.

    python -m benchmarks.engine [--rounds=5]

All sides train EfficientNet-Lite0 on the same 32 random images of 224 px in float32, with Nesterov
momentum and weight decay. Each has a process of its own, since TensorFlow's devices and threads
are a process's, and they run in turn: a round gives every side a few steps while the others wait,
the next round begins with another side, and a ratio is taken within a round. A machine that slows
down for a while slows all sides down.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import multiprocessing
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmark_cnn import process_environment

BATCH_SIZE = 32
IMAGE_SIZE = 224
STEPS_PER_TURN = 3
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 0.01, 0.9, 4e-5
MODEL = "efficientnet_lite0"
Side = Callable[[], object]  # takes STEPS_PER_TURN steps
# Name -> the function below that builds it, and its towers.
SIDES = {
    "bare loop": ("bare_loop", 1),
    "engine, 1 tower": ("engine", 1),
    "engine, 8 towers": ("engine", 8),
    "Keras fit, Keras' batch norm": ("keras_fit", 1),
}
# What is promised of each side's images/s, as a share of another's.
RATIOS = {
    ("engine, 1 tower", "bare loop"): 0.97,
    ("engine, 8 towers", "bare loop"): 0.90,
    ("engine, 1 tower", "Keras fit, Keras' batch norm"): 1.5,
}


def main() -> None:
    """Run all sides in turn and print images/s and ratios with their spread."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side (default 5)")
    rounds = parser.parse_args().rounds
    processes = multiprocessing.get_context("spawn")
    sides: dict[str, Side] = {}
    for name, (make, towers) in SIDES.items():
        started = time.perf_counter()
        sides[name] = _start(processes, make, towers)
        sides[name]()
        print(f"{name}: built and warmed up in {time.perf_counter() - started:.0f} s", flush=True)
    _print(measure(sides, rounds))


def _start(processes, make: str, num_towers: int) -> Side:
    """A process that builds a side; the function returned has it take a turn, and waits for it."""
    ours, theirs = processes.Pipe()
    processes.Process(target=_serve, args=(theirs, make, num_towers), daemon=True).start()
    theirs.close()

    def take_turn():
        ours.send("turn")
        return ours.recv()

    return take_turn


def _serve(connection, make: str, num_towers: int) -> None:
    from benchmark_cnn import devices, params

    with process_environment.without_chatter(), contextlib.redirect_stdout(io.StringIO()):
        devices.prepare(params.make_params(device="cpu", num_gpus=num_towers).hardware)
        side = globals()[make](num_towers)
    # The pipe closes when the parent is done.
    with contextlib.suppress(EOFError):
        while connection.recv():
            side()
            connection.send("done")


def measure(sides: dict[str, Side], rounds: int) -> dict[str, list[float]]:
    """Images/s of every side in every round."""
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    names = list(sides)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            started = time.perf_counter()
            sides[name]()
            seconds = time.perf_counter() - started
            speeds[name].append(STEPS_PER_TURN * BATCH_SIZE / seconds)
    return speeds


def bare_loop(_num_towers: int) -> Side:
    """A hand-written training loop over our network: no strategy, no engine."""
    import tensorflow as tf

    from models import registry

    network = registry.get(MODEL).build(num_classes=1000, image_size=IMAGE_SIZE)
    images, labels = map(tf.constant, _batch())
    weights = [network.variables[name] for name in network.trainable]
    accumulators = [tf.Variable(tf.zeros_like(v), trainable=False) for v in weights]
    step = tf.Variable(tf.zeros([], tf.int64), trainable=False)

    @tf.function(autograph=False)
    def train_step():
        seed = tf.stack([1, tf.cast(step, tf.int32)])
        with tf.GradientTape() as tape:
            result = network(images, training=True, seed=seed)
            loss = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(labels, result.logits)
            )
        gradients: Any = tape.gradient(loss, weights)
        for name, weight, accumulator, gradient in zip(
            network.trainable, weights, accumulators, gradients, strict=True
        ):
            if name in network.decayed:
                gradient = gradient + WEIGHT_DECAY * weight
            tf.raw_ops.ResourceApplyMomentum(
                var=weight.handle,
                accum=accumulator.handle,
                lr=LEARNING_RATE,
                grad=gradient,
                momentum=MOMENTUM,
                use_nesterov=True,
            )
        for name, value in result.statistics.items():
            network.variables[name].assign(value)
        step.assign_add(1)
        return loss

    return lambda: [train_step() for _ in range(STEPS_PER_TURN)]


def engine(num_towers: int) -> Side:
    """What train.py runs, from the parameters to the step loop."""
    from benchmark_cnn import feeding, training_setup
    from benchmark_cnn.params import make_params
    from benchmark_cnn.step_loop import make_step_loop
    from models import registry
    from preprocessing.registry import open_dataset

    params = make_params(
        model=MODEL,
        device="cpu",
        num_gpus=num_towers,
        batch_size=BATCH_SIZE // num_towers,
        image_size=IMAGE_SIZE,
        learning_rate=LEARNING_RATE,
    )
    run = training_setup.set_up(params, registry.get(MODEL), open_dataset())
    batches = feeding.training_batches(
        run.manager,
        run.dataset,
        batch_size=run.plan.batch_per_tower,
        image_size=IMAGE_SIZE,
        seed=1,
    )
    loop = make_step_loop(run.step, batches, micro_batches=1)
    return lambda: [loop(1, False) for _ in range(STEPS_PER_TURN)]


def keras_fit(_num_towers: int) -> Side:
    """The same network with Keras' own batch norm and dropout, trained by `fit`."""
    import keras
    import tensorflow as tf

    from benchmarks.keras_twin import with_keras_layers
    from models import registry

    network = registry.get(MODEL).build(num_classes=1000, image_size=IMAGE_SIZE)
    model: Any = with_keras_layers(network.keras_model)
    model.compile(
        optimizer=keras.optimizers.SGD(
            LEARNING_RATE, momentum=MOMENTUM, nesterov=True, weight_decay=WEIGHT_DECAY
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    data = tf.data.Dataset.from_tensors(_batch()).repeat()
    return lambda: model.fit(data, steps_per_epoch=STEPS_PER_TURN, epochs=1, verbose=0)


def _batch() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    images = random.normal(127, 60, (BATCH_SIZE, IMAGE_SIZE, IMAGE_SIZE, 3)).clip(0, 255)
    return images.astype(np.uint8), random.integers(0, 1000, BATCH_SIZE).astype(np.int32)


def _print(speeds: dict[str, list[float]]) -> None:
    print(f"\n{'images/s':30}{'median':>8}{'lowest':>9}{'highest':>9}")
    for name, values in speeds.items():
        print(f"{name:30}{statistics.median(values):8.1f}{min(values):9.1f}{max(values):9.1f}")
    print(f"\n{'ratio, within a round':60}{'median':>8}{'lowest':>9}{'highest':>9}{'asked':>8}")
    for (side, peer), asked in RATIOS.items():
        ratios = [a / b for a, b in zip(speeds[side], speeds[peer], strict=True)]
        row = f"{side} / {peer:40}"
        print(
            f"{row:60}{statistics.median(ratios):8.3f}{min(ratios):9.3f}{max(ratios):9.3f}"
            f"{asked:8.2f}"
        )


if __name__ == "__main__":
    process_environment.restart_with_defaults()
    main()
