"""The view and the class names of a run, whether or not its data are still there."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

import train
from benchmark_cnn.params.data_params import DataParams
from benchmark_cnn.params.params import read_parameters
from benchmark_cnn.params.validation import make_params
from common.errors import DataError
from download_and_convert_imagenet.records.manifest import Manifest, write_manifest
from inference import class_names
from inference.view import View, view_of
from preprocessing import registry


def data_of(**flags):
    """The data flags of a run; without a data_name as an earlier version wrote them."""
    return make_params(**flags).data


@pytest.mark.parametrize(
    ("data_name", "directory", "eval_method"),
    [("digits", None, "whole"), ("cifar10", None, "whole"), ("imagenet", None, "inception"),
     (None, "digits", "whole"), (None, "elsewhere", "inception")],
)  # fmt: skip
def test_the_view_of_a_run_is_that_of_its_data(tmp_path, data_name, directory, eval_method):
    """The manifest names the data set of a directory."""
    data_dir = None
    if directory is not None:
        data_dir = str(tmp_path)
        write_manifest(tmp_path, Manifest(directory, ("a", "b"), {}))
    data = data_of(data_dir=data_dir or "none", eval_method="inception", resize_method="area")
    view = view_of(dataclasses.replace(data, data_name=data_name))
    assert view.eval_method == eval_method
    if eval_method != "whole":
        assert view == View(eval_method, "area")


def test_the_view_of_a_run_is_that_of_its_evaluations():
    """Kernels and crop fraction too, until another method is asked for."""
    data = data_of(
        data_name="imagenet", data_dir="none", eval_method="efficientnet",
        resize_method="bicubic", resize_kernels="tf2", eval_crop_fraction=0.9,
    )  # fmt: skip
    view = view_of(data)
    assert view == View("efficientnet", "bicubic", "tf2", 0.9)
    assert view.override(None, "area") == View("efficientnet", "area", "tf2", 0.9)
    assert view.override("vgg", None) == View("vgg", "bicubic", "tf2", None)
    assert view_of(data, "vgg") == view.override("vgg", None)


@pytest.mark.parametrize("absent", ["moved on", "deleted"])
def test_a_guessed_data_set_is_known_without_its_directory(tmp_path, monkeypatch, capsys, absent):
    """By what train.py writes: no name was typed."""
    monkeypatch.chdir(tmp_path)
    argv = ["--device=cpu", "--model=lenet", "--batch_size=4", "--num_batches=1"]
    assert train.main([*argv, "--data_dir=digits", "--train_dir=run"]) == 0
    (tmp_path / "digits").rename("hidden")
    run = tmp_path / "run"
    if absent == "deleted":
        shutil.rmtree("hidden")
    else:
        (tmp_path / "elsewhere").mkdir()
        run = run.rename(tmp_path / "elsewhere" / "run")
        monkeypatch.chdir("elsewhere")
    capsys.readouterr()
    assert view_of(read_parameters(run).data) == View("whole")
    assert capsys.readouterr().err == ""


def test_the_home_directory_is_found_as_train_finds_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine").mkdir()
    write_manifest(tmp_path / "mine", Manifest("digits", ("a", "b"), {}))
    assert view_of(data_of(data_dir="~/mine")) == View("whole")
    assert class_names.class_names(2, None, data_of(data_dir="~/mine")) == ["a", "b"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("directory", ["empty", "absent", "~nobody-of-that-name"])
def test_a_directory_without_a_data_set_is_warned_of(tmp_path, capsys, directory):
    (tmp_path / "empty").mkdir()
    typed = directory if directory.startswith("~") else str(tmp_path / directory)
    data = data_of(data_dir=typed, eval_method="inception")
    assert view_of(data) == View("inception")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {typed} does not show which data")
    assert view_of(data, "whole").eval_method == "whole"
    assert capsys.readouterr().err == ""


MANY = tuple(f"flower {number}" for number in range(1000))
NUMBERS = [f"class {number}" for number in range(1000)]


@pytest.mark.parametrize(
    ("manifest_name", "names"), [("flowers", list(MANY)), ("imagenet", class_names.imagenet())]
)
@pytest.mark.parametrize("data_name", ["folder", None])
def test_a_thousand_classes_need_not_be_imagenets(tmp_path, manifest_name, names, data_name):
    write_manifest(tmp_path, Manifest(manifest_name, MANY, {}))
    data = dataclasses.replace(data_of(data_dir=str(tmp_path)), data_name=data_name)
    assert class_names.class_names(1000, None, data) == names


@pytest.mark.parametrize(
    ("data_name", "names"),
    [("folder", NUMBERS), ("imagenet", class_names.imagenet()), (None, class_names.imagenet())],
)
def test_a_thousand_classes_of_absent_data(tmp_path, data_name, names):
    data = dataclasses.replace(data_of(data_dir=str(tmp_path / "absent")), data_name=data_name)
    assert class_names.class_names(1000, None, data) == names
    assert class_names.class_names(3, None, data) == NUMBERS[:3]


def test_the_digits_have_names_without_a_data_dir(tmp_path, monkeypatch):
    """They lie where `--data_name=digits` has put them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # other tests may have put them there
    data = data_of(data_name="digits")
    assert class_names.class_names(10, None, data) == NUMBERS[:10]
    registry.open_dataset(DataParams(data_name="digits"))
    names = class_names.class_names(10, None, data)
    assert names == ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def test_a_file_of_labels_goes_before_a_manifest(tmp_path):
    (tmp_path / "manifest.json").write_text("damaged")
    (tmp_path / "labels.json").write_text('{"0": "a"}')
    data = data_of(data_dir=str(tmp_path))
    with pytest.raises(DataError, match="cannot be read"):
        class_names.class_names(2, None, data)
    assert class_names.class_names(2, str(tmp_path / "labels.json"), data) == ["a", "class 1"]


def test_labels_of_imagenet():
    names = class_names.imagenet()
    assert len(names) == 1000
    # The first and last class, and the two cranes, bird and machine.
    assert names[0] == "tench, Tinca tinca"
    assert names[999] == "toilet tissue, toilet paper, bathroom tissue"
    assert names[134] == names[517] == "crane"


def test_labels_of_a_file(tmp_path):
    path = tmp_path / "labels.json"
    path.write_text('{"1": "one", "0": "zero"}')
    data = data_of()

    def names(num_classes: int) -> list[str]:
        return class_names.class_names(num_classes, str(path), data)

    assert names(3) == ["zero", "one", "class 2"]
    path.write_text('["a", "b"]')
    assert names(2) == ["a", "b"]
    path.write_text('{"0": ["n01440764", "tench"]}')
    assert names(1) == ["tench"]
    for content in ("3", '{"a": 1}', "{"):
        path.write_text(content)
        with pytest.raises(DataError, match="labels"):
            names(3)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (["background", "a", "b"], "3 names for 2 classes: if the first one is a background"),
        (["a"], '1 names for 2 classes: to name only some classes, write {"0": "label", ...}'),
        (["", "", "a", "b"], "4 names for 2 classes: to name only some classes, write"),
        ({"1": "a", "2": "b"}, "it names class 2, the network has classes 0 to 1: count from 0"),
        ({"-1": "b"}, "it names class -1, the network has classes 0 to 1: count from 0"),
    ],
)
def test_labels_of_another_number_of_classes_are_refused(tmp_path, content, problem):
    """Each name would be that of another class, or of none."""
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError) as caught:
        class_names.class_names(2, str(path), data_of())
    assert str(caught.value).startswith(f"labels {path}: {problem}")


def test_a_label_that_is_null_is_refused_and_the_advice_helps(tmp_path):
    file = tmp_path / "labels.json"
    file.write_text('{"0": "cat", "1": null}')
    with pytest.raises(DataError, match="the label of class 1 is no text: leave the class out of"):
        class_names.read_map(file, 2)
    file.write_text('{"0": "cat"}')
    assert class_names.class_names(2, file, data_of())[0] == "cat"
