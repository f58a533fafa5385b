"""Counts of multiply-adds and the table of networks."""

from __future__ import annotations

import pytest

from models import describe, registry
from models.cost import Cost, cost, num_parameters
from models.describe import Description, main, table
from models.network import Network

PUBLISHED_LITE_MADDS = (407, 631, 899, 1440, 2640)
LITE_MACS = (385.2, 600.2, 859.7, 1383.3, 2553.0)


def built_and_counted(name: str) -> tuple[Network, Cost]:
    spec = registry.get(name)
    network = spec.build(num_classes=1000, image_size=spec.image_size)
    return network, cost(network, spec.image_size)


@pytest.mark.parametrize("variant", range(5))
def test_efficientnet_lite_madds_are_the_published_ones(variant):
    _, counted = built_and_counted(f"efficientnet_lite{variant}")
    assert counted.published_madds / 1e6 == pytest.approx(PUBLISHED_LITE_MADDS[variant], rel=5e-3)
    assert counted.macs / 1e6 == pytest.approx(LITE_MACS[variant], abs=0.05)


def mobilenet_v1_macs(outputs: int) -> tuple[int, int]:
    """Counts MACs and convolution outputs at 224 pixels: Howard et al., 2017, table 1."""
    side, inputs = 112, 32
    macs, activations = side * side * 27 * 32, side * side * 32
    widths = (64, 128, 128, 256, 256, 512, *(512,) * 5, 1024, 1024)
    for index, filters in enumerate(widths, start=1):
        side //= 2 if index in (2, 4, 6, 12) else 1
        macs += side * side * inputs * (9 + filters)
        activations += side * side * (inputs + filters)
        inputs = filters
    # The classifier is a convolution, too.
    return macs + 1024 * outputs, activations + outputs


def test_a_slim_network():
    described = describe.describe("mobilenet_v1_relu")
    macs, activations = mobilenet_v1_macs(1001)
    assert (described.macs, described.activations) == (macs, activations)
    # Howard et al., 2017, table 8: 569 million.
    assert described.macs / 1e6 == pytest.approx(569, abs=0.5)
    assert described.parameters == 4_231_976 + 1025
    assert (described.image_size, described.outputs) == (224, 1001)


def test_a_network_of_keras():
    # Sandler et al., 2018, table 4: 300 million.
    network, counted = built_and_counted("keras_mobilenetv2")
    assert counted.macs / 1e6 == pytest.approx(300, abs=1.5)
    assert num_parameters(network) == 3_504_872


def test_grouped_convolutions_count():
    # Liu et al., 2022, table 1: 4.5 billion; 105 million of them are depthwise, in 18 blocks.
    blocks = ((3, 96, 56), (3, 192, 28), (9, 384, 14), (3, 768, 7))
    depthwise = sum(count * width * side**2 for count, width, side in blocks)
    _, counted = built_and_counted("keras_convnexttiny")
    assert counted.macs / 1e9 == pytest.approx(4.455, abs=0.005)
    # The others: the stem and three convolutions that halve the feature map.
    halving = sum(width * side**2 for _, width, side in blocks)
    assert counted.activations == depthwise + halving


def test_dense_layers_count():
    network = registry.get("lenet").build(num_classes=10, image_size=28)
    convolutions = 28 * 28 * 75 * 32 + 14 * 14 * 25 * 32 * 64
    dense = 7 * 7 * 64 * 512 + 512 * 10
    counted = cost(network, 28)
    assert counted.macs == convolutions + dense
    assert counted.activations == 28 * 28 * 32 + 14 * 14 * 64
    assert counted.published_madds == counted.macs + 3 * counted.activations
    assert num_parameters(network) == (76 * 32 + (25 * 32 + 1) * 64 + (3136 + 1) * 512 + 513 * 10)


@pytest.mark.slow
def test_the_auxiliary_head_costs_nothing_in_evaluation():
    _, counted = built_and_counted("inception_v3")
    # The paper's 5 billion, and the 5.71 G that timm and torchvision count without the head.
    assert counted.macs / 1e9 == pytest.approx(5.71, abs=0.02)


def test_the_table():
    rows = [
        Description("small", 28, 10, 1_500_000, 2_000_000, 3_000_000, 250_000, 3 << 19),
        Description("larger_network", 224, 1001, 1_234_567_890, 0, 0, 0, 0),
    ]
    header, rule, first, second = table(rows).splitlines()
    assert [cell.strip() for cell in header.strip("|").split("|")] == list(describe.COLUMNS)
    assert set(rule) == set("|-: ")
    cells = [cell.strip() for cell in first.strip("|").split("|")]
    assert cells == ["small", "28", "10", "1.50", "2.00", "3.00", "0.25", "1.5"]
    assert "1,234.57" in second
    assert len({len(line) for line in (header, rule, first, second)}) == 1


def test_the_command(capsys, tmp_path):
    assert main(["--model=lenet"]) == 0
    assert capsys.readouterr().out.splitlines()[2].startswith("| lenet")
    page = tmp_path / "models.md"
    assert main(["--model=lenet", f"--output={page}"]) == 0
    assert page.read_text(encoding="utf-8").startswith("# Networks\n")
    assert capsys.readouterr().out == ""


def test_an_unknown_network_is_one_line(capsys, tmp_path):
    page = tmp_path / "models.md"
    assert main(["--model=lenett", f"--output={page}"]) == 2
    output = capsys.readouterr()
    assert output.err.startswith("error: unknown model 'lenett'; did you mean 'lenet'?")
    assert output.out == ""
    assert not page.exists()


@pytest.mark.parametrize("before", [None, "the page before"])
def test_a_page_is_as_it_was_where_counting_fails(tmp_path, monkeypatch, before):
    monkeypatch.setitem(
        registry._SPECS, "broken", registry.ModelSpec("broken", 28, 32, 0.1, "models.absent:build")
    )
    page = tmp_path / "models.md"
    if before is not None:
        page.write_text(before)
    with pytest.raises(ImportError):
        main(["--model=broken", f"--output={page}"])
    assert (page.read_text() if page.exists() else None) == before


def test_a_page_that_cannot_be_written_is_one_line(capsys, tmp_path):
    assert main(["--model=lenet", f"--output={tmp_path / 'absent' / 'models.md'}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "absent/models.md" in error
    assert error.count("\n") == 1
