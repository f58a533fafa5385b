"""What tf_cnn_benchmarks and tf-imagenet called the networks that have another name here.

Flag parsing reads this module, so it imports no TensorFlow. Without it, the names that look most
alike would be suggested: resnet110, a network for CIFAR-10, for resnet101.
"""

from __future__ import annotations

# The old name -> ours, or None where there is no such network. tf_cnn_benchmarks' resnet101 and
# resnet152 have the stride in the first 1x1 convolution, as Keras' have and TF-Slim's have not.
ANCESTOR_NAMES: dict[str, str | None] = {
    "alexnet": "alexnet_v2",
    "inception3": "inception_v3",
    "inception4": "inception_v4",
    "mobilenet": "mobilenet_v2_orig",
    "nasnet": "keras_nasnetmobile",
    "nasnetlarge": "keras_nasnetlarge",
    "nasnet_v1_small": "keras_nasnetmobile",
    "nasnet_v1_large": "keras_nasnetlarge",
    "resnet50_v1.5": "resnet50",
    "resnet50_v2": "resnet_v2_50",
    "resnet101": "keras_resnet101",
    "resnet101_v2": "resnet_v2_101",
    "resnet152": "keras_resnet152",
    "resnet152_v2": "resnet_v2_152",
    "vgg11": "vgg_a",
    "vgg16": "vgg_16",
    "vgg19": "vgg_19",
    "official_resnet18": None,
    "official_resnet18_v2": None,
    "official_resnet34": None,
    "official_resnet34_v2": None,
    "official_resnet50": "resnet50",
    "official_resnet50_v2": "resnet_v2_50",
    "official_resnet101": "keras_resnet101",
    "official_resnet101_v2": "resnet_v2_101",
    "official_resnet152": "keras_resnet152",
    "official_resnet152_v2": "resnet_v2_152",
    "official_resnet200": None,
    "official_resnet200_v2": None,
    "deepspeech2": None,
    "ncf": None,
    "ssd300": None,
}
