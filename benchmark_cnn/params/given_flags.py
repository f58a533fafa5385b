"""What a user gave, as the rules of validation ask for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmark_cnn.params.params import Params

_OFF_WORD = "none"


@dataclass(frozen=True)
class GivenFlags:
    """The parameters, and which of them were given rather than left at their defaults.

    `typed` names all that were given, `from_files` those of them that came from a flag file. A flag
    file describes a whole run, and the command line may take a part of it back: what the file says
    about that part is then left unused without complaint.
    """

    params: Params
    typed: frozenset[str]
    from_files: frozenset[str] = frozenset()

    def asks_for(self, name: str) -> bool:
        """Whether flag `name` was given a value other than "off" (0, false, None, "none", empty).

        With an "off" value, a flag without effect does just what was wanted.
        """
        value = self.params.to_dict()[name]
        return name in self.typed and bool(value) and value != _OFF_WORD

    def without_effect(
        self, names: Iterable[str], why: str, *, because_of: Iterable[str]
    ) -> list[str]:
        """A line for each of `names` that was asked for and has no effect; `why` ends it.

        `because_of` names the flags whose values are the reason. Where one of them was typed on the
        command line, flags from files are passed over.
        """
        taken_back = any(n in self.typed and n not in self.from_files for n in because_of)
        return [
            f"--{name} has no effect {why}"
            for name in names
            if self.asks_for(name) and not (taken_back and name in self.from_files)
        ]

    def without_effect_unless_from_file(self, names: Iterable[str], why: str) -> list[str]:
        """As `without_effect`, where the reason is something absent: data, run directory, GPU.

        A flag file for the full run may be tried without them.
        """
        asked = [name for name in names if name not in self.from_files]
        return self.without_effect(asked, why, because_of=())


def syntax_problems(name: str, value: str | None, parse: Callable[[str], object]) -> list[str]:
    """The line of the ValueError that `parse(value)` raises; none for a value of None."""
    if value is None:
        return []
    try:
        parse(value)
    except ValueError as error:
        return [f"--{name}={value} {error}"]
    return []
