from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from models import registry
from models.registry import ORIGINAL_NAMES

# What --model took: tf-imagenet's models/__init__.py without the networks it called tests, and the
# last models/model_config.py of tf_cnn_benchmarks.
TF_IMAGENET = """
    googlenet inception_v1 inception_v2 inception_v3 inception_v4 mobilenet_v1_orig
    mobilenet_v1_relu mobilenet_v2_d1 mobilenet_v2_d14 resnet_v1_50 resnet_v1_101 resnet_v1_152
    resnet_v2_50 resnet_v2_101 resnet_v2_152 resnet_v2_50_299 resnet_v2_101_299 resnet_v2_152_299
    nasnet_v1_small nasnet_v1_large
"""
TF_CNN_BENCHMARKS = """
    vgg11 vgg16 vgg19 lenet googlenet overfeat alexnet trivial inception3 inception4
    official_resnet18_v2 official_resnet34_v2 official_resnet50_v2 official_resnet101_v2
    official_resnet152_v2 official_resnet200_v2 official_resnet18 official_resnet34
    official_resnet50 official_resnet101 official_resnet152 official_resnet200 resnet50
    resnet50_v1.5 resnet50_v2 resnet101 resnet101_v2 resnet152 resnet152_v2 ncf mobilenet nasnet
    nasnetlarge resnet20 resnet20_v2 resnet32 resnet32_v2 resnet44 resnet44_v2 resnet56 resnet56_v2
    resnet110 resnet110_v2 densenet40_k12 densenet100_k12 densenet100_k24 ssd300 deepspeech2
"""
MIGRATING = Path(__file__).parents[2] / "docs" / "migrating.md"


def test_flag_parsing_imports_no_tensorflow():
    program = (
        "import sys, models.registry as r; r.get('resnet50'); "
        "print([m for m in ('tensorflow', 'keras', 'numpy') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_image_sizes_are_the_published_ones():
    sizes = [registry.get(f"efficientnet_lite{variant}").image_size for variant in range(5)]
    assert sizes == [224, 240, 260, 280, 300]
    others = {name: registry.get(name).image_size for name in ("resnet50", "lenet", "trivial")}
    assert others == {"resnet50": 224, "lenet": 28, "trivial": 227}


def test_learning_rates_follow_the_batch():
    for variant in range(5):
        spec = registry.get(f"efficientnet_lite{variant}")
        assert spec.learning_rate == pytest.approx(0.016 * spec.batch_size / 256)
    spec = registry.get("resnet50")
    assert spec.learning_rate == pytest.approx(0.128 * spec.batch_size / 256)


def test_an_unknown_name_is_an_error_with_the_nearest_name():
    with pytest.raises(
        registry.UnknownModelError, match="did you mean 'efficientnet_lite0'"
    ) as error:
        registry.get("efficientnet_lit0")
    assert str(error.value).startswith("unknown model 'efficientnet_lit0'")
    assert "\n" not in str(error.value)


def test_a_name_near_nothing_points_to_the_page_of_all_models():
    with pytest.raises(registry.UnknownModelError) as error:
        registry.get("zzz")
    assert "did you mean" not in str(error.value)
    assert f"docs/models.md lists all {len(registry.names())} networks" in str(error.value)
    assert error.value.exit_code == 2


def suggested(name: str) -> str | None:
    with pytest.raises(registry.UnknownModelError) as error:
        registry.get(name)
    found = re.search(r"did you mean '(.*?)'\?", str(error.value))
    return found and found[1]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("alexnet", "alexnet_v2"),
        ("nasnet", "keras_nasnetmobile"),
        ("nasnet_v1_small", "keras_nasnetmobile"),
        ("official_resnet18_v2", None),
        ("official_resnet200", None),
        ("resnet101", "keras_resnet101"),
        ("resnet152", "keras_resnet152"),
        ("resnet50_v1.5", "resnet50"),
        ("resnet50_v2", "resnet_v2_50"),
        ("vgg11", "vgg_a"),
        ("resnet18", "resnet50"),
        ("resnet-34", "resnet50"),
        ("mobilenetv3", "keras_mobilenetv3large"),
        ("mobilenet_v3_small", "keras_mobilenetv3small"),
        ("efficientnet_b0", "keras_efficientnetb0"),
        ("EfficientNet-B4", "keras_efficientnetb4"),
        ("efficientnet", "efficientnet_lite0"),
        ("tf_efficientnet_lite0", "efficientnet_lite0"),
        ("convnext_tiny", "keras_convnexttiny"),
        ("DenseNet121", "keras_densenet121"),
        ("inceptionv4", "inception_v4"),
    ],
)
def test_an_original_name_is_answered_with_that_network(theirs, ours):
    assert suggested(theirs) == ours


def test_every_original_name_is_here_or_answered():
    theirs = set(TF_IMAGENET.split()) | set(TF_CNN_BENCHMARKS.split())
    assert theirs - set(registry.names()) == set(ORIGINAL_NAMES)
    assert {ours for ours in ORIGINAL_NAMES.values() if ours} <= set(registry.names())
    assert {name: suggested(name) for name in ORIGINAL_NAMES} == ORIGINAL_NAMES


def test_flag_parsing_answers_the_same():
    answers = registry.answers()
    assert answers["resnet101"] == "is called keras_resnet101 here"
    assert answers["ncf"] == "is not among the networks that --help lists"
    assert answers["resnet18"].endswith("; did you mean resnet50?")
    assert set(answers) > set(ORIGINAL_NAMES)


def test_the_page_names_what_became_of_them():
    section = MIGRATING.read_text().partition("\n## Networks\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*) \| (.*) \|$", section, re.MULTILINE)
    written = {
        theirs: ours.strip("`") if ours != "-" else None
        for several, ours in rows
        for theirs in re.findall(r"`(\S+)`", several)
    }
    assert written == ORIGINAL_NAMES


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"dtype": "fp16"}, "dtype must be one of float32, bfloat16, float16, got 'fp16'"),
        ({"data_format": "nhwc"}, "data_format must be one of NHWC, NCHW"),
        ({"num_classes": 0}, "num_classes must be at least 1, got 0"),
        ({"image_size": 3}, "lenet needs images of at least 4 x 4 pixels, got image_size=3"),
    ],
)
def test_impossible_networks_are_errors(changed, message):
    options = {"num_classes": 10, "image_size": 28, **changed}
    with pytest.raises(registry.NetworkOptionError, match=message) as error:
        registry.get("lenet").build(**options)
    assert error.value.exit_code == 2


def test_a_background_class_is_one_output_more():
    spec = registry.ModelSpec(
        "small", 8, 1, 0.1, "models.networks.small:build_lenet", background_class=True
    )
    network = spec.build(num_classes=10, image_size=8)
    assert network.background_class
    assert network.variables["small/head/dense/bias"].shape == (11,)
