"""Every network, with its builder and the defaults that a run takes when a flag is left out.

Flag parsing imports this module, so it imports no TensorFlow: builders are named as
"module:function" and imported when a network is built.
"""

from __future__ import annotations

from models.model_spec import ModelSpec

# tf_cnn_benchmarks' and tf-imagenet's.
DEFAULT_LEARNING_RATE = 0.005
# 0.128 for every 256 images, as in tf_cnn_benchmarks.
RESNET_RATE_PER_IMAGE = 0.128 / 256
CIFAR10_LEARNING_RATE = 0.1
KERAS_BATCH_SIZE = 32
SLIM_BUILDERS = "models.slim.networks"


def _efficientnet_lite(variant: int, image_size: int, batch_size: int) -> ModelSpec:
    return ModelSpec(
        name=f"efficientnet_lite{variant}",
        image_size=image_size,
        batch_size=batch_size,
        learning_rate=0.016 * batch_size / 256,  # the official rule
        builder="models.networks.efficientnet_lite:build",
        options={"variant": variant},
    )


OWN_SPECS = (
    ModelSpec("trivial", 227, 32, DEFAULT_LEARNING_RATE, "models.networks.small:build_trivial"),
    ModelSpec("lenet", 28, 32, DEFAULT_LEARNING_RATE, "models.networks.small:build_lenet"),
    ModelSpec("resnet50", 224, 64, RESNET_RATE_PER_IMAGE * 64, "models.networks.resnet:build"),
    _efficientnet_lite(0, image_size=224, batch_size=128),
    _efficientnet_lite(1, image_size=240, batch_size=128),
    _efficientnet_lite(2, image_size=260, batch_size=64),
    _efficientnet_lite(3, image_size=280, batch_size=64),
    _efficientnet_lite(4, image_size=300, batch_size=32),
)


# The networks for CIFAR-10 have tf_cnn_benchmarks' names, batches and learning rates. It lowered
# the rates of the ResNets at epochs 82, 123 and 300, to 0.01, 0.001 and 0.0002, and those of the
# DenseNets at epochs 150, 225 and 300, to 0.01, 0.001 and 0.0001; here
# --piecewise_learning_rate_schedule does it.
def _cifar_resnet(depth: int, version: int) -> ModelSpec:
    return ModelSpec(
        name=f"resnet{depth}" + ("_v2" if version == 2 else ""),
        image_size=32,
        batch_size=128,
        learning_rate=CIFAR10_LEARNING_RATE,
        builder="models.networks.cifar:build_resnet",
        options={"blocks": (depth - 2) // 6, "version": version},
    )


def _densenet(depth: int, growth_rate: int) -> ModelSpec:
    return ModelSpec(
        name=f"densenet{depth}_k{growth_rate}",
        image_size=32,
        batch_size=64,
        learning_rate=CIFAR10_LEARNING_RATE,
        builder="models.networks.cifar:build_densenet",
        options={"layers": (depth - 4) // 3, "growth_rate": growth_rate},
    )


CIFAR_SPECS = (
    *(_cifar_resnet(depth, version) for version in (1, 2) for depth in (20, 32, 44, 56, 110)),
    *(_densenet(depth, growth_rate) for depth, growth_rate in ((40, 12), (100, 12), (100, 24))),
)


# The networks of keras.applications. `pixels` names the normalization that Keras' published weights
# were trained with, whether Keras does it inside the network or leaves it to the user: a mode of
# keras.applications' preprocess_input, or EfficientNetV2's "half_range".
def _family(
    pixels: str, minimum_image_size: int, image_sizes: dict[str, int]
) -> tuple[ModelSpec, ...]:
    return tuple(
        ModelSpec(
            name=f"keras_{application.lower()}",
            image_size=image_size,
            batch_size=KERAS_BATCH_SIZE,
            learning_rate=(
                RESNET_RATE_PER_IMAGE * KERAS_BATCH_SIZE
                if "ResNet" in application
                else DEFAULT_LEARNING_RATE
            ),
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
    *_family("torch", 32, _equal(224, *_CONVNEXT)),
    *_family("torch", 32, _equal(224, "DenseNet121", "DenseNet169", "DenseNet201")),
    *_family("torch", 32, _EFFICIENTNET),
    *_family("torch", 32, _EFFICIENTNET_V2_B),
    *_family(
        "half_range", 32, {"EfficientNetV2S": 384, "EfficientNetV2M": 480, "EfficientNetV2L": 480}
    ),
    *_family("tf", 75, _equal(299, "InceptionResNetV2", "InceptionV3")),
    *_family("tf", 71, _equal(299, "Xception")),
    *_family("tf", 32, _equal(224, "MobileNet", "MobileNetV2")),
    *_family("tf", 32, _equal(224, "MobileNetV3Small", "MobileNetV3Large")),
    *_family("tf", 32, {"NASNetMobile": 224, "NASNetLarge": 331}),
    *_family("caffe", 32, _equal(224, "ResNet50", "ResNet101", "ResNet152")),
    *_family("tf", 32, _equal(224, "ResNet50V2", "ResNet101V2", "ResNet152V2")),
    *_family("caffe", 32, _equal(224, "VGG16", "VGG19")),
)


# The TF-Slim networks, with tf-imagenet's image sizes and, except for ResNet, learning rates. They
# have a background class where slim's published checkpoints have one: Inception, MobileNet and
# ResNet v2. VGG and ResNet v1 were published for pixels less their mean.
def _plain(name: str, image_size: int, batch_size: int, minimum: int) -> ModelSpec:
    return ModelSpec(
        name=name,
        image_size=image_size,
        batch_size=batch_size,
        learning_rate=DEFAULT_LEARNING_RATE,
        builder=f"{SLIM_BUILDERS}:build_plain",
        options={"minimum_image_size": minimum, "centered": name.startswith("vgg")},
    )


def _inception(name: str, version: int, image_size: int, batch_norm: bool = True) -> ModelSpec:
    return ModelSpec(
        name=name,
        image_size=image_size,
        batch_size=32,
        learning_rate=DEFAULT_LEARNING_RATE,
        builder=f"{SLIM_BUILDERS}:build_inception",
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
        learning_rate=RESNET_RATE_PER_IMAGE * batch_size,
        builder=f"{SLIM_BUILDERS}:build_resnet",
        options={"version": version, "depth": depth, "centered": version == 1},
        background_class=version == 2,
    )


def _mobilenet(name: str, version: int, **options: str | float) -> ModelSpec:
    return ModelSpec(
        name=name,
        image_size=224,
        batch_size=32,
        learning_rate=DEFAULT_LEARNING_RATE,
        builder=f"{SLIM_BUILDERS}:build_mobilenet",
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

SPECS = (*OWN_SPECS, *CIFAR_SPECS, *KERAS_SPECS, *SLIM_SPECS)
