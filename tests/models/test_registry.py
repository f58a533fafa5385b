from __future__ import annotations

import subprocess
import sys

import pytest

from models import registry


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


def test_a_name_near_nothing_lists_all_models():
    with pytest.raises(registry.UnknownModelError) as error:
        registry.get("zzz")
    assert "did you mean" not in str(error.value)
    assert all(name in str(error.value) for name in registry.names())
    assert error.value.exit_code == 2


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
    spec = registry.ModelSpec("small", 8, 1, 0.1, "models.lenet:build", background_class=True)
    network = spec.build(num_classes=10, image_size=8)
    assert network.background_class
    assert network.variables["small/head/dense/bias"].shape == (11,)
