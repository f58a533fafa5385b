"""Which of its weights a TF1 checkpoint is read for: the raw ones or their moving averages."""

from __future__ import annotations

from collections.abc import Collection

from benchmark_cnn.tensor_roles import AVERAGE, MOVING_AVERAGE, STATISTICS, WEIGHT, role
from checkpoints.errors import WeightsError

_NUM_LISTED = 5


def choose(names: Collection[str], weights: str | None) -> dict[str, str]:
    """Variable name -> name in the checkpoint, of the raw weights or of their moving averages.

    Args:
      names: all names of the checkpoint.
      weights: "raw"; "ema", for which batch-norm statistics without an average are read as they
        are; None for the averages where there are any.

    Raises:
      WeightsError: the checkpoint does not hold what is asked for.
    """
    names = set(names)
    raw = {name: name for name in sorted(names) if role(name, names) == WEIGHT}
    averages = {
        name.removesuffix(f"/{MOVING_AVERAGE}"): name
        for name in sorted(names)
        if role(name, names) == AVERAGE
    }
    if weights == "raw" or (weights is None and not averages):
        if not raw and averages:
            raise WeightsError("it holds moving averages only: read them with --weights=ema")
        return raw
    if not averages:
        raise WeightsError(
            f"it has no moving averages (no name ends in /{MOVING_AVERAGE}): "
            "read its weights with --weights=raw"
        )
    lacking = [name for name in raw if name not in averages and not name.endswith(STATISTICS)]
    if lacking:
        raise WeightsError(
            f"{len(lacking)} of its weights have no moving average, e.g. "
            f"{', '.join(lacking[:_NUM_LISTED])}: read the plain ones with --weights=raw"
        )
    return raw | averages
