"""The networks for CIFAR-10 as entries of the registry: names, batches and rates of the ancestors.

Flag parsing reads this module, so it imports no TensorFlow. tf_cnn_benchmarks lowered the rates of
the ResNets at epochs 82, 123 and 300, to 0.01, 0.001 and 0.0002, and those of the DenseNets at 150,
225 and 300, to 0.01, 0.001 and 0.0001: --piecewise_learning_rate_schedule does so.
"""

from __future__ import annotations

from models.model_spec import ModelSpec

IMAGE_SIZE = 32
LEARNING_RATE = 0.1


def _resnet(depth: int, version: int) -> ModelSpec:
    return ModelSpec(
        name=f"resnet{depth}" + ("_v2" if version == 2 else ""),
        image_size=IMAGE_SIZE,
        batch_size=128,
        learning_rate=LEARNING_RATE,
        builder="models.cifar_resnet:build",
        options={"blocks": (depth - 2) // 6, "version": version},
    )


def _densenet(depth: int, growth_rate: int) -> ModelSpec:
    return ModelSpec(
        name=f"densenet{depth}_k{growth_rate}",
        image_size=IMAGE_SIZE,
        batch_size=64,
        learning_rate=LEARNING_RATE,
        builder="models.cifar_densenet:build",
        options={"layers": (depth - 4) // 3, "growth_rate": growth_rate},
    )


CIFAR_SPECS = (
    *(_resnet(depth, version) for version in (1, 2) for depth in (20, 32, 44, 56, 110)),
    *(_densenet(depth, growth_rate) for depth, growth_rate in ((40, 12), (100, 12), (100, 24))),
)
