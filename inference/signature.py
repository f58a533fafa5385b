"""What an exported file says about itself: network, classes, and the view of a photo it needs.

It travels inside the file as JSON: in a TFLite file as an associated file, in an ONNX file as a
metadata property, in a SavedModel as an extra asset.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmark_cnn.params.params import FLAGS
from common.errors import DataError
from common.version import __version__, installed
from inference.view import WHOLE, View

# Of the file in a TFLite file or a SavedModel's assets.extra, and of the property in an ONNX file.
FILE_NAME, PROPERTY = "signature.json", "signature"
EXTRAS = "assets.extra"  # in a SavedModel
PROBABILITIES, LOGITS = "probabilities", "logits"
# Of a network whose images have several labels: one sigmoid a class, which need not add up to 1.
INDEPENDENT = "independent probabilities"
PUBLISHED, AVERAGES, RAW = "published", "ema", "raw"


@dataclass(frozen=True)
class Signature:
    """The interface of a trained network. Its input is RGB in 0..255, [B, size, size, 3].

    Attributes:
        model: A name in models.registry.
        image_size: Height and width of the input in pixels.
        class_names: Class 0 first, without a background class.
        view: The part of a photo that evaluations show to the network.
        output: PROBABILITIES, LOGITS or INDEPENDENT.
        weights: PUBLISHED, AVERAGES or RAW.
        wordnet_ids: Of the classes; empty unless they are ImageNet's.
        versions: Package -> version at the time of writing.
    """

    model: str
    image_size: int
    class_names: tuple[str, ...]
    view: View
    output: str = PROBABILITIES
    weights: str = RAW
    wordnet_ids: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def to_json(self) -> str:
        """Returns all fields as JSON, in one line."""
        text = json.dumps(dataclasses.asdict(self), ensure_ascii=False)
        # Half a character, of a name that is no text, becomes the escape that JSON has for it.
        return text.encode("utf-8", "backslashreplace").decode()


def from_json(text: str | bytes, where: str) -> Signature:
    """Returns the signature that `to_json` wrote. Fields of a later version are ignored.

    Args:
        where: The file, which an error names.

    Raises:
        DataError: It is not such a signature.
    """
    try:
        fields = json.loads(text)
        view = View(**_known(fields["view"], View))
        lists = {name: _strings(fields, name) for name in ("class_names", "wordnet_ids")}
        signature = Signature(**{**_known(fields, Signature), "view": view, **lists})
        _check(signature)
        return signature
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{where}: its {FILE_NAME} is not one of export.py's: {error}") from error


def _strings(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    values = fields.get(name, [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{name} is no list of names")
    return tuple(values)


def _check(signature: Signature) -> None:
    """Raises ValueError for a value that would be used otherwise than it was meant."""
    view, name = signature.view, signature.model
    fraction = view.eval_crop_fraction
    is_good = {
        "model": isinstance(name, str) and name not in ("", "..") and "/" not in name,
        "output": signature.output in (PROBABILITIES, LOGITS),
        "weights": isinstance(signature.weights, str),
        "eval_method": view.eval_method in (*FLAGS["eval_method"].choices, WHOLE),
        "resize_method": view.resize_method in FLAGS["resize_method"].choices,
        "resize_kernels": view.resize_kernels in FLAGS["resize_kernels"].choices,
        "eval_crop_fraction": fraction is None
        or (isinstance(fraction, int | float) and 0 < fraction <= 1),
    }
    wrong = [field for field, good in is_good.items() if not good]
    if wrong:
        found = getattr(view, wrong[0], None) or getattr(signature, wrong[0], None)
        raise ValueError(f"{wrong[0]} is {found!r}")


def versions() -> dict[str, str]:
    """Returns the versions of this program and of the libraries that make an exported file."""
    packages = ("tensorflow", "keras", "tf2onnx", "onnx")
    found = {name: installed(name) for name in packages}
    return {
        "tensorflow-imagenet": __version__,
        **{name: version for name, version in found.items() if version is not None},
    }


def _known(fields: Mapping[str, Any], kind: type) -> dict[str, Any]:
    names = {entry.name for entry in dataclasses.fields(kind)}
    return {name: value for name, value in fields.items() if name in names}
