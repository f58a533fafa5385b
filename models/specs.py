"""The networks for CIFAR-10 as entries of the registry: names, batches and rates of the ancestors.

Flag parsing reads this module, so it imports no TensorFlow. tf_cnn_benchmarks lowered the rates of
the ResNets at epochs 82, 123 and 300, to 0.01, 0.001 and 0.0002, and those of the DenseNets at 150,
225 and 300, to 0.01, 0.001 and 0.0001: --piecewise_learning_rate_schedule does so.

The networks of keras.applications as entries of the registry, with `keras_` before their names.

Flag parsing reads this module, so it imports no Keras. Pixels become what the weights that Keras
publishes were trained with, whether Keras does that inside the network or leaves it to the user.

The TF-Slim networks as entries of the registry.

Flag parsing reads this module, so it imports no TensorFlow. Image sizes and, but for ResNet, the
learning rate are the ancestors'. A background class is there where slim's published checkpoints
have one: Inception, MobileNet and ResNet v2, but neither VGG nor ResNet v1, nor the networks that
were never published. VGG and ResNet v1 were published for pixels less their mean.
"""

from __future__ import annotations

from models.model_spec import ModelSpec

IMAGE_SIZE = 32
_CIFAR_LEARNING_RATE = 0.1


def _cifar_resnet(depth: int, version: int) -> ModelSpec:
    return ModelSpec(
        name=f"resnet{depth}" + ("_v2" if version == 2 else ""),
        image_size=IMAGE_SIZE,
        batch_size=128,
        learning_rate=_CIFAR_LEARNING_RATE,
        builder="models.networks.cifar:build_resnet",
        options={"blocks": (depth - 2) // 6, "version": version},
    )


def _densenet(depth: int, growth_rate: int) -> ModelSpec:
    return ModelSpec(
        name=f"densenet{depth}_k{growth_rate}",
        image_size=IMAGE_SIZE,
        batch_size=64,
        learning_rate=_CIFAR_LEARNING_RATE,
        builder="models.networks.cifar:build_densenet",
        options={"layers": (depth - 4) // 3, "growth_rate": growth_rate},
    )


CIFAR_SPECS = (
    *(_cifar_resnet(depth, version) for version in (1, 2) for depth in (20, 32, 44, 56, 110)),
    *(_densenet(depth, growth_rate) for depth, growth_rate in ((40, 12), (100, 12), (100, 24))),
)


_KERAS_LEARNING_RATE = 0.005
BATCH_SIZE = 32
# ResNet: 0.128 for every 256 images, as tf_cnn_benchmarks.
RESNET_LEARNING_RATE = 0.128 * BATCH_SIZE / 256

# How pixels in 0..255 are normalized: the modes of keras.applications' preprocess_input, and
# EfficientNetV2's own.
CAFFE = "caffe"
TORCH = "torch"
PLUS_MINUS_ONE = "tf"
HALF_RANGE = "half_range"


def _family(
    pixels: str, minimum_image_size: int, image_sizes: dict[str, int]
) -> tuple[ModelSpec, ...]:
    return tuple(
        ModelSpec(
            name=f"keras_{application.lower()}",
            image_size=image_size,
            batch_size=BATCH_SIZE,
            learning_rate=RESNET_LEARNING_RATE if "ResNet" in application else _KERAS_LEARNING_RATE,
            builder="models.networks.keras_applications:build",
            options={
                "application": application,
                "pixels": pixels,
                "minimum_image_size": minimum_image_size,
            },
        )
        for application, image_size in image_sizes.items()
    )


def _equal(image_size: int, *applications: str) -> dict[str, int]:
    return dict.fromkeys(applications, image_size)


_CONVNEXT = tuple(f"ConvNeXt{size}" for size in ("Tiny", "Small", "Base", "Large", "XLarge"))
_EFFICIENTNET_SIZES = (224, 240, 260, 300, 380, 456, 528, 600)
_EFFICIENTNET = {f"EfficientNetB{n}": size for n, size in enumerate(_EFFICIENTNET_SIZES)}
_EFFICIENTNET_V2_B = {f"EfficientNetV2B{n}": size for n, size in enumerate((224, 240, 260, 300))}

KERAS_SPECS = (
    *_family(TORCH, 32, _equal(224, *_CONVNEXT)),
    *_family(TORCH, 32, _equal(224, "DenseNet121", "DenseNet169", "DenseNet201")),
    *_family(TORCH, 32, _EFFICIENTNET),
    *_family(TORCH, 32, _EFFICIENTNET_V2_B),
    *_family(
        HALF_RANGE, 32, {"EfficientNetV2S": 384, "EfficientNetV2M": 480, "EfficientNetV2L": 480}
    ),
    *_family(PLUS_MINUS_ONE, 75, _equal(299, "InceptionResNetV2", "InceptionV3")),
    *_family(PLUS_MINUS_ONE, 71, _equal(299, "Xception")),
    *_family(PLUS_MINUS_ONE, 32, _equal(224, "MobileNet", "MobileNetV2")),
    *_family(PLUS_MINUS_ONE, 32, _equal(224, "MobileNetV3Small", "MobileNetV3Large")),
    *_family(PLUS_MINUS_ONE, 32, {"NASNetMobile": 224, "NASNetLarge": 331}),
    *_family(CAFFE, 32, _equal(224, "ResNet50", "ResNet101", "ResNet152")),
    *_family(PLUS_MINUS_ONE, 32, _equal(224, "ResNet50V2", "ResNet101V2", "ResNet152V2")),
    *_family(CAFFE, 32, _equal(224, "VGG16", "VGG19")),
)


_SLIM_LEARNING_RATE = 0.005
# ResNet: 0.128 for every 256 images, as tf_cnn_benchmarks.
RESNET_LEARNING_RATE_PER_IMAGE = 0.128 / 256
BUILDERS = "models.slim.networks"


def _plain(name: str, image_size: int, batch_size: int, minimum: int) -> ModelSpec:
    return ModelSpec(
        name=name,
        image_size=image_size,
        batch_size=batch_size,
        learning_rate=_SLIM_LEARNING_RATE,
        builder=f"{BUILDERS}:build_plain",
        options={"minimum_image_size": minimum, "centered": name.startswith("vgg")},
    )


def _inception(name: str, version: int, image_size: int, batch_norm: bool = True) -> ModelSpec:
    return ModelSpec(
        name=name,
        image_size=image_size,
        batch_size=32,
        learning_rate=_SLIM_LEARNING_RATE,
        builder=f"{BUILDERS}:build_inception",
        options={"version": version, "batch_norm": batch_norm},
        background_class=True,
    )


def _slim_resnet(version: int, depth: int, image_size: int = 224) -> ModelSpec:
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
        learning_rate=_SLIM_LEARNING_RATE,
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
    *(_slim_resnet(version, depth) for version in (1, 2) for depth in (50, 101, 152)),
    # The same networks, and names of variables, at the size that v2 was published for.
    *(_slim_resnet(2, depth, image_size=299) for depth in (50, 101, 152)),
    _mobilenet("mobilenet_v1_orig", 1, activation="relu6"),
    _mobilenet("mobilenet_v1_relu", 1, activation="relu"),
    _mobilenet("mobilenet_v2_d1", 2, width=1.0),
    _mobilenet("mobilenet_v2_d14", 2, width=1.4),
    # tf-imagenet had it with ReLU alone; slim's published weights are for the paper's ReLU6.
    _mobilenet("mobilenet_v2_orig", 2, activation="relu6"),
)
