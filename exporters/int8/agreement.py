"""Compares the answers of an INT8 file with those of the network."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from exporters.int8.calibration import ImageSet

_BATCH_SIZE = 32
# A loss of top-1 above this, in points, is worth a warning.
_POINTS = 1.0


@dataclass(frozen=True)
class Agreement:
    """How the answers of an INT8 file compare with those of the network.

    Attributes:
        num_same: Images with the same first class.
        num_labeled: Images whose class is known.
        num_correct: Of these, (of the network, of the file).
        difference: The largest of two outputs.
        unseen: What is said of the images.
    """

    images: ImageSet
    num_same: int
    num_labeled: int
    num_correct: tuple[int, int]
    difference: float
    unseen: str = "that calibration did not see "

    @property
    def lost_points(self) -> float | None:
        """Points of top-1 that the file loses; None without labels."""
        if not self.num_labeled:
            return None
        network, file = self.num_correct
        return 100 * (network - file) / self.num_labeled

    @property
    def is_bad(self) -> bool:
        """Whether the file loses more than a point of top-1."""
        return self.lost_points is not None and self.lost_points > _POINTS

    def __str__(self) -> str:
        """Returns a sentence."""
        if not len(self.images):
            return "int8 was not compared with the network: calibration left no image to do it on"
        text = (
            f"int8 gives the network's first class on {self.num_same:,} of {self.images} "
            f"{self.unseen}({100 * self.num_same / len(self.images):.1f}%)"
        )
        if self.num_labeled:
            network, file = (100 * correct / self.num_labeled for correct in self.num_correct)
            text += f"; top-1 {network:.2f}% -> {file:.2f}%"
        return f"{text}; outputs differ by at most {self.difference:.1e}"


Outputs = Callable[[np.ndarray], np.ndarray]
"""From pixels, float32 [B, S, S, 3] in 0..255, to outputs, float32 [B, K]."""


def compare(network: Outputs, file: Outputs, images: ImageSet) -> Agreement:
    """Runs the network and its INT8 file on images that calibration did not see."""
    answers, difference, pixels = [], 0.0, images.pixels()
    while batch := list(itertools.islice(pixels, _BATCH_SIZE)):
        expected, found = network(np.stack(batch)), file(np.stack(batch))
        answers.append(np.stack([expected.argmax(axis=1), found.argmax(axis=1)]))
        difference = max(difference, float(np.abs(expected - found).max()))
    both = np.concatenate(answers or [np.zeros([2, 0])], axis=1)
    is_correct = (both == images.labels) & (images.labels >= 0)
    network_correct, file_correct = is_correct.sum(axis=1).tolist()
    return Agreement(
        images,
        num_same=int((both[0] == both[1]).sum()),
        num_labeled=int((images.labels >= 0).sum()),
        num_correct=(network_correct, file_correct),
        difference=difference,
    )
