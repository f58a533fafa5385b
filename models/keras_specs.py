"""The networks of keras.applications as entries of the registry, with `keras_` before their names.

Flag parsing reads this module, so it imports no Keras. Pixels become what the weights that Keras
publishes were trained with, whether Keras does that inside the network or leaves it to the user.
"""

from __future__ import annotations

from models.model_spec import ModelSpec

LEARNING_RATE = 0.005
BATCH_SIZE = 32
# ResNet: 0.128 for every 256 images, as tf_cnn_benchmarks.
RESNET_LEARNING_RATE = 0.128 * BATCH_SIZE / 256

# How pixels in 0..255 are normalised: the modes of keras.applications' preprocess_input, and
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
            learning_rate=RESNET_LEARNING_RATE if "ResNet" in application else LEARNING_RATE,
            builder="models.keras_applications:build",
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
