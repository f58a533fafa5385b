"""EfficientNet-Lite as Keras models: `from tensorflow_imagenet import EfficientNetLite0`.

In an installed package this folder also holds the rooms and the programs (setup.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.efficientnet_lite import (
        EfficientNetLite0,
        EfficientNetLite1,
        EfficientNetLite2,
        EfficientNetLite3,
        EfficientNetLite4,
        decode_predictions,
        get_preprocessing_layer,
        preprocess_input,
    )

__all__ = [
    "EfficientNetLite0",
    "EfficientNetLite1",
    "EfficientNetLite2",
    "EfficientNetLite3",
    "EfficientNetLite4",
    "decode_predictions",
    "get_preprocessing_layer",
    "preprocess_input",
]


def __getattr__(name: str) -> Any:
    """Imports the models, and with them TensorFlow, at their first use: commands come by here."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from models import efficientnet_lite

    return getattr(efficientnet_lite, name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
