"""The recipes: flag files whose heads say where a training comes from and what it reached.

A head is the comment at the top of a file: a title, then fields, whose names begin in column 5 and
whose text begins in column 16.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import models.registry
import preprocessing.registry
from benchmark_cnn.flags import command_line
from benchmark_cnn.params import validation
from benchmark_cnn.params.params import ExplicitFlags, Params
from benchmark_cnn.params.values import parse_image_sizes
from common import commands
from common.errors import UsageError

FOLDER = Path(__file__).resolve().parent
COMMAND, DATA, SOURCE = "command", "data", "source"
PUBLISHED, MEASURED, VARIANT = "published", "run here", "variant"
FIELDS = (COMMAND, DATA, SOURCE, PUBLISHED, "hardware", MEASURED)
NOT_PUBLISHED, NOT_RUN = "not published", "not run here"

_FIELD = re.compile(r"#   (?P<name>[a-z][a-z ]*?[a-z]) {2,}(?P<text>\S.*)")
_CONTINUED = re.compile(r"# {14}(?P<text>\S.*)")
_ACCURACY = re.compile(r"\d\d\.\d+% top-1")
_COUNT = re.compile(r"(\d[\d,]*) (?:training )?images")
# A recipe that leaves one of these to a default would change with it.
_STATED = ("model", "batch_size", "optimizer")


@dataclass(frozen=True)
class Recipe:
    """A flag file that the training program accepts.

    Attributes:
        name: its path in the folder of recipes, without the suffix.
        head: field -> text.
    """

    name: str
    path: Path
    title: str
    head: Mapping[str, str]
    flags: ExplicitFlags

    @property
    def params(self) -> Params:
        """What the flags say."""
        return self.flags.params

    @property
    def images_per_epoch(self) -> int:
        """The number of training images that the head names first."""
        found = _COUNT.search(self.head[DATA])
        assert found is not None  # `read` has checked it
        return int(found[1].replace(",", ""))

    @property
    def micro_batches(self) -> int:
        """How many batches of a tower make an update."""
        return self.params.run.gradient_accumulation_steps

    @property
    def global_batch(self) -> int:
        """Images of an update, on all GPUs."""
        batch = self.params.data.batch_size or 0
        return batch * self.params.hardware.num_gpus * self.micro_batches

    @property
    def image_size(self) -> int:
        """Pixels of an evaluation, and of training images unless a schedule says otherwise."""
        network = self.params.network
        return network.image_size or models.registry.get(network.model).image_size

    @property
    def image_sizes(self) -> list[int]:
        """Pixels of the training images, in the order of their use."""
        schedule = self.params.network.image_size_schedule
        return [size for size, _ in parse_image_sizes(schedule)] if schedule else [self.image_size]

    @property
    def variant(self) -> list[str]:
        """The flags of the head's field "variant", which follow those of the file; [] without."""
        return variant_flags(self.head)

    @property
    def published_accuracy(self) -> str:
        """The published top-1 accuracy, such as "75.1%"; "" if none is published."""
        found = _ACCURACY.match(self.head[PUBLISHED])
        return found[0].split()[0] if found else ""


def names() -> list[str]:
    """Returns the names of all recipes, those of this project first, then by folder."""
    found = [path.relative_to(FOLDER).with_suffix("") for path in FOLDER.rglob("*.flags")]
    return sorted((path.as_posix() for path in found), key=_order)


def _order(name: str) -> tuple:
    """Sorts "resnet20" before "resnet110"."""
    words = re.split(r"(\d+)", name)
    return name.count("/"), [int(word) if word.isdigit() else word for word in words]


def path_of(name: str) -> Path:
    """Returns the file of a recipe, which may be named by its path, too.

    Raises:
        UsageError: there is none.
    """
    plain = name.removeprefix("recipes/").removesuffix(".flags")
    path = FOLDER / f"{plain}.flags"
    if not path.is_file():
        hint = commands.did_you_mean(plain, names())
        raise UsageError(f"there is no recipe {name}{hint}")
    return path


def read(path: Path) -> Recipe:
    """Reads a recipe: its head, and its flags by the rules of the training program.

    Raises:
        UsageError: a line for each mistake, which begins with the name of the file.
    """
    title, head = read_head(path.read_text(encoding="utf-8"))
    lines = head_errors(path, title, head)
    flags = ExplicitFlags(Params())
    try:
        flags = parse([f"--flagfile={path}"])
    except UsageError as error:
        lines += str(error).split("\n")
    else:
        lines += _unstated(flags) + _errors_of_variant(path, head)
        if flags.params.hardware.device != "cpu":
            lines += _errors_on_gpus(flags)
    if lines:
        raise UsageError("\n".join(f"{shown(path)}: {line}" for line in lines))
    name = path.relative_to(FOLDER).with_suffix("").as_posix() if _is_here(path) else path.stem
    return Recipe(name, path, title, head, flags)


def variant_flags(head: Mapping[str, str]) -> list[str]:
    """Returns the flags before the colon of a head's field "variant": "--augment=none: why"."""
    return head[VARIANT].partition(": ")[0].split() if VARIANT in head else []


def _errors_of_variant(path: Path, head: Mapping[str, str]) -> list[str]:
    flags = variant_flags(head)
    try:
        parse([f"--flagfile={path}", *flags])
    except UsageError as error:
        return [f"its variant {' '.join(flags)}: {line}" for line in str(error).split("\n")]
    return []


def table(rows: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table with aligned columns, which also reads well in a terminal."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * width for width in widths]
    lines = []
    for row in (rows[0], rule, *rows[1:]):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append(f"| {' | '.join(cells)} |\n")
    return "".join(lines)


def parse(argv: Sequence[str]) -> ExplicitFlags:
    """Reads a command line of train.py, by its own rules.

    Raises:
        UsageError: a line for each mistake.
    """
    return command_line.parse(
        "train.py",
        argv,
        choices={"model": models.registry.names(), "data_name": preprocessing.registry.names()},
        answers={"model": models.registry.answers()},
    )


def read_head(text: str) -> tuple[str, dict[str, str]]:
    """Returns the title of a flag file and the fields of its head."""
    title: list[str] = []
    fields: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if field := _FIELD.fullmatch(line):
            name = field["name"]
            fields[name] = field["text"]
        elif name and (more := _CONTINUED.fullmatch(line)):
            fields[name] += f" {more['text']}"
        elif not fields:
            title.append(line.removeprefix("#").strip())
    return " ".join(title).strip(), fields


def head_errors(path: Path, title: str, head: Mapping[str, str]) -> list[str]:
    """Returns a line for everything that the head of a recipe lacks."""
    lines = [f"its head lacks the field {name}" for name in FIELDS if name not in head]
    if not title:
        lines.append("its head lacks a title")
    if lines:
        return lines
    command = head[COMMAND]
    if not command.startswith("make ") and f"--flagfile={shown(path)}" not in command:
        lines.append(f"the command in its head does not name it: --flagfile={shown(path)}")
    if not _COUNT.search(head[DATA]):
        lines.append('its data field names no number of training images, as in "50,000 images"')
    if not head[PUBLISHED].startswith(NOT_PUBLISHED) and not _ACCURACY.match(head[PUBLISHED]):
        lines.append(f'its published field begins neither with "75.1% top-1" nor {NOT_PUBLISHED}')
    return lines


def shown(path: Path) -> str:
    """Returns the path as users type it in the project's directory."""
    return path.relative_to(FOLDER.parent).as_posix() if _is_here(path) else str(path)


def _is_here(path: Path) -> bool:
    return path.is_relative_to(FOLDER)


def _unstated(flags: ExplicitFlags) -> list[str]:
    groups: Iterable[tuple[str, ...]] = (
        *((name,) for name in _STATED),
        ("num_epochs", "num_batches"),
        ("learning_rate", "piecewise_learning_rate_schedule"),
    )
    return [
        f"it leaves --{' and --'.join(group)} to a default"
        for group in groups
        if flags.explicit.isdisjoint(group)
    ]


def _errors_on_gpus(flags: ExplicitFlags) -> list[str]:
    try:
        validation.check_device(flags, "gpu")
    except UsageError as error:
        return str(error).split("\n")
    return []
