from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from benchmark_cnn.flags import command_line
from benchmark_cnn.params.params import read_parameters, write_parameters
from benchmark_cnn.params.validation import make_params
from common import commands, paths
from common.errors import UsageError
from download_and_convert_imagenet.__main__ import main as convert
from inference import prediction_flags
from preprocessing import registry


def test_home_is_expanded_and_a_url_refused_by_every_path_flag(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    flags = ["train_dir", "init_checkpoint", "data_dir", "trace_file"]
    given = command_line.parse("train.py", [f"--{flag}=~/x" for flag in flags])
    assert [given.value(flag) for flag in flags] == ["/home/me/x"] * 4
    with pytest.raises(UsageError) as refused:
        command_line.parse("train.py", [f"--{flag}=gs://b/x" for flag in flags])
    lines = str(refused.value).splitlines()
    local = ["init_checkpoint", "trace_file"]  # the others may be on an object store
    assert [line.partition(" is a URL")[0] for line in lines] == [f"--{f}=gs://b/x" for f in local]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("s3://b/run/", "s3://b/run"),
        ("gs://b", "gs://b"),
        ("~/x", "/home/me/x"),
        ("s3:/b/run", "is no URL: write s3://BUCKET/NAME"),
        ("s3:b", "is no URL: write s3://BUCKET/NAME"),
        ("./s3:b", "./s3:b"),
        ("gs://", "names no bucket"),
        ("hdfs://b/run", "is a URL: only local"),
    ],
)
def test_a_url_of_an_object_store_is_told_from_a_path(monkeypatch, text, answer):
    monkeypatch.setenv("HOME", "/home/me")
    try:
        found = paths.local_or_remote(text)
    except ValueError as error:
        found = str(error)
    assert found.startswith(answer)


def test_a_copy_of_a_url_is_recorded_as_the_url(tmp_path, monkeypatch):
    """Then parameters.json means the same on another machine, whose copy is elsewhere."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    copy = paths.copy_of("s3://bucket/runs/lite0", "runs")
    assert copy.is_relative_to(tmp_path)
    assert paths.absolute(str(copy)) == "s3://bucket/runs/lite0"
    assert paths.absolute("gs://bucket/x") == "gs://bucket/x"
    assert paths.absolute("runs/x") == str(tmp_path / "runs/x")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("gs://bucket/run", "is a URL: only local"),
        ("s3://bucket/run", "is a URL: only local"),
        ("https://example.com/cat.jpg", "is a URL: only local"),
        ("hdfs://name/run", "is a URL: only local"),
        ("file:///data/run", "is a URL: give the path itself, /data/run"),
        ("~nobody-has-this-name/run", "there is no user nobody-has-this-name"),
        ("a\0b", "zero byte"),
    ],
)
def test_what_is_no_local_path_is_refused(path, reason):
    with pytest.raises(ValueError, match=reason):
        paths.local(path)


@pytest.mark.parametrize("path", ["gs:/bucket", "runs/x", "lr=[0.1]", "./~x", "C:x"])
def test_a_local_path_stays_as_typed(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert paths.local(path) == path
    Path("~x").touch()
    assert paths.local("~x") == "~x"


def test_commands_refuse_a_url_before_anything_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for refuse in (
        lambda: convert(["s3://b/data", "--source=folder", "--raw_dir=photos"]),
        lambda: prediction_flags.parser().parse_args(["a.jpg", "--train_dir=https://x.org/a"]),
    ):
        with pytest.raises(SystemExit) as stopped:
            refuse()
        error = capsys.readouterr().err
        assert stopped.value.code == 2
        assert "://" in error
        assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_parameters_hold_absolute_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params = make_params(data_dir="data", train_dir="run")
    assert params.data.data_dir == "data"
    write_parameters(params, tmp_path)
    written = read_parameters(tmp_path)
    assert written.data.data_dir == str(tmp_path / "data")
    assert written.checkpoint.train_dir == str(tmp_path / "run")


@pytest.mark.parametrize("name", ["a b", "lr=[0.1]", "it's", "$HOME", "a\nb'\\", "\udcff1", "été"])
def test_a_shell_reads_a_quoted_path(name):
    quoted = paths.quoted(Path(name))
    assert "\n" not in quoted
    command = os.fsencode(f"printf %s {quoted}")
    assert subprocess.run(["bash", "-c", command], capture_output=True).stdout == os.fsencode(name)


def test_weights_and_digits_have_one_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cache = tmp_path / "cache" / "tensorflow_imagenet"
    assert registry.data_directory(None, "digits") == cache / "data" / "digits"
    Path("data/digits").mkdir(parents=True)
    assert registry.data_directory(None, "digits") == cache / "data" / "digits"
    Path("data/digits/manifest.json").touch()
    assert registry.data_directory(None, "digits") == Path("data/digits")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.home_of("weights") == tmp_path / ".cache" / "tensorflow_imagenet" / "weights"


def test_a_failed_conversion_leaves_nothing_in_the_folder_of_photos(tmp_path):
    (tmp_path / "photos" / "class").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    assert convert([str(tmp_path / "photos")]) == 3
    assert convert([str(tmp_path / "new"), f"--raw_dir={tmp_path / 'photos'}"]) == 3
    assert sorted(tmp_path.rglob("*")) == before


def test_a_mistake_is_one_line(capsys):
    parser = commands.parser("program", "Does it.")
    with pytest.raises(SystemExit):
        parser.parse_args(["--wrong"])
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nb\tc\x1b[31m", "a\\nb\\tc\\x1b[31m"),
        ("end\u2028of line\x85", "end\\u2028of line\\x85"),
        (
            "caf\u00e9 \u732b \U0001f468\u200d\U0001f467",
            "caf\u00e9 \u732b \U0001f468\u200d\U0001f467",
        ),
        ("back\\slash 'quoted'", "back\\slash 'quoted'"),
        (os.fsdecode(b"\xff"), os.fsdecode(b"\xff")),  # the streams escape it
    ],
)
def test_a_name_stays_in_one_line(name, shown):
    assert paths.one_line(name) == shown
    assert len(shown.splitlines()) == 1
    assert paths.one_line(shown) == shown
