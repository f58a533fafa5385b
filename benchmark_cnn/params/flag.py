"""A flag, declared once: a dataclass field with its default, help, bounds and choices.

`flag(...)` makes the field; `flags_of(...)` returns the fields of a concern as `Flag`s, from which
the command line, the help, the checks and parameters.json are made.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Callable, Mapping
from typing import Any

from benchmark_cnn.params.values import LARGEST_COUNT
from common import paths
from common.commands import did_you_mean

TRAIN, EVAL = "train.py", "eval.py"

Value = bool | int | float | str | None

_TRUE = frozenset({"true", "t", "1", "on"})
_FALSE = frozenset({"false", "f", "0", "off"})
_METADATA_KEY = "flag"
_LARGEST_FLOAT32 = 3.4e38
_MOST_LISTED = 12  # longer lists hide what is wrong


@dataclasses.dataclass(frozen=True)
class Flag:
    """A flag as its field declares it.

    `lower` and `upper` are inclusive bounds, `above` and `below` exclusive ones. `when_none`
    describes a default of None. `answers` holds a sentence for each refused value that users know
    from other programs. `syntax` parses a value; its ValueError completes the error message.
    On the command line, a value that `is_path` has its `~` expanded, and may be no URL unless it
    `may_be_remote`; `words` are values of a path's flag that are no path. `named`
    holds the numbers that have a word on the command line; bounds do not hold for them. An
    evaluation takes `inherited` flags from the run that it evaluates. `eval` flags belong to
    eval.py, too; inherited flags need not declare it.
    """

    name: str
    concern: str
    kind: type
    optional: bool
    default: Value
    help: str
    when_none: str = ""
    choices: tuple[str, ...] = ()
    answers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    lower: float | None = None
    upper: float | None = None
    above: float | None = None
    below: float | None = None
    syntax: Callable[[str], object] | None = None
    is_path: bool = False
    may_be_remote: bool = False
    words: tuple[str, ...] = ()
    named: Mapping[str, int] = dataclasses.field(default_factory=dict)
    inherited: bool = False
    eval: bool = False

    @property
    def programs(self) -> tuple[str, ...]:
        """The programs that have the flag."""
        if self.concern == "evaluation":
            return (EVAL,)
        return (TRAIN, EVAL) if self.eval or self.inherited else (TRAIN,)

    def from_text(self, text: str) -> Value:
        """Parses the `text` of a command line; a ValueError explains what is wrong with it."""
        if text == "None" and self.optional:
            return None
        if self.kind is bool:
            return boolean(text)
        if self.kind is str:
            value = self.checked(self._chosen(text))
            if self.may_be_remote:
                return paths.local_or_remote(text)
            return paths.local(text) if self.names_a_path(text) else value
        if text in self.named:
            return self.named[text]
        noun = "an integer" if self.kind is int else "a number"
        try:
            number = self.kind(text)
        except ValueError:
            raise ValueError(f"is not {noun}") from None
        if number in self.named.values():
            self._check_number(number)  # it has a word, and is no value by itself
        return self.checked(number)

    def checked(self, value: Any) -> Value:
        """Returns a valid `value`, an int as a float where needed; raises ValueError for others."""
        if value is None and self.optional:
            return None
        if self.kind is float and type(value) is int:
            value = float(value)
        if type(value) is not self.kind:
            raise ValueError(f"is not {_noun(self.kind)}")
        if isinstance(value, str):
            self._check_string(value)
        elif (
            isinstance(value, int | float)
            and value not in self.named.values()
            and self.kind is not bool
        ):
            self._check_number(value)
        return value

    def names_a_path(self, value: Value) -> bool:
        """Returns whether a value of this flag is the path of a file or a directory."""
        return self.is_path and isinstance(value, str) and value not in self.words

    def _chosen(self, text: str) -> str:
        """Returns the choice that `text` names in any case, such as tf_cnn_benchmarks' `GPU`."""
        same = [choice for choice in self.choices if choice.lower() == text.lower()]
        return same[0] if same else text

    def _check_string(self, value: str) -> None:
        if value in self.answers:
            raise ValueError(self.answers[value])
        if not value and self.default != "":
            raise ValueError("is empty; give a value or leave the flag out")
        if self.choices and value not in self.choices:
            known = ", ".join(self.choices)
            if len(self.choices) > _MOST_LISTED:
                known = f"the {len(self.choices)} that --help lists"
            raise ValueError(f"is not one of {known}{did_you_mean(value.lower(), self.choices)}")
        if self.syntax is not None:
            self.syntax(value)

    def _check_number(self, value: float) -> None:
        outside = (
            not math.isfinite(value)
            or (self.lower is not None and value < self.lower)
            or (self.upper is not None and value > self.upper)
            or (self.above is not None and value <= self.above)
            or (self.below is not None and value >= self.below)
        )
        counts = self.kind is int or "epoch" in self.name
        largest = LARGEST_COUNT if counts else _LARGEST_FLOAT32
        if not outside and abs(value) > largest:
            raise ValueError(f"is too large: at most {largest:g} is possible")
        if outside:
            hint = f"; leave the flag out for {self.when_none}" if self.when_none else ""
            raise ValueError(f"must be {self.range_in_words() or 'a finite number'}{hint}")

    def range_in_words(self) -> str:
        """Returns the bounds as text, for example "at least 0 and below 1"; "" for none."""
        bounds = (
            ("at least", self.lower),
            ("above", self.above),
            ("at most", self.upper),
            ("below", self.below),
        )
        return " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)


def flag(default: Value, help: str, **declared: Any) -> Any:
    """Makes a dataclass field that is a flag. `declared` are further attributes of `Flag`."""
    metadata = {_METADATA_KEY: {"help": help, **declared}}
    return dataclasses.field(default=default, metadata=metadata)


def flags_of(concern: str, group: type) -> tuple[Flag, ...]:
    """Returns the flags that the fields of the dataclass `group` declare, in order."""
    hints = typing.get_type_hints(group)
    return tuple(_flag_of(concern, field, hints[field.name]) for field in dataclasses.fields(group))


def _flag_of(concern: str, field: dataclasses.Field[Any], hint: Any) -> Flag:
    kinds = typing.get_args(hint) or (hint,)
    kind = next(kind for kind in kinds if kind is not type(None))
    return Flag(
        name=field.name,
        concern=concern,
        kind=kind,
        optional=type(None) in kinds,
        default=typing.cast(Value, field.default),
        **field.metadata[_METADATA_KEY],
    )


def boolean(text: str) -> bool:
    """Returns the value of a switch: absl's words, and on and off; ValueError for others."""
    if text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    raise ValueError("is not true, false, on or off")


def _noun(kind: type) -> str:
    return {bool: "true or false", int: "an integer", float: "a number", str: "a string"}[kind]
