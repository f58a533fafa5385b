"""The story of an INT8 file: choose images, calibrate, quantize; then measure what it cost."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmark_cnn.params.data_params import DataParams
from common import files
from exporters.int8 import calibration, layer_errors, quantizer
from exporters.int8.agreement import Agreement, Outputs, compare
from exporters.int8.calibration import Choice
from exporters.int8.layer_errors import LayerError
from exporters.plan import Plan
from exporters.servable import Servable

_NUM_NAMED = 3
# With 20 digits of the demo, one draw of five lost 6 points of accuracy (docs/export.md).
_FEW_IMAGES = 100


@dataclass(frozen=True)
class Quantized:
    """A network in 8 bits.

    Attributes:
        content: Of the TFLite file, without metadata.
        calibrated: What it was made from.
        choice: The images that calibrated it, and those that measure it.
        float_layers: Names of the layers that compute in float, because the user wants them to.
        batch_size: Of the file.
    """

    content: bytes
    calibrated: bytes
    choice: Choice
    float_layers: tuple[str, ...]
    batch_size: int

    def measured(self, network: Outputs, file: Outputs, report: Path | None) -> list[str]:
        """Returns lines on the accuracy of the file, and writes the report if there is a path.

        Args:
            network: Computes the outputs of the network.
            file: Computes the outputs of the file.

        Raises:
            DataError: The report cannot be written.
        """
        agreement = compare(network, file, self.choice.measured)
        lines = [f"calibrated on {self.choice.calibration}", str(agreement), *self._in_float()]
        if report is not None:
            with files.write_errors(report):
                files.write_text(report, layer_errors.table(self._errors))
            lines.append(f"the error of each layer is in {report}")
        lines += self._too_few()
        if agreement.is_bad:
            lines += self._advice(agreement)
        return lines

    @functools.cached_property
    def _errors(self) -> list[LayerError]:
        images = self.choice.measured if len(self.choice.measured) else self.choice.calibration
        return layer_errors.layer_errors(
            self.calibrated, images, self.float_layers, self.batch_size
        )

    def _too_few(self) -> Iterator[str]:
        if len(self.choice.calibration) < _FEW_IMAGES:
            yield (
                f"warning: fewer than {_FEW_IMAGES} images calibrated the file: values of later "
                "images may be cut; give more (--calibration_data, --calibration_images)"
            )

    def _in_float(self) -> Iterator[str]:
        kinds = Counter(quantizer.float_operations(self.content))
        if kinds:
            number = sum(kinds.values())
            names = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
            reason = "as wanted" if self.float_layers else "for which there is no 8-bit form"
            yield f"{number} operations compute in float, {reason}: {names}"

    def _advice(self, agreement: Agreement) -> Iterator[str]:
        yield (
            f"warning: int8 loses {agreement.lost_points:.1f} points of top-1. What can be done: "
            f"calibrate on more than {len(self.choice.calibration):,} images; keep the worst "
            "layers in float with --float_layers=REGEX; --quantize=dynamic or float16"
        )
        yield "the layers with the largest errors of their own (--report=FILE lists all):"
        yield from (f"  {error}" for error in self._errors[:_NUM_NAMED])


def quantize(servable: Servable, data: DataParams, plan: Plan) -> Quantized:
    """Returns the network in 8 bits.

    Args:
        servable: With a fixed batch.
        data: Data flags of the run.

    Raises:
        UsageError: There are no images to calibrate on, TFLite lacks an operation, or no layer has
            the name that should compute in float.
        DataError: The images cannot be read, or the report cannot be written.
    """
    if plan.report is not None:
        with files.write_errors(plan.report):
            files.make_writable(plan.report.parent)
    batch_size = servable.batch_size or 1
    choice = calibration.choose(
        servable.signature, data, plan.calibration_data, plan.calibration_images
    )
    calibrated = quantizer.calibrate(
        servable, lambda: choice.calibration.representative(batch_size)
    )
    float_layers: tuple[str, ...] = ()
    if plan.float_layers is not None:
        float_layers = quantizer.layers_matching(calibrated, plan.float_layers)
    content = quantizer.quantize(calibrated, plan.input_type, plan.output_type, float_layers)
    return Quantized(content, calibrated, choice, float_layers, batch_size)
