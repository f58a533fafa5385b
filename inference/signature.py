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

from common.errors import DataError
from common.version import __version__, installed
from inference.view import View

# Of the file in a TFLite file or a SavedModel's assets.extra, and of the property in an ONNX file.
FILE_NAME, PROPERTY = "signature.json", "signature"
EXTRAS = "assets.extra"  # in a SavedModel
PROBABILITIES, LOGITS = "probabilities", "logits"
PUBLISHED, AVERAGES, RAW = "published", "ema", "raw"


@dataclass(frozen=True)
class Signature:
    """The interface of a trained network. Its input is RGB in 0..255, [B, size, size, 3].

    Attributes:
        model: A name in models.registry.
        image_size: Height and width of the input in pixels.
        class_names: Class 0 first, without a background class.
        view: The part of a photo that evaluations show to the network.
        output: PROBABILITIES or LOGITS.
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
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)


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
        lists = {name: tuple(fields.get(name, ())) for name in ("class_names", "wordnet_ids")}
        return Signature(**{**_known(fields, Signature), "view": view, **lists})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{where}: its {FILE_NAME} is not one of export.py's: {error}") from error


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
