"""Runs timm's networks. It needs PyTorch, timm and the standard library only.

    .venv-peers/bin/python timm_steps.py JSON

JSON holds the fields of `Task`. When the network has warmed up, a line of JSON says what is
measured; then every line of stdin asks for `steps` steps and is answered with an empty line.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

_WARMUP_STEPS = 2


class Task(NamedTuple):
    """What to run.

    Attributes:
        network: timm's name.
        trains: whether it trains; else it answers.
        dtype: "float32", or "bfloat16" for autocast.
        is_compiled: by torch.compile.
        is_frozen: the compiler takes the weights as constants, which only answers allow.
        threads: of an operation.
        sgd: of the training: keyword arguments of torch.optim.SGD.
        device: "cpu" or "cuda".
    """

    network: str
    trains: bool
    dtype: str
    batch_size: int
    image_size: int
    steps: int
    threads: int
    is_compiled: bool = False
    is_frozen: bool = False
    sgd: dict[str, Any] = {}  # noqa: RUF012
    device: str = "cpu"


def main(task: Task) -> None:
    """Announces itself, and takes steps for every line of stdin."""
    with contextlib.redirect_stdout(sys.stderr):
        about, take_steps = build(task)
        take_steps(_WARMUP_STEPS)
    print(json.dumps(about), flush=True)
    for _ in sys.stdin:
        with contextlib.redirect_stdout(sys.stderr):
            take_steps(task.steps)
        print(flush=True)


def build(task: Task) -> tuple[dict[str, Any], Callable[[int], None]]:
    """Returns what is measured, and a function that takes steps on one batch in memory."""
    import timm  # pyright: ignore
    import torch  # pyright: ignore

    torch.set_num_threads(task.threads)
    torch.manual_seed(0)
    device = task.device
    network = timm.create_model(task.network).to(device, memory_format=torch.channels_last)
    about = {
        "versions": {"torch": torch.__version__, "timm": timm.__version__},
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
    }
    # Its loader normalizes images: they are floats before they are measured.
    shape = (task.batch_size, 3, task.image_size, task.image_size)
    images = torch.randn(shape).to(device, memory_format=torch.channels_last)
    labels = torch.randint(0, 1000, (task.batch_size,)).to(device)
    network.train(task.trains)
    if task.is_frozen:
        torch._inductor.config.freezing = True  # pyright: ignore
    forward = torch.compile(network) if task.is_compiled else network
    autocast = torch.autocast(device, torch.bfloat16, enabled=task.dtype == "bfloat16")

    def answer() -> None:
        with torch.inference_mode(), autocast:
            forward(images)

    def taker(step: Callable[[], None]) -> Callable[[int], None]:
        def take(steps: int) -> None:
            for _ in range(steps):
                step()
            if device != "cpu":
                torch.cuda.synchronize()

        return take

    if not task.trains:
        return about, taker(answer)
    optimizer = torch.optim.SGD(network.parameters(), **task.sgd)

    def train() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast:
            loss = torch.nn.functional.cross_entropy(forward(images), labels)
        loss.backward()
        optimizer.step()

    return about, taker(train)


if __name__ == "__main__":
    main(Task(**json.loads(sys.argv[1])))
