"""How old the weights of asynchronous steps are, in updates."""

from __future__ import annotations

import math


class Staleness:
    """The updates by others between the reading of the weights and a step's own update."""

    def __init__(self):
        self.total, self._sum, self._most = 0, 0, 0
        self._since: dict[str, list[int]] = {}

    def add(self, updates: int) -> None:
        """Adds a step."""
        self.total += 1
        self._sum += updates
        self._most = max(self._most, updates)
        for values in self._since.values():
            values.append(updates)

    def over_all(self) -> tuple[float, int]:
        """Returns mean and maximum over all steps."""
        return (self._sum / self.total if self.total else math.nan), self._most

    def since(self, reader: str) -> tuple[float, int]:
        """Returns mean and maximum since `reader` asked last; over all, the first time."""
        values = self._since.get(reader)
        self._since[reader] = []
        if not values:
            return self.over_all()
        return sum(values) / len(values), max(values)
