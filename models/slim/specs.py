"""The TF-Slim networks as entries of the registry.

Flag parsing reads this module, so it imports no TensorFlow. Image sizes and, but for ResNet, the
learning rate are the ancestors'. A background class is there where slim's published checkpoints
have one: Inception, MobileNet and ResNet v2, but neither VGG nor ResNet v1, nor the networks that
were never published. VGG and ResNet v1 were published for pixels less their mean.
"""

from __future__ import annotations

from models.model_spec import ModelSpec

LEARNING_RATE = 0.005
# ResNet: 0.128 for every 256 images, as tf_cnn_benchmarks.
RESNET_LEARNING_RATE_PER_IMAGE = 0.128 / 256
BUILDERS = "models.slim.networks"


def _plain(name: str, image_size: int, batch_size: int, minimum: int) -> ModelSpec:
    return ModelSpec(
        name=name,
        image_size=image_size,
        batch_size=batch_size,
        learning_rate=LEARNING_RATE,
        builder=f"{BUILDERS}:build_plain",
        options={"minimum_image_size": minimum, "centered": name.startswith("vgg")},
    )


def _inception(name: str, version: int, image_size: int, batch_norm: bool = True) -> ModelSpec:
    return ModelSpec(
        name=name,
        image_size=image_size,
        batch_size=32,
        learning_rate=LEARNING_RATE,
        builder=f"{BUILDERS}:build_inception",
        options={"version": version, "batch_norm": batch_norm},
        background_class=True,
    )


def _resnet(version: int, depth: int, image_size: int = 224) -> ModelSpec:
    batch_size = 64 if depth == 50 else 32
    name = f"resnet_v{version}_{depth}"
    return ModelSpec(
        name=name if image_size == 224 else f"{name}_{image_size}",
        image_size=image_size,
        batch_size=batch_size,
        learning_rate=RESNET_LEARNING_RATE_PER_IMAGE * batch_size,
        builder=f"{BUILDERS}:build_resnet",
        options={"version": version, "depth": depth, "centered": version == 1},
        background_class=version == 2,
    )


def _mobilenet(name: str, version: int, **options: str | float) -> ModelSpec:
    return ModelSpec(
        name=name,
        image_size=224,
        batch_size=32,
        learning_rate=LEARNING_RATE,
        builder=f"{BUILDERS}:build_mobilenet",
        options={"version": version, **options},
        background_class=True,
    )


SLIM_SPECS = (
    _plain("alexnet_v2", image_size=224, batch_size=512, minimum=195),
    _plain("overfeat", image_size=231, batch_size=32, minimum=231),
    _plain("vgg_a", image_size=224, batch_size=64, minimum=224),
    _plain("vgg_16", image_size=224, batch_size=64, minimum=224),
    _plain("vgg_19", image_size=224, batch_size=64, minimum=224),
    _inception("googlenet", 1, image_size=224, batch_norm=False),
    _inception("inception_v1", 1, image_size=224),
    _inception("inception_v2", 2, image_size=224),
    _inception("inception_v3", 3, image_size=299),
    _inception("inception_v4", 4, image_size=299),
    *(_resnet(version, depth) for version in (1, 2) for depth in (50, 101, 152)),
    # The same networks, and names of variables, at the size that v2 was published for.
    *(_resnet(2, depth, image_size=299) for depth in (50, 101, 152)),
    _mobilenet("mobilenet_v1_orig", 1, activation="relu6"),
    _mobilenet("mobilenet_v1_relu", 1, activation="relu"),
    _mobilenet("mobilenet_v2_d1", 2, width=1.0),
    _mobilenet("mobilenet_v2_d14", 2, width=1.4),
    # tf-imagenet had it with ReLU alone; slim's published weights are for the paper's ReLU6.
    _mobilenet("mobilenet_v2_orig", 2, activation="relu6"),
)
