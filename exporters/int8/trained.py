"""INT8 files of networks that were trained to be in 8 bits (`--quantization_aware`).

The ranges of the activations are in the network's graph, as operations that round to them; the
converter takes them from there, so that nothing is calibrated. The weights in the graph are rounded
already: the scale that the converter gives a channel of them is theirs, and changes no weight.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from benchmark_cnn.params.data_params import DataParams
from common.errors import DataError, UsageError
from exporters.int8 import calibration, quantizer
from exporters.int8.agreement import Outputs, compare
from exporters.int8.calibration import ImageSet
from exporters.plan import DEFAULT_CALIBRATION_IMAGES, Plan
from exporters.servable import Servable


@dataclass(frozen=True)
class TrainedQuantized:
    """A network in 8 bits.

    Attributes:
        content: Of the TFLite file, without metadata.
        images: Those that measure it; None if the data of the run are not there.
    """

    content: bytes
    images: ImageSet | None

    def measured(self, network: Outputs, file: Outputs, report: Path | None) -> list[str]:
        """Returns lines on the accuracy of the file.

        Args:
            network: Computes the outputs of the network, which rounds as well.
            file: Computes the outputs of the file.
        """
        assert report is None
        lines = ["its ranges are those of the quantization-aware training; nothing was calibrated"]
        if self.images is not None:
            agreement = compare(network, file, self.images)
            lines.append(str(dataclasses.replace(agreement, unseen="")))
        kinds = Counter(quantizer.float_operations(self.content))
        if kinds:
            names = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
            lines.append(f"warning: {sum(kinds.values())} operations compute in float: {names}")
        return lines


def quantize(servable: Servable, data: DataParams, plan: Plan) -> TrainedQuantized:
    """Returns the network in 8 bits.

    Args:
        servable: With a fixed batch; its graph rounds.
        data: Data flags of the run.

    Raises:
        UsageError: TFLite lacks an operation, or a flag has no effect.
        DataError: The images of the run cannot be read.
    """
    _check(plan)
    content = quantizer.convert_rounding(servable, plan.input_type, plan.output_type)
    try:
        images = calibration.choose(servable.signature, data, None, DEFAULT_CALIBRATION_IMAGES)
    except (UsageError, DataError):
        return TrainedQuantized(content, None)
    return TrainedQuantized(content, images.measured)


def _check(plan: Plan) -> None:
    """Raises UsageError for the flags of a calibration."""
    given = {
        "calibration_data": plan.calibration_data is not None,
        "calibration_images": plan.calibration_images != DEFAULT_CALIBRATION_IMAGES,
        "report": plan.report is not None,
        "float_layers": plan.float_layers is not None,
    }
    unused = [f"--{name}" for name, is_given in given.items() if is_given]
    if unused:
        raise UsageError(
            f"{', '.join(unused)}: no effect on a run of --quantization_aware, which is not "
            "calibrated: all its tensors are in 8 bits, in the ranges of the training"
        )
