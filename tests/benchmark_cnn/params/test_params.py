"""Parameters as a library: values are checked, copies are made, parameters.json is read back."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import subprocess
import sys

import pytest

from benchmark_cnn.params import params as params_module
from benchmark_cnn.params.params import (
    CONCERNS,
    FLAGS,
    ExplicitFlags,
    Params,
    read_parameters,
    write_parameters,
)
from benchmark_cnn.params.validation import inherit, make_params, replace
from common.errors import DataError, UsageError

ROOT = pathlib.Path(params_module.__file__).resolve().parents[2]


def lines_of(**flat) -> list[str]:
    with pytest.raises(UsageError) as caught:
        make_params(**flat)
    return str(caught.value).split("\n")


def test_defaults_that_users_of_the_original_programs_know():
    # The defaults that tf_cnn_benchmarks and tf-imagenet share and that were not changed.
    known = {
        "model": "trivial", "num_gpus": 1, "resize_method": "bilinear", "tf_random_seed": 1234,
        "display_every": 10, "momentum": 0.9, "rmsprop_decay": 0.9, "rmsprop_momentum": 0.9,
        "rmsprop_epsilon": 1.0, "gradient_clip": None,
        "label_smoothing": 0.0, "moving_average_decay": None, "data_dir": None, "train_dir": None,
    }  # fmt: skip
    defaults = Params().to_dict()
    assert {name: defaults[name] for name in known} == known
    assert Params().optimization.decay == 0.00004


def test_adam_has_the_defaults_of_its_paper():
    # Kingma and Ba, arXiv:1412.6980, algorithm 1.
    optimization = make_params(optimizer="adam").optimization
    values = (optimization.adam_beta1, optimization.adam_beta2, optimization.adam_epsilon)
    assert values == (0.9, 0.999, 1e-8)


def test_field_names_are_unique_across_concerns():
    fields = [field.name for group in CONCERNS.values() for field in dataclasses.fields(group)]
    assert len(fields) == len(set(fields)) == len(FLAGS)


def test_every_flag_has_a_sentence_and_every_none_a_meaning():
    for flag in FLAGS.values():
        assert flag.help.endswith("."), flag.name
        assert len(flag.help) < 200, flag.name
        assert bool(flag.when_none) == (flag.default is None), flag.name
        assert flag.optional == (flag.default is None), flag.name


def test_help_says_that_the_batch_is_per_tower():
    assert "PER TOWER" in FLAGS["batch_size"].help


def test_values_arrive_in_their_concern():
    params = make_params(model="lenet", num_gpus=8, optimizer="rmsprop", rmsprop_decay=0.95)
    assert params.network.model == "lenet"
    assert params.hardware.num_gpus == 8
    assert params.optimization.rmsprop_decay == 0.95


def test_parameters_cannot_be_changed_in_place():
    params = make_params()
    with pytest.raises(dataclasses.FrozenInstanceError):
        params.network.model = "lenet"  # type: ignore[misc]


def test_an_integer_serves_where_a_number_is_expected():
    epochs = make_params(num_epochs=3).run.num_epochs
    assert epochs == 3.0
    assert isinstance(epochs, float)


@pytest.mark.parametrize(
    ("flat", "line"),
    [
        (
            {"batch_size": 0},
            "--batch_size=0 must be at least 1; leave the flag out for the model's",
        ),
        ({"batch_size": 2.5}, "--batch_size=2.5 is not an integer"),
        ({"num_gpus": True}, "--num_gpus=True is not an integer"),
        ({"num_gpus": 65}, "--num_gpus=65 must be at least 1 and at most 64"),
        ({"num_gpus": None}, "--num_gpus=None is not an integer"),
        (
            {"num_epochs": 0},
            "--num_epochs=0 must be above 0; leave the flag out for the length of num_batches",
        ),
        ({"lars_epsilon": -1e-9}, "--lars_epsilon=-1e-09 must be at least 0"),
        ({"lars_epsilon": float("nan")}, "--lars_epsilon=nan must be at least 0"),
        ({"lars_epsilon": float("inf")}, "--lars_epsilon=inf must be at least 0"),
        (
            {"num_batches": 10**23},
            f"--num_batches={10**23} is too large: at most 1e+12 is possible",
        ),
        (
            {"learning_rate": 1e39},
            "--learning_rate=1e+39 is too large: at most 3.4e+38 is possible",
        ),
        (
            {"learning_rate_cycle_epochs": 1e13, "learning_rate_schedule": "cosine_restarts"},
            "--learning_rate_cycle_epochs=10000000000000.0 is too large: at most 1e+12 is possible",
        ),
        (
            {"image_size_schedule": "100000:0"},
            "--image_size_schedule=100000:0 is not SIZE:EPOCH,SIZE:EPOCH,..., for example "
            "128:0,160:6,192:12",
        ),
        (
            {"piecewise_learning_rate_schedule": "0.1;1e300;0.01"},
            "--piecewise_learning_rate_schedule=0.1;1e300;0.01 has 1e300, which is too large: at "
            "most 1e+12 is possible",
        ),
        (
            {"distillation_temperature": 1e-3, "teacher": "published"},
            "--distillation_temperature=0.001 must be at least 0.01 and at most 1000",
        ),
        ({"weight_decay": "0.1"}, "--weight_decay=0.1 is not a number"),
        ({"label_smoothing": 1.0}, "--label_smoothing=1.0 must be at least 0 and below 1"),
        ({"momentum": 1}, "--momentum=1 must be at least 0 and below 1"),
        ({"deterministic": 1}, "--deterministic=1 is not true or false"),
        (
            {"crop_area": "0.5,2"},
            "--crop_area=0.5,2 needs parts of the image's area, of which 1 is the whole",
        ),
        (
            {"crop_area": "0.5,0.5"},
            "--crop_area=0.5,0.5 needs room to draw from, or 1,1 for the whole image",
        ),
        (
            {"crop_ratio": "2,1"},
            "--crop_ratio=2,1 needs finite numbers above 0, the smaller one first",
        ),
        (
            {"crop_ratio": "1"},
            '--crop_ratio=1 is not "smallest,largest", for example 0.75,1.33',
        ),
        ({"model": ""}, "--model= is empty; give a value or leave the flag out"),
        ({"model": 7}, "--model=7 is not a string"),
        ({"lerning_rate": 1}, "unknown parameter lerning_rate; did you mean learning_rate?"),
        ({"zzz": 1}, "unknown parameter zzz"),
        (
            {"moving_average_decay": 1.0},
            "--moving_average_decay=1.0 must be at least 0 and below 1; "
            "leave the flag out for no average",
        ),
        (
            {"optimizer": "momentun"},
            "--optimizer=momentun is not one of sgd, momentum, rmsprop, adam, adamw, lars, "
            "lamb, lion; "
            "did you mean momentum?",
        ),
        (
            {"resize_method": "crop"},
            "--resize_method=crop is gone (it failed in the original programs); "
            "use --resize_method=bilinear",
        ),
    ],
)  # fmt: skip
def test_a_value_that_its_field_cannot_hold(flat, line):
    assert lines_of(**flat) == [line]


@pytest.mark.parametrize(
    "flat",
    [
        {"batch_size": 1}, {"num_gpus": 64}, {"num_epochs": 1e-6}, {"weight_decay": 0.0},
        {"label_smoothing": 0.999}, {"momentum": 0}, {"moving_average_decay": 0.9999},
        {"batch_size": None}, {"tf_random_seed": 0}, {"gpu_indices": ""}, {"save_model_secs": 0},
    ],
)  # fmt: skip
def test_a_value_at_the_edge_is_held(flat):
    ((name, value),) = flat.items()
    assert make_params(**flat).to_dict()[name] == value


def test_all_wrong_values_are_reported_together():
    lines = lines_of(batch_size=0, optimizer="sdg", foo=1)
    assert [line.split()[0] for line in lines] == ["--batch_size=0", "--optimizer=sdg", "unknown"]


def test_values_that_do_not_go_together_are_reported_together():
    lines = lines_of(num_batches=1, num_epochs=1, optimizer="sgd", momentum=0.5)
    assert lines == [
        "--num_batches and --num_epochs exclude each other; give one of them",
        "--momentum has no effect with --optimizer=sgd; use --optimizer=momentum",
    ]


def test_a_default_value_is_not_taken_for_a_wish():
    # 0.9 is the default: a caller who passes every value asks nothing of sgd.
    assert make_params(optimizer="sgd", momentum=0.9).optimization.optimizer == "sgd"


def test_replace_changes_a_copy_and_checks_it():
    before = make_params(model="lenet")
    after = replace(before, batch_size=8)
    assert (after.network.model, after.data.batch_size) == ("lenet", 8)
    assert before.data.batch_size is None
    with pytest.raises(UsageError, match="--batch_size=-1 must be at least 1"):
        replace(before, batch_size=-1)
    with pytest.raises(UsageError, match="exclude each other"):
        replace(make_params(num_batches=5), num_epochs=1)


def test_dictionary_round_trip():
    params = make_params(model="lenet", num_epochs=0.1, gradient_clip=5, deterministic=True)
    assert Params.from_dict(params.to_dict()) == params


def test_parameters_json_round_trip(tmp_path, caplog):
    params = make_params(
        train_dir=str(tmp_path),
        piecewise_learning_rate_schedule="0.1;30;0.01",
        weight_decay=1e-5,
        adam_epsilon=0.1 + 0.2,
        optimizer="adam",
    )
    write_parameters(params, tmp_path)
    assert read_parameters(tmp_path) == params
    assert caplog.messages == []
    assert [path.name for path in tmp_path.iterdir()] == ["parameters.json"]


def test_parameters_json_is_flat_and_readable(tmp_path):
    write_parameters(make_params(model="lenet"), tmp_path)
    flat = json.loads((tmp_path / "parameters.json").read_text())
    assert flat["model"] == "lenet"
    assert flat["data_dir"] is None
    assert set(flat) == set(FLAGS)


def test_parameters_of_another_version_are_read_with_a_warning(tmp_path, caplog):
    flat = make_params(model="lenet").to_dict()
    del flat["learning_rate_power"]
    flat |= {"manifold_mixup": 0.2, "cutmix": True}
    (tmp_path / "parameters.json").write_text(json.dumps(flat))
    assert read_parameters(tmp_path) == make_params(model="lenet")
    assert caplog.messages == ["parameters of another version left out: cutmix, manifold_mixup"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "is damaged"),
        ("[1, 2]", "does not hold names and values"),
        ('{"batch_size": "many"}', "--batch_size=many is not an integer"),
    ],
)
def test_a_damaged_parameters_json_is_an_error_of_the_data(tmp_path, text, complaint):
    (tmp_path / "parameters.json").write_text(text)
    with pytest.raises(DataError, match=complaint) as caught:
        read_parameters(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_directory_without_parameters_is_named(tmp_path):
    with pytest.raises(DataError, match=r"No such file.*is it a run's directory"):
        read_parameters(tmp_path / "nothing")


def test_an_evaluation_inherits_model_and_data_but_not_hardware_or_batch():
    run = make_params(
        model="lenet", data_dir="/data", data_name="digits", image_size=32, batch_size=64,
        num_gpus=8, dtype="bfloat16", eval_method="inception", train_dir="/run",
    )  # fmt: skip
    own = make_params(train_dir="/run", model="resnet50", batch_size=4)
    evaluation = inherit(ExplicitFlags(own, frozenset({"train_dir", "batch_size"})), run)
    assert evaluation.network.model == "lenet"
    assert evaluation.network.image_size == 32
    assert evaluation.network.dtype == "bfloat16"
    assert evaluation.data.data_dir == "/data"
    assert evaluation.data.data_name == "digits"
    assert evaluation.data.eval_method == "inception"
    assert evaluation.data.batch_size == 4
    assert evaluation.hardware.num_gpus == 1


def test_what_the_user_types_wins_over_the_run():
    run = make_params(model="lenet", data_dir="/far", train_dir="/run")
    own = make_params(train_dir="/run", data_dir="/near")
    evaluation = inherit(ExplicitFlags(own, frozenset({"data_dir"})), run)
    assert evaluation.data.data_dir == "/near"
    assert evaluation.network.model == "lenet"


def test_another_data_set_is_not_read_from_the_directory_of_the_run():
    run = make_params(model="lenet", data_dir="/data", data_name="digits", train_dir="/run")

    def named(name, **flags):
        own = make_params(train_dir="/run", data_name=name, **flags)
        return inherit(ExplicitFlags(own, frozenset({"data_name", *flags})), run).data

    with pytest.raises(UsageError, match=r"--data_name=cifar10: /data, the run's data, is digits;"):
        named("cifar10")
    assert named("digits").data_dir == "/data"
    assert named("cifar10", data_dir="/others").data_name == "cifar10"


def test_the_modules_of_the_command_line_import_no_numerical_library():
    program = (
        "import sys\n"
        "import benchmark_cnn.flags.command_line, benchmark_cnn.params.params\n"
        "import benchmark_cnn.params.validation\n"
        "heavy = {'tensorflow', 'keras', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_full_disk_is_reported_in_a_line(tmp_path):
    (tmp_path / ".parameters.json.partial").symlink_to("/dev/full")
    with pytest.raises(
        DataError, match=r"cannot write .*parameters\.json: No space left on device"
    ):
        write_parameters(make_params(), tmp_path)
