"""The command line: syntax, all mistakes at once, flag files, help, old names and synonyms."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest

from benchmark_cnn.flags import command_line
from benchmark_cnn.flags.suggestions import SYNONYMS
from benchmark_cnn.params import params as params_module
from benchmark_cnn.params.params import FLAGS, ExplicitFlags, Params
from benchmark_cnn.params.validation import inherit, make_params
from common.errors import UsageError
from common.version import __version__
from tests.imported_libraries import IMPORT_TIME, installed_ones

ROOT = pathlib.Path(params_module.__file__).resolve().parents[2]


def train(*argv: str, **options) -> ExplicitFlags:
    return command_line.parse("train.py", argv, **options)


def evaluate(*argv: str) -> ExplicitFlags:
    return command_line.parse("eval.py", argv)


def lines_of(*argv: str, parse=train) -> list[str]:
    with pytest.raises(UsageError) as caught:
        parse(*argv)
    return str(caught.value).split("\n")


# Syntax


def test_nothing_given_is_every_default():
    assert train() == ExplicitFlags(Params())


@pytest.mark.parametrize(
    "argv", [["--num_gpus=8"], ["--num_gpus", "8"], ["-num_gpus=8"], ["-num_gpus", "8"]]
)
def test_a_value_is_written_with_or_without_equals_sign(argv):
    parsed = train(*argv)
    assert parsed.params.hardware.num_gpus == 8
    assert parsed.explicit == {"num_gpus"}


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("--deterministic", True),
        ("--deterministic=true", True),
        ("--deterministic=True", True),
        ("--deterministic=1", True),
        ("--nodeterministic", False),
        ("--deterministic=false", False),
        ("--deterministic=0", False),
    ],
)
def test_switches(argument, value):
    parsed = train(argument)
    assert parsed.params.hardware.deterministic is value
    assert parsed.explicit == {"deterministic"}


def test_none_takes_a_value_back():
    parsed = train("--gradient_clip=5", "--gradient_clip=None", "--data_dir=None")
    assert parsed.params.optimization.gradient_clip is None
    assert parsed.params.data.data_dir is None


def test_the_last_one_given_wins():
    assert train("--num_gpus=8", "--num_gpus=2").params.hardware.num_gpus == 2
    assert train("--use_fp16", "--dtype=bfloat16").params.network.dtype == "bfloat16"


def test_choices_are_understood_in_any_case():
    params = train("--device=CPU", "--data_format=nhwc").params
    assert (params.hardware.device, params.network.data_format) == ("cpu", "NHWC")


def test_a_value_may_begin_with_a_dash_or_hold_an_equals_sign():
    assert train("--weight_decay_exclude", "-norm").params.optimization.weight_decay_exclude
    excluded = train("--weight_decay_exclude=a=b").params.optimization.weight_decay_exclude
    assert excluded == "a=b"


# Old names


@pytest.mark.parametrize(
    ("argv", "name", "value"),
    [
        (["--init_learning_rate=0.1"], "learning_rate", 0.1),
        (["--init_learning_rate", "0.1"], "learning_rate", 0.1),
        (["--use_fp16"], "dtype", "float16"),
        (["--use_fp16=True"], "dtype", "float16"),
        (["--nouse_fp16"], "dtype", "float32"),
        (["--use_fp16=false"], "dtype", "float32"),
        (["--max_ckpts_to_keep=3", "--train_dir=r"], "keep_checkpoints", 3),
        (["--distortions", "--data_dir=d"], "augment", "color"),
        (["--nodistortions"], "augment", "none"),
        (["--distortions=False"], "augment", "none"),
        (["--cache_data", "--data_dir=d"], "datasets_repeat_cached_sample", True),
        (["--noallow_growth"], "allow_memory_growth", False),
        (["--eval_during_training_every_n_steps=50"], "eval_every_steps", 50),
        (["--eval_during_training_every_n_epochs=0.5"], "eval_every_epochs", 0.5),
    ],
)
def test_an_old_name_works(argv, name, value):
    parsed = train(*argv)
    assert parsed.params.to_dict()[name] == value
    assert name in parsed.explicit


def test_a_mistake_under_an_old_name_quotes_that_name():
    assert lines_of("--init_learning_rate=fast", "--use_fp16=maybe") == [
        "--init_learning_rate=fast is not a number",
        "--use_fp16=maybe is not true, false, on or off",
    ]
    assert lines_of("--distortions") == [
        "--augment has no effect without --data_dir: the images are synthetic "
        "(given as --distortions)"
    ]


# Mistakes

WRONG = [
    (["--lerning_rate=0.1"], "unknown flag --lerning_rate; did you mean --learning_rate?"),
    (["--lr", "0.1"], "unknown flag --lr; did you mean --learning_rate?"),
    (["-b", "64"], "unknown flag -b; did you mean --batch_size?"),
    (["--batch-size=64"], "unknown flag --batch-size; did you mean --batch_size?"),
    (["--flux_capacitor"], "unknown flag --flux_capacitor; train.py --help lists all flags"),
    (["--num_gpus=two"], "--num_gpus=two is not an integer"),
    (["--num_batches=1e6"], "--num_batches=1e6 is not an integer"),
    (["--num_gpus"], "--num_gpus needs a value: --num_gpus=VALUE"),
    (["--data_dir", "--num_gpus=2"], "--data_dir needs a value: --data_dir=VALUE"),
    (["--data_dir="], "--data_dir= is empty; give a value or leave the flag out"),
    (["--num_gpus=None"], "--num_gpus=None is not an integer"),
    (["--focal_gamma=nan", "--loss=focal"], "--focal_gamma=nan must be at least 0"),
    (["--deterministic=perhaps"], "--deterministic=perhaps is not true, false, on or off"),
    (
        ["--nodeterministic=true"],
        "--nodeterministic=true: --nodeterministic takes no value; write --deterministic=VALUE",
    ),
    (
        ["--deterministic", "True"],
        "unexpected argument 'True'; a switch is written --name, --noname or --name=true",
    ),
    (["lenet"], "unexpected argument 'lenet'; flags are written --name=value"),
    (["--"], "unexpected argument '--'; flags are written --name=value"),
    (
        ["--staged_vars"],
        "--staged_vars is gone: it computed gradients with weights that were one step old",
    ),
    (
        ["--nostaged_vars"],
        "--staged_vars is gone: it computed gradients with weights that were one step old",
    ),
    (["--eval"], "--eval is gone: evaluate with eval.py --train_dir=DIR"),
    (
        ["--hierarchical_copy"],
        "--hierarchical_copy is now --all_reduce_spec: write --all_reduce_spec=hierarchical_copy",
    ),
    (["--ckpt_scope=a:b"], "--ckpt_scope is a flag of eval.py; train.py does not have it"),
    (
        ["--optimizer=Adamm"],
        "--optimizer=Adamm is not one of sgd, momentum, rmsprop, adam, adamw, lars, lamb, lion; "
        "did you mean adam?",
    ),
    (["--flagfile"], "--flagfile needs the name of a file"),
    (
        ["--flagfile=/no/such/file"],
        "cannot read the flag file /no/such/file: No such file or directory",
    ),
]


@pytest.mark.parametrize(("argv", "line"), WRONG, ids=[" ".join(argv) for argv, _ in WRONG])
def test_a_wrong_command_line_is_answered_with_one_line(argv, line):
    assert lines_of(*argv) == [line]


def test_a_schedule_that_cannot_be_read_is_not_missed():
    """A second line about --learning_rate_end would ask for a schedule, which was given."""
    lines = lines_of("--piecewise_learning_rate_schedule=abc", "--learning_rate_end=0.1")
    assert lines == ["--piecewise_learning_rate_schedule=abc has 'abc' where a number belongs"]
    (line,) = lines_of("--learning_rate_end=0.1")
    assert line.startswith("--learning_rate_end needs --learning_rate_schedule=")


def test_all_mistakes_are_reported_together_and_once():
    argv = ["--lr=1", "--num_gpus=x", "foo", "--lr=2", "--lr=1", "--batch_size=0", "--staged_vars"]
    argv += ["--optimizer=sgd", "--momentum=0.5"]
    assert lines_of(*argv) == [
        "unknown flag --lr; did you mean --learning_rate?",
        "--num_gpus=x is not an integer",
        "unexpected argument 'foo'; flags are written --name=value",
        "--batch_size=0 must be at least 1; leave the flag out for the model's",
        "--staged_vars is gone: it computed gradients with weights that were one step old",
        "--momentum has no effect with --optimizer=sgd; use --optimizer=momentum",
    ]


# Flag names of other trainers.
@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("--lr", "--learning_rate"), ("--epochs", "--num_epochs"), ("--opt", "--optimizer"),
        ("--model-ema-decay", "--moving_average_decay"), ("--model-ema", "--moving_average_decay"),
        ("--smoothing", "--label_smoothing"), ("--clip-grad", "--gradient_clip"),
        ("--clip-mode", "--gradient_clip_mode"), ("--global_clipnorm", "--gradient_clip"),
        ("-b", "--batch_size"), ("--train_batch_size", "--batch_size"),
        ("--data-dir", "--data_dir"), ("--input_path", "--data_dir"), ("--dataset", "--data_name"),
        ("--val-split", "--data_subset"), ("--model_dir", "--train_dir"),
        ("--output", "--train_dir"), ("--initial-checkpoint", "--init_checkpoint"),
        ("--checkpoint-hist", "--keep_checkpoints"), ("--max_to_keep", "--keep_checkpoints"),
        ("--log-interval", "--display_every"), ("--crop-pct", "--eval_crop_fraction"),
        ("--interpolation", "--resize_method"), ("--torchcompile", "--xla"),
        ("--reprob", "--random_erasing"), ("--mixup", "--mixup_alpha"),
        ("--channels-last", "--data_format"), ("--val-interval", "--eval_every_epochs"),
        ("--num-bench-iter", "--num_batches"), ("--num-warm-iter", "--num_warmup_batches"),
        ("--mixed_precision_dtype", "--dtype"), ("--amp", "--dtype=bfloat16"),
        ("--seed", "--tf_random_seed"), ("--warmup-epochs", "--num_learning_rate_warmup_epochs"),
        ("--all_reduce_alg", "--all_reduce_spec"), ("--validation_interval", "--eval_every_steps"),
    ],
)  # fmt: skip
def test_a_synonym_is_answered_with_our_flag(theirs, ours):
    assert lines_of(theirs) == [f"unknown flag {theirs}; did you mean {ours}?"]


def test_every_synonym_stands_for_a_flag_and_a_value_that_it_takes():
    for word, ours in SYNONYMS.items():
        name, _, value = ours.partition("=")
        assert name in FLAGS, word
        assert word not in FLAGS, word
        if value:
            assert FLAGS[name].from_text(value) == value


def test_the_value_after_an_unknown_flag_is_not_a_second_mistake():
    assert len(lines_of("--lr", "-0.1", "--num_gpus=2")) == 1


def test_choices_of_the_entry_point_are_checked_with_the_rest():
    choices = {"model": ("lenet", "resnet50")}
    assert train("--model=ResNet50", choices=choices).params.network.model == "resnet50"
    with pytest.raises(UsageError) as caught:
        train("--model=lennet", "--num_gpus=0", choices=choices)
    assert str(caught.value).split("\n") == [
        "--model=lennet is not one of lenet, resnet50; did you mean lenet?",
        "--num_gpus=0 must be at least 1 and at most 64",
    ]


def test_answers_of_the_entry_point_come_before_the_nearest_choice():
    choices, answers = {"model": ("resnet110",)}, {"model": {"resnet101": "is called else here"}}
    with pytest.raises(UsageError) as caught:
        command_line.parse(
            "train.py",
            ["--model=resnet101"],
            choices=choices,
            answers=answers,
        )
    assert str(caught.value) == "--model=resnet101 is called else here"


# Flag files


@pytest.fixture
def recipe(tmp_path) -> str:
    path = tmp_path / "lite.flags"
    path.write_text(
        "# A recipe.\n\n--model=lenet\n--num_epochs=90\n--optimizer=rmsprop\n"
        "--rmsprop_momentum=0.8\n--augment=color\n--keep_checkpoints=3\n--deterministic\n"
    )
    return f"--flagfile={path}"


def test_a_flag_file_is_read(recipe):
    parsed = train(recipe, "--data_dir=d", "--train_dir=r")
    assert parsed.params.network.model == "lenet"
    assert parsed.params.run.num_epochs == 90.0
    assert parsed.params.hardware.deterministic is True
    assert parsed.explicit - parsed.from_files == {"data_dir", "train_dir"}
    assert "model" in parsed.from_files


def test_a_flag_file_named_as_a_separate_word(recipe):
    assert train("--flagfile", recipe.partition("=")[2]).params.network.model == "lenet"


def test_a_flag_after_a_flag_file_overrides_it(recipe):
    parsed = train(recipe, "--rmsprop_momentum=0.5", "--model=trivial")
    assert parsed.params.optimization.rmsprop_momentum == 0.5
    assert parsed.params.network.model == "trivial"
    assert "model" not in parsed.from_files


def test_a_recipe_runs_as_a_benchmark_without_data_and_directory(recipe):
    parsed = train(recipe, "--num_batches=20")
    assert parsed.params.run.num_batches == 20
    assert parsed.params.run.num_epochs is None
    assert "num_epochs" not in parsed.explicit


def test_a_recipe_whose_optimizer_is_exchanged_forgets_the_old_ones_flags(recipe):
    assert train(recipe, "--optimizer=adam").params.optimization.optimizer == "adam"
    assert lines_of(recipe, "--optimizer=adam", "--rmsprop_decay=0.5") == [
        "--rmsprop_decay has no effect with --optimizer=adam; use --optimizer=rmsprop"
    ]


def test_a_contradiction_inside_a_flag_file_is_reported(tmp_path):
    path = tmp_path / "bad.flags"
    path.write_text("--optimizer=sgd\n--momentum=0.5\n--num_epochs=1\n--num_batches=1\n")
    assert lines_of(f"--flagfile={path}") == [
        "--num_batches and --num_epochs exclude each other; give one of them",
        "--momentum has no effect with --optimizer=sgd; use --optimizer=momentum",
    ]


def test_a_recipe_is_found_from_any_directory_unless_the_directory_has_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    typed = "--flagfile=recipes/demo.flags"
    assert train(typed).params.data.data_name == "digits"
    (tmp_path / "recipes").mkdir()
    assert lines_of("--flagfile=recipes/no_such.flags") == [
        "cannot read the flag file recipes/no_such.flags: No such file or directory"
    ]
    (tmp_path / "recipes" / "demo.flags").write_text("--model=lenet\n")
    assert train(typed).params.network.model == "lenet"


def test_flag_files_may_name_others(tmp_path):
    (tmp_path / "inner.flags").write_text("--num_gpus=4\n")
    outer = tmp_path / "outer.flags"
    outer.write_text(f"--flagfile={tmp_path / 'inner.flags'}\n--model=lenet\n")
    params = train(f"--flagfile={outer}").params
    assert (params.hardware.num_gpus, params.network.model) == (4, "lenet")


def test_comments_of_a_flag_file(tmp_path):
    """Behind a flag, indented, and behind the name of another file; a # in a value is kept."""
    (tmp_path / "inner.flags").write_text("--num_gpus=4\t# all of them\n")
    outer = tmp_path / "outer.flags"
    outer.write_text(
        f"\ufeff  # A recipe.\n// of mine\n--model=lenet   # the small one\n"
        f"--flagfile={tmp_path / 'inner.flags'}  # the machine\n--train_dir=runs/a#1\n"
    )
    params = train(f"--flagfile={outer}").params
    assert (params.hardware.num_gpus, params.network.model) == (4, "lenet")
    assert params.checkpoint.train_dir.endswith("runs/a#1")


@pytest.mark.parametrize("quote", ["'", '"'])
def test_quotes_in_a_flag_file_are_not_part_of_a_name(tmp_path, quote):
    """They made a directory whose name began with a quote. Other quotes belong to the value."""
    path = tmp_path / "a.flags"
    for line in ("--train_dir={0}runs/my run{0}", "{0}--train_dir=runs/my run{0}"):
        path.write_text(f"--model=lenet\n{line.format(quote)}\n")
        problem = f"the flag file {path}: write --train_dir=runs/my run without quotes"
        assert lines_of(f"--flagfile={path}") == [f"{problem}; no shell reads it"]
    path.write_text(f"--model=lenet\n--train_dir=runs/my {quote}run{quote}\n")
    params = train(f"--flagfile={path}").params
    assert params.checkpoint.train_dir.endswith(f"runs/my {quote}run{quote}")


def test_a_flag_file_that_names_itself(tmp_path):
    path = tmp_path / "a.flags"
    path.write_text(f"--flagfile={path}\n")
    assert lines_of(f"--flagfile={path}") == [f"the flag file {path} names itself"]


def test_mistakes_in_a_flag_file_are_reported(tmp_path):
    path = tmp_path / "bad.flags"
    path.write_text("--num_gpus 4\n--lr=1\n--flagfile=/no/such/file\n")
    assert lines_of(f"--flagfile={path}") == [
        "cannot read the flag file /no/such/file: No such file or directory"
    ]
    path.write_text("--num_gpus 4\n--lr=1\n")
    assert lines_of(f"--flagfile={path}") == [
        "unknown flag --num_gpus 4; on a line of a flag file write --num_gpus=4",
        "unknown flag --lr; did you mean --learning_rate?",
    ]


def test_a_flag_file_that_is_not_text(tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(b"\xff\xfe\x00\x80")
    assert lines_of(f"--flagfile={path}") == [f"the flag file {path} is not text"]


# Evaluation


def test_an_evaluation_has_its_own_flags_and_the_average():
    parsed = evaluate("--train_dir=run", "--moving_average_decay=0.999", "--all_checkpoints")
    assert parsed.params.optimization.moving_average_decay == 0.999
    assert parsed.params.evaluation.all_checkpoints is True
    assert parsed.explicit == {"train_dir", "moving_average_decay", "all_checkpoints"}


def test_a_flag_of_training_is_refused_by_the_evaluation():
    assert lines_of("--train_dir=run", "--learning_rate=1", parse=evaluate) == [
        "--learning_rate is a flag of train.py; eval.py does not have it"
    ]
    assert lines_of("--train_dir=run", "--lr=1", parse=evaluate) == [
        "unknown flag --lr; did you mean --learning_rate (of train.py)?"
    ]


def test_evaluation_takes_the_runs_model_and_what_was_typed():
    run = make_params(model="lenet", data_dir="/far", data_name="digits", train_dir="run")
    parsed = evaluate("--train_dir=run", "--data_dir=/near", "--data_name=folder", "--num_gpus=2")
    params = inherit(parsed, run)
    assert params.network.model == "lenet"
    assert (params.data.data_dir, params.data.data_name) == ("/near", "folder")
    assert params.hardware.num_gpus == 2


def test_the_runs_data_name_is_that_of_its_directory():
    """Another directory has its own name: a missing one would be filled with digits."""
    run = make_params(model="lenet", data_dir="/far", data_name="digits", train_dir="run")
    same = inherit(evaluate("--train_dir=run"), run).data
    assert (same.data_dir, same.data_name) == ("/far", "digits")
    other = inherit(evaluate("--train_dir=run", "--data_dir=/near"), run).data
    assert (other.data_dir, other.data_name) == ("/near", None)


def test_a_default_that_was_typed_wins_too():
    run = make_params(data_dir="d", eval_method="inception")
    parsed = evaluate("--train_dir=run", "--eval_method=vgg")
    assert inherit(parsed, run).data.eval_method == "vgg"


def test_evaluation_takes_the_runs_view_of_an_image():
    run = make_params(
        data_dir="d", eval_method="efficientnet", resize_kernels="tf2", eval_crop_fraction=0.9
    )
    data = inherit(evaluate("--train_dir=run"), run).data
    assert (data.resize_kernels, data.eval_crop_fraction) == ("tf2", 0.9)
    # The run's fraction goes with its method, and is forgotten with it.
    parsed = evaluate("--train_dir=run", "--eval_method=vgg", "--resize_kernels=legacy")
    assert inherit(parsed, run).data.resize_kernels == "legacy"


def test_an_evaluation_reports_flags_without_effect_given_the_runs_flags():
    run = make_params(data_dir="d", resize_method="area")
    parsed = evaluate("--train_dir=run", "--eval_crop_fraction=0.9", "--resize_kernels=tf2")
    with pytest.raises(UsageError) as caught:
        inherit(parsed, run)
    assert str(caught.value).split("\n") == [
        "--eval_crop_fraction has no effect with --eval_method=vgg; it belongs to "
        "--eval_method=efficientnet",
        "--resize_kernels has no effect with --resize_method=area, which has one kernel",
    ]


@pytest.mark.parametrize("name", ["mixup_alpha", "cutmix_alpha", "random_erasing", "augment"])
def test_augmentation_is_for_training(name):
    assert lines_of("--train_dir=run", f"--{name}=1", parse=evaluate) == [
        f"--{name} is a flag of train.py; eval.py does not have it"
    ]


def test_evaluation_needs_images():
    run = make_params(model="lenet", train_dir="run")
    with pytest.raises(UsageError, match="--data_dir is missing: the images to evaluate; the run"):
        inherit(evaluate("--train_dir=run"), run)
    named = evaluate("--train_dir=run", "--data_name=digits")
    assert inherit(named, run).data.data_name == "digits"


# Help and version


@pytest.mark.parametrize("word", ["--help", "-h", "--helpfull"])
def test_help_lists_every_flag_once_by_concern(capsys, word):
    with pytest.raises(SystemExit) as caught:
        train("--num_gpus=x", word)
    assert caught.value.code == 0
    text = capsys.readouterr().out
    listed = re.findall(r"^  --(?:\[no\])?(\w+)", text, re.MULTILINE)
    ours = [flag.name for flag in FLAGS.values() if flag.concern != "evaluation"]
    assert listed == [*ours, "flagfile", "help", "version"]
    assert text.index("\nhardware: ") < text.index("--num_gpus") < text.index("\nlearning rate: ")


def test_help_about_nothing():
    (line,) = lines_of("--help=batchsize")
    assert line.startswith("--help=batchsize is no flag of train.py and none of network, data, ")
    assert line.endswith("; did you mean batch_size?")


@pytest.mark.parametrize(
    ("topic", "concern"), [("data", "data"), ("learning-rate", "learning_rate")]
)
def test_help_about_one_concern(capsys, topic, concern):
    with pytest.raises(SystemExit) as caught:
        train(f"--help={topic}")
    assert caught.value.code == 0
    listed = re.findall(r"^  --(?:\[no\])?(\w+)", capsys.readouterr().out, re.MULTILINE)
    own = [flag.name for flag in FLAGS.values() if flag.concern == concern]
    assert listed == own


def test_help_about_one_flag(capsys):
    with pytest.raises(SystemExit):
        train("--help=batch_size")
    assert capsys.readouterr().out.startswith("  --batch_size=INT\n      ")


def test_help_of_the_evaluation_leaves_out_what_it_does_not_have(capsys):
    with pytest.raises(SystemExit):
        evaluate("--help")
    text = capsys.readouterr().out
    assert "--ckpt_scope" in text
    assert "--momentum" not in text
    assert "--train_dir" in text


def test_help_fits_the_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "72")
    with pytest.raises(SystemExit):
        train("--help")
    flags = [line for line in capsys.readouterr().out.split("\n") if line.startswith("  ")]
    assert max(map(len, flags)) <= 72


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_help_answers_without_any_library_but_that_of_the_flags(word):
    program = (
        "import sys; from benchmark_cnn.flags import command_line\n"
        "command_line.parse('train.py', sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, *IMPORT_TIME, "-c", program, word],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout
    others = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert not others
    assert installed_ones(done.stderr) <= {"absl", "_distutils_hack"}


def test_version_names_what_it_runs_on(capsys):
    with pytest.raises(SystemExit) as caught:
        train("--version")
    assert caught.value.code == 0
    line = capsys.readouterr().out
    assert re.fullmatch(
        rf"tensorflow-imagenet {re.escape(__version__)} "
        r"\(tensorflow \d[\w.]+, keras \d[\w.]+, Python 3\.[\w.]+\)\n",
        line,
    )


def test_version_is_that_of_the_project_file():
    text = (ROOT / "pyproject.toml").read_text()
    assert re.findall(r'^version = "(.*)"$', text, re.MULTILINE) == [__version__]
