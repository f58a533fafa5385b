"""What a user gave, as the rules of validation ask for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmark_cnn.params import Params

# Values that ask for nothing: with them a flag without effect does what was wanted.
_OFF_WORDS = ("none",)


@dataclass(frozen=True)
class GivenFlags:
    """The parameters, and which of them were given rather than left at their defaults.

    `typed` names all that were given, `from_files` those of them that came from a flag file. A flag
    file describes a whole run; it may be tried without data or run directory, and its flags for
    those are then left unused without complaint.
    """

    params: Params
    typed: frozenset[str]
    from_files: frozenset[str] = frozenset()

    def asks_for(self, name: str) -> bool:
        """Whether flag `name` was given a value other than "off" (0, false, None, empty)."""
        value = self.params.to_dict()[name]
        return name in self.typed and bool(value) and value not in _OFF_WORDS

    def without_effect(self, names: Iterable[str], why: str) -> list[str]:
        """A line for each of `names` that was asked for; `why` ends it."""
        return [f"--{name} has no effect {why}" for name in names if self.asks_for(name)]

    def without_effect_on_command_line(self, names: Iterable[str], why: str) -> list[str]:
        """As `without_effect`, but for flags that came from a flag file."""
        return self.without_effect([n for n in names if n not in self.from_files], why)


def syntax_problems(name: str, value: str | None, parse) -> list[str]:
    """The line of the ValueError that `parse(value)` raises; none for a value of None."""
    if value is None:
        return []
    try:
        parse(value)
    except ValueError as error:
        return [f"--{name}={value} {error}"]
    return []
