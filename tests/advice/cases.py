"""A small data set and a run to spoil, the commands that complain, and how a case is followed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import eval as evaluation
import prediction
import train
from download_and_convert_imagenet.__main__ import main as convert
from preprocessing import verify

LENET = ["--device=cpu", "--model=lenet", "--image_size=28", "--batch_size=2", "--num_batches=1"]
SHARD = "train-00000-of-00002"


@dataclass
class Place:
    """Raw photos, the data set converted from them, and what the command of a case is given."""

    raw: Path
    data: Path
    whole: Path  # a copy of the data set that stays as it is
    run: Path  # lenet, trained for a step on it
    flags: list[str] = field(default_factory=list)

    @property
    def shard(self) -> Path:
        return self.data / SHARD

    def copy_again(self) -> None:
        shutil.copy(self.whole / SHARD, self.shard)

    def convert_again(self, *flags: str) -> None:
        assert convert(conversion(self.raw, self.data, *flags)) == 0

    def convert_elsewhere(self) -> None:
        self.data = self.data.with_name("elsewhere")
        self.convert_again()


def conversion(raw: Path, data: Path, *flags: str) -> list[str]:
    """The command line that makes two training shards and one of validation."""
    shards = ["--train_shards=2", "--validation_shards=1", "--num_processes=1"]
    return [str(data), "--source=folder", f"--raw_dir={raw}", *shards, *flags]


def checking(place: Place) -> int:
    return verify.main([str(place.data), *place.flags])


def training(place: Place) -> int:
    return train.main([*LENET, f"--data_dir={place.data}", *place.flags])


def evaluating(place: Place) -> int:
    argv = ["--device=cpu", f"--train_dir={place.run}", f"--data_dir={place.data}"]
    return evaluation.main([*argv, "--batch_size=2", *place.flags])


def resuming(place: Place) -> int:
    argv = [*LENET, f"--data_dir={place.data}", f"--train_dir={place.run}"]
    return train.main([*argv, "--num_batches=2", *place.flags])


def predicting(place: Place) -> int:
    photo = str(place.raw / "val" / "ant" / "0.jpg")
    return prediction.main([photo, f"--train_dir={place.run}", *place.flags])


@dataclass
class Case:
    """A fault, the words that say what to do about it, and doing it.

    `cure` is given the place and the whole message.
    """

    command: Callable[[Place], int]
    spoil: Callable[[Place], object]
    advice: str
    cure: Callable[[Place, str], object]
    exit_code: int = 3


def flagged(*flags: str) -> Callable[..., None]:
    def give(place: Place, _: str = "") -> None:
        place.flags = list(flags)

    return give


def follow(case: Case, place: Place, capsys) -> None:
    """Runs the command of a case before and after its advice is followed."""
    case.spoil(place)
    capsys.readouterr()
    assert case.command(place) == case.exit_code
    written = capsys.readouterr()
    message = written.out + written.err
    assert case.advice in message, message
    case.cure(place, message)
    assert case.command(place) == 0, capsys.readouterr().err
