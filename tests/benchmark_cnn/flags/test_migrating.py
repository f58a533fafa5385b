"""Flags of tf_cnn_benchmarks and tf-imagenet: all have a fate; table, pages and fields agree."""

from __future__ import annotations

import re

import pytest

from benchmark_cnn.flags import command_line, help, migration
from benchmark_cnn.flags.migration import (
    GONE,
    KEPT,
    RENAMED,
    TF_CNN_BENCHMARKS,
    TF_CNN_BENCHMARKS_ELSEWHERE,
    TF_IMAGENET,
)
from benchmark_cnn.params.params import FLAGS, Params
from common.errors import UsageError

MIGRATING = help.DOCS / "migrating.md"
EVERY_FLAG = TF_IMAGENET | TF_CNN_BENCHMARKS | TF_CNN_BENCHMARKS_ELSEWHERE


def line_of(*argv: str) -> str:
    with pytest.raises(UsageError) as caught:
        command_line.parse("train.py", argv)
    return str(caught.value)


def table_rows(text: str) -> dict[str, list[str]]:
    rows = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \| (.*) \|$", text, re.MULTILINE)
    return {name: list(cells) for name, *cells in rows}


def test_the_last_tf_cnn_benchmarks_had_137_flags():
    assert len(TF_CNN_BENCHMARKS) == 137


def test_tf_imagenet_added_these_and_dropped_others():
    only = TF_IMAGENET - TF_CNN_BENCHMARKS
    assert only == {
        "moving_average_decay", "label_smoothing", "eval_method", "data_subset", "ckpt_scope",
        "result_storage", "learning_rate", "cache_data",
    }  # fmt: skip


def test_every_flag_of_the_original_programs_has_exactly_one_fate():
    fates = [*KEPT, *RENAMED, *GONE]
    assert len(fates) == len(set(fates))
    assert set(fates) == EVERY_FLAG


def test_kept_flags_exist_and_renamed_ones_have_a_target():
    assert set(KEPT) <= set(FLAGS)
    assert {renamed.target for renamed in RENAMED.values()} <= set(FLAGS)
    assert not set(RENAMED) & set(FLAGS)
    assert not set(GONE) & set(FLAGS)


@pytest.mark.parametrize("name", sorted(GONE))
def test_a_flag_that_is_gone_is_answered_with_its_line(name):
    expected = f"--{name} is gone: {GONE[name]}"
    assert line_of(f"--{name}=1") == expected
    assert line_of(f"--{name}") == expected
    assert "\n" not in expected
    assert len(expected) < 160


@pytest.mark.parametrize("name", sorted(name for name, new in RENAMED.items() if not new.accepted))
def test_an_old_name_that_is_refused_is_answered_with_the_new_one(name):
    renamed = RENAMED[name]
    assert renamed.note
    assert line_of(f"--{name}=1") == f"--{name} is now --{renamed.target}: {renamed.note}"


def test_flags_in_the_answers_exist():
    for name in EVERY_FLAG:
        for mentioned in re.findall(r"--([a-z][a-z0-9_]*)", migration.answer(name) or ""):
            assert mentioned in FLAGS or mentioned == name, name


def test_an_accepted_name_needs_no_answer():
    for name, renamed in RENAMED.items():
        assert (migration.answer(name) is None) == renamed.accepted
    assert migration.answer("num_gpus") is None
    assert migration.answer("nonsense") is None


def test_the_table_of_the_document_is_current():
    page = MIGRATING.read_text()
    assert help.with_table(page) == page, "run python -m benchmark_cnn.flags.help"


def test_the_table_of_the_document_has_every_flag_and_its_fate():
    table = MIGRATING.read_text().partition(help.TABLE_BEGINS)[2]
    rows = table_rows(table)
    assert set(rows) == EVERY_FLAG
    for name, (_, now, _) in rows.items():
        if now == "kept":
            assert name in FLAGS
        elif now == "gone":
            assert name not in FLAGS
        else:
            assert now.strip("`") in FLAGS
            assert name not in FLAGS


def test_the_changed_defaults_of_the_document_are_the_defaults():
    section = MIGRATING.read_text().partition("## Defaults that have changed")[2]
    rows = table_rows(section.partition("\n## ")[0])
    here = {name: cells[2] for name, cells in rows.items()}
    defaults = Params().to_dict()
    for name in ("variable_update", "optimizer", "data_format", "device"):
        assert here[name].startswith(f"`{defaults[name]}`")
    for name in ("fp16_loss_scale", "summary_verbosity", "save_model_secs"):
        assert here[name].startswith(f"{defaults[name]:g}")
    for name in ("local_parameter_device", "num_intra_threads", "save_summaries_steps", "eval_dir"):
        assert defaults[name] is None
    assert defaults["augment"] == "none"
    assert defaults["gradient_clip_mode"] == "norm"
    assert defaults["nesterov"] is True


def test_flags_in_the_prose_exist():
    prose = MIGRATING.read_text().partition(help.TABLE_BEGINS)[0]
    for name in re.findall(r"--([a-z][a-z0-9_]*)", prose):
        is_accepted = name in RENAMED and RENAMED[name].accepted
        assert name in FLAGS or is_accepted or name == "nodistortions", name


def test_the_example_of_the_document_is_understood():
    command = re.search(r"^python train\.py (.*?)^```", MIGRATING.read_text(), re.S | re.M)
    assert command
    argv = command[1].replace("\\\n", " ").split()
    params = command_line.parse("train.py", argv).params
    assert params.hardware.num_gpus == 8
    assert params.learning_rate.learning_rate == 0.1


def test_the_page_of_flags_is_current():
    page = (help.DOCS / "flags.md").read_text()
    assert page == help.flags_page(), "run python -m benchmark_cnn.flags.help"


def test_the_page_of_flags_has_every_flag_and_who_takes_it():
    page = (help.DOCS / "flags.md").read_text()
    rows = dict(re.findall(r"^\| `--(?:\[no\])?(\w+)` \| [^|]* \| ([TE ]+) \|", page, re.M))
    assert set(rows) == set(FLAGS)
    assert rows["learning_rate"] == "T"
    assert rows["ckpt_scope"] == "E"
    assert rows["train_dir"] == "T E"


def test_a_page_that_lost_its_table_is_an_error():
    with pytest.raises(ValueError, match="lacks the comments"):
        help.with_table("# Migrating\n")
