"""Prints or writes a table of the networks: `python -m models.describe [--model=NAME] ...`.

--model=NAME --layers prints the layers of a Keras network, with the height, width and channels of
their outputs.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from common import commands, paths, process
from common.errors import UsageError
from models import registry

INTRODUCTION = """# Networks

The networks that `--model` accepts. `python -m models.describe --output=FILE` writes this page.
What a family is, its recipes, weights and traps:
[EfficientNet-Lite](models/efficientnet_lite.md), [ResNet](models/resnet.md),
[MobileNet](models/mobilenet.md), [Inception](models/inception.md),
[EfficientNet B and V2](models/efficientnet.md), [ConvNeXt](models/convnext.md),
[DenseNet](models/densenet.md), [NASNet and Xception](models/nasnet_xception.md),
[VGG, AlexNet and OverFeat](models/vgg_alexnet_overfeat.md),
[ResNets for CIFAR-10](models/cifar_resnet.md), [small networks](models/small.md).

*Parameters* are the trainable ones for ImageNet's 1000 classes, including auxiliary heads and,
where the network has one, the background class. *MACs* are the multiplications of convolutions and
dense layers for one image of the given size, each with its addition, without auxiliary heads.
*MAdds* add three for each output of a convolution, as the published table of EfficientNet-Lite
does. *Activations* are the outputs of convolutions. M is a million.

*Memory* is what one more image adds to a training step in float32: the bytes of all tensors that
the forward pass computes from the image and the backward pass reads, counted in the traced graph of
one step with auxiliary heads (`models/cost.py`). Weights, gradients and the optimizer's slots are
left out, because they do not grow with the batch, and so are temporary tensors of the backward
pass. Measured on a CPU (`python -m tests.models.peak_memory NAME BATCH_SIZE`, three runs), the peak
memory of a process grew by more than that for each image: by 7 to 13% with `resnet20`, 4 to 23%
with `resnet50`, 15 to 31% with `efficientnet_lite0` and 10 to 43% with `mobilenet_v1_relu`. MiB is
2^20 bytes.

"""
NUM_CLASSES = 1000
# The largest networks take 4 GB each: two fit into a laptop.
MAXIMUM_PROCESSES = 2
COLUMNS = (
    "network",
    "image size",
    "classes",
    "parameters, M",
    "MACs, M",
    "MAdds, M",
    "activations, M",
    "memory, MiB",
)


class Description(NamedTuple):
    """The figures of one network, for its default image size and 1000 classes."""

    name: str
    image_size: int
    outputs: int
    parameters: int
    macs: int
    published_madds: int
    activations: int
    activation_bytes: int

    def cells(self) -> tuple[str, ...]:
        numbers = (self.parameters, self.macs, self.published_madds, self.activations)
        millions = tuple(f"{number / 1e6:,.2f}" for number in numbers)
        mebibytes = f"{self.activation_bytes / 2**20:,.1f}"
        return (self.name, str(self.image_size), str(self.outputs), *millions, mebibytes)


def describe(name: str) -> Description:
    """Builds the network and counts; raises models.registry.UnknownModelError."""
    spec = registry.get(name)
    from models.cost import activation_bytes, cost, num_parameters

    network = spec.build(num_classes=NUM_CLASSES, image_size=spec.image_size)
    counted = cost(network, spec.image_size)
    return Description(
        name=name,
        image_size=spec.image_size,
        outputs=NUM_CLASSES + int(spec.background_class),
        parameters=num_parameters(network),
        macs=counted.macs,
        published_madds=counted.published_madds,
        activations=counted.activations,
        activation_bytes=activation_bytes(network, spec.image_size),
    )


def _describe_all(names: Sequence[str]) -> list[Description]:
    """Describes networks in one process a core, up to MAXIMUM_PROCESSES."""
    if len(names) == 1:
        with process.quiet_startup():
            return [describe(names[0])]
    num_processes = min(os.cpu_count() or 1, MAXIMUM_PROCESSES)
    context = multiprocessing.get_context("spawn")
    with (
        process.quiet_startup(),
        ProcessPoolExecutor(num_processes, mp_context=context) as executor,
    ):
        return list(executor.map(describe, names))


def table(descriptions: Sequence[Description]) -> str:
    """Returns a Markdown table with aligned columns, which also reads well in a terminal."""
    rows = [COLUMNS, *(description.cells() for description in descriptions)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = []
    for row in (rows[0], rule, *rows[1:]):
        first = row[0].ljust(widths[0])
        rest = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append("| " + " | ".join((first, *rest)) + " |")
    return "\n".join(lines) + "\n"


def _check_writable(page: Path) -> None:
    """Raises OSError for a page that cannot be written; does not change the file system."""
    try:
        page.open("x").close()
    except FileExistsError:
        page.open("a").close()
    else:
        page.unlink()


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 2 for an unknown network or a page that cannot be written."""
    parser = commands.parser("python -m models.describe", __doc__)
    parser.add_argument("--model", help="name of one network (default: all of them)")
    parser.add_argument(
        "--output",
        type=paths.argument,
        help="write the page to this file instead of printing the table",
    )
    parser.add_argument("--layers", action="store_true", help="of one network, --model")
    options = parser.parse_args(arguments)
    if options.layers:
        return commands.run(lambda: _print_layers(options.model, options.output))
    names = registry.names() if options.model is None else (options.model,)
    return commands.run(lambda: _write(names, options.output))


def _print_layers(name: str | None, page: Path | None) -> None:
    if name is None or page is not None:
        raise UsageError("--layers needs --model=NAME, and has no --output")
    spec = registry.get(name)
    with process.quiet_startup():
        from models.network import feature_layers

        network = spec.build(num_classes=NUM_CLASSES, image_size=spec.image_size)
    if network.keras_model is None:
        raise UsageError(f"{name}, a network of TF-Slim, has no layers by name")
    for layer, output in feature_layers(network.keras_model).items():
        print(layer, " x ".join(str(side) for side in output.shape[1:]))


def _write(names: Sequence[str], page: Path | None) -> None:
    for name in names:
        registry.get(name)
    if page is None:
        print(table(_describe_all(names)), end="")
        return
    try:
        _check_writable(page)  # before the counting, which takes minutes
        page.write_text(INTRODUCTION + table(_describe_all(names)), encoding="utf-8")
    except OSError as error:
        raise UsageError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
