"""Recipes are read by train.py's own rules, and their heads say what a head must say."""

from __future__ import annotations

import re

import pytest

from common.errors import UsageError
from preprocessing import registry
from recipes import catalog, check
from tests.conftest import ROOT

HEAD = """\
# A title.
#
#   command    python train.py --flagfile={path} --data_dir=DIR
#   data       photos, 1,000 training images
#   source     a paper,
#              of two lines
#   published  75.1% top-1 (a table)
#   hardware   not published
#   run here   not run here
"""
FLAGS = """\
--model=lenet
--batch_size=4
--num_epochs=2
--optimizer=momentum
--learning_rate=0.1
"""
MOST_IN_A_FOLDER = 12


@pytest.fixture
def recipe(tmp_path):
    """Writes a recipe from a head and flags, and returns its path."""

    def write(head: str = HEAD, flags: str = FLAGS):
        path = tmp_path / "mine.flags"
        path.write_text(head.format(path=path) + flags)
        return path

    return write


def mistakes(path) -> list[str]:
    with pytest.raises(UsageError) as refused:
        catalog.read(path)
    lines = str(refused.value).split("\n")
    assert all(line.startswith(f"{path}: ") for line in lines)
    return [line.removeprefix(f"{path}: ") for line in lines]


@pytest.mark.parametrize("name", catalog.names())
def test_every_recipe_is_accepted_by_the_training_program(name):
    read = catalog.read(catalog.path_of(name))
    assert read.name == name
    data_name = read.params.data.data_name
    if data_name in ("imagenet", "cifar10"):  # the head counts what the program counts
        dataset = registry.open_dataset(read.params.data)
        assert read.images_per_epoch == dataset.num_examples("train")


def test_there_are_recipes_for_the_networks_that_the_project_is_for():
    names = set(catalog.names())
    assert len(names) >= 25
    assert {f"efficientnet_lite/lite{variant}" for variant in range(5)} < names
    assert {f"cifar10/resnet{depth}" for depth in (20, 32, 44, 56, 110)} < names


def test_recipes_run_by_make_are_in_the_makefile():
    commands = {
        path.name: catalog.read_head(path.read_text())[1][catalog.COMMAND]
        for path in catalog.FOLDER.glob("*.flags")
    }
    made = {name: text for name, text in commands.items() if text.startswith("make ")}
    assert made
    makefile = (ROOT / "Makefile").read_text()
    for name, command in made.items():
        target = command.split()[1]
        recipe = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
        assert recipe is not None
        assert f"--flagfile=recipes/{name}" in recipe[1]


def test_no_folder_of_recipes_is_full():
    for folder in (catalog.FOLDER, *(path for path in catalog.FOLDER.iterdir() if path.is_dir())):
        files = [path for path in folder.iterdir() if path.suffix in (".py", ".flags")]
        assert len([path for path in files if path.name != "__init__.py"]) <= MOST_IN_A_FOLDER


def test_a_head_is_read_field_by_field(recipe):
    read = catalog.read(recipe())
    assert read.title == "A title."
    assert read.head["source"] == "a paper, of two lines"
    assert (read.images_per_epoch, read.published_accuracy) == (1000, "75.1%")
    assert (read.image_size, read.global_batch) == (28, 4)


def test_sizes_of_training_and_of_evaluation_may_differ(recipe):
    flags = f"{FLAGS}--image_size=64\n--image_size_schedule=32:0,48:1\n"
    read = catalog.read(recipe(flags=flags))
    assert (read.image_sizes, read.image_size) == ([32, 48], 64)
    assert catalog.read(recipe()).image_sizes == [28]


def test_the_images_of_an_update_are_those_of_all_gpus_and_batches(recipe):
    flags = f"{FLAGS}--num_gpus=3\n--gradient_accumulation_steps=5\n"
    assert catalog.read(recipe(flags=flags)).global_batch == 4 * 3 * 5


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (f"{FLAGS}--lookahead=5\n", "unknown flag --lookahead"),
        (f"{FLAGS}--optimizer=shampoo\n", "--optimizer=shampoo is not one of"),
        (f"{FLAGS}--rmsprop_epsilon=0.001\n", "--rmsprop_epsilon has no effect"),
        (f"{FLAGS}--data_format=NCHW\n--device=cpu\n", "--data_format=NCHW needs a GPU"),
        (f"{FLAGS}--num_gpus=3\n--all_reduce_spec=hierarchical_copy\n", "--num_gpus=3 is odd"),
        (FLAGS.replace("--learning_rate=0.1\n", ""), "it leaves --learning_rate and"),
        (FLAGS.replace("--batch_size=4\n", ""), "it leaves --batch_size to a default"),
        (FLAGS.replace("--num_epochs=2\n", ""), "it leaves --num_epochs and --num_batches"),
    ],
)
def test_flags_that_the_program_does_not_have_or_use_are_mistakes(recipe, flags, expected):
    (line,) = mistakes(recipe(flags=flags))
    assert expected in line


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("#   hardware   not published\n", "", "lacks the field hardware"),
        ("# A title.\n", "#\n", "lacks a title"),
        ("{path} --data_dir", "recipes/other.flags --data_dir", "does not name it"),
        ("1,000 training images", "many", "names no number of training images"),
        ("75.1% top-1 (a table)", "about 75%", "begins neither with"),
    ],
)
def test_a_head_that_lacks_something_is_a_mistake(recipe, old, new, expected):
    (line,) = mistakes(recipe(head=HEAD.replace(old, new)))
    assert expected in line


def test_the_flags_of_a_variant_follow_those_of_the_file_and_are_checked(recipe):
    assert catalog.read(recipe()).variant == []
    field = (
        "#   variant    --augment=none --num_gpus=2: what the source\n#              leaves open\n"
    )
    head = HEAD.replace("#   published", f"{field}#   published")
    assert catalog.read(recipe(head=head)).variant == ["--augment=none", "--num_gpus=2"]
    (line,) = mistakes(recipe(head=head.replace("=none", "=some")))
    assert line.startswith("its variant --augment=some --num_gpus=2: --augment=some is not one of")
    for number in range(5):
        lite = catalog.read(catalog.path_of(f"efficientnet_lite/lite{number}"))
        both = [catalog.parse([f"--flagfile={lite.path}", *f]) for f in ([], lite.variant)]
        assert [flags.params.data.augment for flags in both] == ["autoaugment", "none"]


def test_a_name_that_is_no_recipe_gets_a_proposal():
    with pytest.raises(UsageError, match="did you mean resnet/90_epochs_cosine"):
        catalog.path_of("resnet/90_epochs_cosin")
    assert catalog.path_of("recipes/demo.flags") == catalog.FOLDER / "demo.flags"


def test_a_picture_that_cannot_be_written_is_said_in_one_line(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert check.main(["demo", f"--output={tmp_path / 'file'}"]) == 3
    line = capsys.readouterr().err.strip()
    assert line.startswith(f"error: cannot write {tmp_path / 'file'}: it is a file")
    assert "\n" not in line
