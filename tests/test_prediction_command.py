"""prediction.py as users run it, with a small network whose answer is known."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import prediction
from benchmark_cnn.params.data_params import DataParams
from benchmark_cnn.params.params import write_parameters
from benchmark_cnn.params.validation import make_params
from checkpoints import bundle
from download_and_convert_imagenet.records.manifest import Manifest, write_manifest
from inference.answers import classify
from inference.network import Network
from inference.signature import Signature
from inference.view import View
from models.pretrained import importing
from preprocessing.images.views import eval_image
from preprocessing.records.examples import Example

ROOT = Path(prediction.__file__).parent


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A LeNet of 10 classes that answers softmax(0, 1, ..., 9) to every image."""
    shapes = importing.network_shapes("lenet", 10)
    tensors = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    (head,) = [name for name, shape in shapes.items() if shape == (10,)]
    tensors[head] = np.arange(10, dtype=np.float32)
    prefix = tmp_path_factory.mktemp("run") / "model.ckpt-7"
    bundle.write(prefix, tensors)
    return prefix


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.new("RGB", (60, 50), (9, 99, 199)).save(path)
    return path


def test_five_lines_in_the_published_form(checkpoint, photo, capsys):
    argv = [str(photo), "--model=lenet", f"--train_dir={checkpoint}"]
    assert prediction.main(argv) == 0
    powers = np.exp(np.arange(10.0))
    percents = 100 * powers / powers.sum()
    lines = [f"predicted class for image {photo}: "]
    lines += [f"  -> top_{i} ({percents[9 - i]:.2f}%): class {9 - i}  " for i in range(5)]
    assert capsys.readouterr().out == "\n".join(lines) + "\n"


def test_a_run_answers_with_the_names_of_its_classes(checkpoint, photo, tmp_path, capsys):
    """Model, view and names are the run's; without its data the classes have numbers."""
    data, run = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    run.mkdir()
    names = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    write_manifest(data, Manifest("digits", names, {}))
    write_parameters(make_params(model="lenet", data_dir=str(data)), run)
    for path in checkpoint.parent.glob("model.ckpt-7.*"):
        shutil.copy(path, run)
    argv = [str(photo), f"--train_dir={run}", "--json"]
    assert prediction.main(argv) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert [p["label"] for p in answer["predictions"]] == list(names[:4:-1])
    assert [p["class"] for p in answer["predictions"]] == [9, 8, 7, 6, 5]
    shutil.rmtree(data)
    assert prediction.main(argv) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["predictions"][0]["label"] == "class 9"


def test_whole_images_of_a_run_may_be_cropped(checkpoint, photo, tmp_path, capsys):
    write_parameters(make_params(model="lenet", data_name="digits"), tmp_path)
    shutil.copytree(checkpoint.parent, tmp_path, dirs_exist_ok=True)
    argv = [str(photo), f"--train_dir={tmp_path}", "--eval_method=vgg", "--resize_method=area"]
    assert prediction.main(argv) == 0
    assert "top_0" in capsys.readouterr().out


def test_an_unknown_data_set_is_warned_of_in_a_line(checkpoint, photo, tmp_path, capsys):
    """A run of an earlier version, whose directory was emptied; no line where a view is typed."""
    run, data = tmp_path / "run", tmp_path / "data"
    data.mkdir()
    shutil.copytree(checkpoint.parent, run)
    write_parameters(make_params(model="lenet", data_dir=str(data)), run)
    argv = [str(photo), f"--train_dir={run}", "--top=1"]
    assert prediction.main(argv) == 0
    written = capsys.readouterr()
    assert "top_0" in written.out
    assert re.fullmatch(f"warning: {data} does not show which data [^\n]+whole\n", written.err)
    assert "--data_name" not in written.err
    assert prediction.main([*argv, "--eval_method=whole"]) == 0
    assert capsys.readouterr().err == ""


def test_a_photo_is_seen_as_an_evaluation_sees_it(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    options = {"resize_method": "bicubic", "resize_kernels": "tf2", "eval_crop_fraction": 0.9}
    example = Example(tf.io.encode_png(pixels), tf.constant(0), tf.zeros([0, 4]))
    expected = eval_image(
        DataParams(eval_method="efficientnet", **options), example, 28, tf.constant(0, tf.int64)
    )
    shown = []

    class Classifier:
        image_size = 28
        num_classes = 10

        def probabilities(self, images):
            shown.append(images)
            return np.eye(1, 10)

    view = View("efficientnet", **options)
    signature = Signature("lenet", 28, tuple(map(str, range(10))), view)
    network = Network(Classifier(), signature, "checkpoint", tmp_path)
    list(classify(network, [tmp_path / "photo.png"], 1))
    np.testing.assert_array_equal(shown[0][0], expected)


def test_json_with_labels_and_an_unreadable_file(checkpoint, photo, tmp_path, capsys):
    (tmp_path / "broken.png").write_bytes(b"no image")
    (tmp_path / "labels.json").write_text(json.dumps({"9": "nine"}))
    argv = [
        str(tmp_path),
        "--model=lenet",
        f"--train_dir={checkpoint.parent}",
        f"--labels_map_file={tmp_path / 'labels.json'}",
        "--json",
        "--top=2",
    ]
    assert prediction.main(argv) == 3
    printed = capsys.readouterr()
    assert printed.err == "not used: 1 .json\n"
    broken, good = json.loads(printed.out)
    assert "broken.png is no image" in broken["error"]
    assert good["image"] == str(photo)
    assert [answer["label"] for answer in good["predictions"]] == ["nine", "class 8"]
    assert [answer["class"] for answer in good["predictions"]] == [9, 8]


@pytest.mark.parametrize("form", ["lines", "json"])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_an_undecodable_name_does_not_stop_the_others(
    checkpoint, photo, tmp_path, monkeypatch, form, encoding
):
    """A name in Latin-1 where UTF-8 is expected; the photo after it is answered, too."""
    first = os.fsdecode(os.fsencode(tmp_path / "caf") + b"\xe9.png")
    shutil.copy(photo, first)
    (tmp_path / "labels.json").write_text('{"9": "n\\u00e9uf \\ud83d\\ude00"}')
    argv = [
        first, str(photo), "--model=lenet", f"--train_dir={checkpoint}", "--top=1",
        f"--labels_map_file={tmp_path}/labels.json", *(["--json"] if form == "json" else []),
    ]  # fmt: skip
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding, errors="strict"))
    assert prediction.main(argv) == 0
    text = written.getvalue().decode(encoding)
    assert "caf\\udce9.png" in text
    if form == "json":
        answers = json.loads(text)
        assert [answer["image"] for answer in answers] == [first, str(photo)]
        assert answers[1]["predictions"][0]["label"] == "n\u00e9uf \U0001f600"
    else:
        assert text.count("top_0") == 2


def test_an_empty_directory_is_named_and_the_others_answer(checkpoint, photo, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    argv = [str(empty), str(photo), "--model=lenet", f"--train_dir={checkpoint}", "--top=1"]
    assert prediction.main(argv) == 3
    printed = capsys.readouterr()
    assert printed.out.startswith(f"predicted class for image {photo}: \n  -> top_0")
    assert re.fullmatch(f"error: no images in {empty} [^\n]+\n", printed.err)


@pytest.mark.slow
def test_a_closed_pipe_ends_silently(checkpoint, photo):
    """As `| head -1`: the pipe is closed before the first answer."""
    for form in ([], ["--json"]):
        process = subprocess.Popen(
            [sys.executable, "prediction.py", str(photo), "--model=lenet", *form,
             f"--train_dir={checkpoint}"],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=300) == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (2500, 2100)])
def test_tiny_and_huge(checkpoint, tmp_path, size, capsys):
    Image.new("L", size, 77).save(tmp_path / "a.png")
    argv = [str(tmp_path / "a.png"), "--model=lenet", f"--train_dir={checkpoint}"]
    for method in ("vgg", "inception", "efficientnet", "whole"):
        assert prediction.main([*argv, f"--eval_method={method}"]) == 0
    assert capsys.readouterr().out.count("top_0") == 4


@pytest.mark.parametrize(
    ("argv", "exit_code", "message"),
    [
        ([], 2, "--pretrained or --train_dir"),
        (["--pretrained", "--model=efficientnet_lit0"], 2, "did you mean"),
        (["--pretrained", "--model=lenet"], 3, "no pretrained weights of lenet"),
        (["--train_dir=absent"], 3, "absent"),
        (["--train_dir={checkpoint}"], 2, "give --model=NAME"),
        (["--train_dir={checkpoint}", "--weights_dir=weights"], 2, "--weights_dir has no effect"),
        (["--train_dir={run}", "--resize_method=area"], 2, "--resize_method has no effect"),
        (["--pretrained", "--num_classes=9"], 2, "--num_classes has no effect with --pretrained"),
        (
            ["--pretrained", "--weights_dir=absent", "--eval_method=whole", "--resize_method=area"],
            2,
            "--resize_method has no effect with --eval_method=whole",
        ),
        (["--train_dir={checkpoint}", "--model=trivial"], 3, "does not fit the network"),
        (
            ["--train_dir={run}", "--model=trivial"],
            3,
            "the run trained lenet: leave --model out; {run}/model.ckpt-",
        ),
        (["--train_dir={checkpoint}", "--model=lenet", "--image_size=3"], 2, "at least 4 x 4"),
    ],
)
def test_mistakes_are_one_line(argv, exit_code, message, checkpoint, photo, tmp_path, capsys):
    write_parameters(make_params(model="lenet", data_name="digits"), tmp_path)
    shutil.copytree(checkpoint.parent, tmp_path, dirs_exist_ok=True)
    argv = [part.format(checkpoint=checkpoint, run=tmp_path) for part in argv]
    assert prediction.main([str(photo), *argv]) == exit_code
    error = capsys.readouterr().err
    assert re.fullmatch(r"error: [^\n]+\n", error)
    assert message.format(run=tmp_path) in error


def test_an_abbreviated_debug_shows_the_traceback(photo, capsys):
    """argparse takes the beginnings of its flags; after -- there are files."""
    assert prediction.main([str(photo), "--train_dir=absent", "--deb"]) == 3
    assert "Traceback" in capsys.readouterr().err
    assert prediction.main(["--train_dir=absent", "--", "--debug"]) == 3
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [["prediction.py", "photo.png", "--train_dir=absent"],
     ["-m", "models.pretrained", "lenet", "--from=absent.h5"],
     ["-m", "checkpoints.inspect", "absent"]],
)  # fmt: skip
def test_ctrl_c_while_tensorflow_is_imported(command, tmp_path):
    """A module in its place sends the signal, as a user does."""
    (tmp_path / "tensorflow.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(600)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, "error: interrupted\n")


@pytest.mark.parametrize("flag", ["--image_size=0", "--top=0", "--top=-1", "--top=x"])
def test_numbers_are_above_zero(flag, checkpoint, photo, capsys):
    with pytest.raises(SystemExit) as exit_:
        prediction.main([str(photo), "--model=lenet", f"--train_dir={checkpoint}", flag])
    assert exit_.value.code == 2
    assert "is not a whole number of 1 or more" in capsys.readouterr().err


def test_a_url_is_no_photo(capsys):
    assert prediction.main(["https://example.com/a.jpg", "--pretrained"]) == 2
    assert "error: https://example.com/a.jpg is a URL: " in capsys.readouterr().err


def test_each_name_that_is_no_path_has_its_own_advice(capsys):
    """A local file needs no download; an empty name is not the working directory."""
    assert prediction.main(["file:///tmp/a.jpg", "--pretrained"]) == 2
    error = "error: file:///tmp/a.jpg is a URL: give the path itself, /tmp/a.jpg\n"
    assert capsys.readouterr().err == error
    assert prediction.main(["", "--pretrained"]) == 2
    assert capsys.readouterr().err == "error: the name of an image is empty\n"


def test_help_imports_no_tensorflow():
    code = (
        "import sys, prediction\n"
        "try: prediction.main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit('tensorflow' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    assert b"--labels_map_file" in result.stdout
