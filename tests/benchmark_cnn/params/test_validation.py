"""Which flags go together: each rule catches a bad command line and passes the nearest good one."""

from __future__ import annotations

import inspect
import re
import shlex

import pytest

from benchmark_cnn.flags import command_line
from benchmark_cnn.params import validation
from benchmark_cnn.params.params import FLAGS, ExplicitFlags
from benchmark_cnn.params.rules import data_rules, optimization_rules, training_rules
from benchmark_cnn.params.validation import make_params
from common.errors import UsageError

FLAG_IN_LINE = re.compile(r"--([a-z][a-z0-9_]*)")


def problems(command: str, program="train.py") -> list[str]:
    try:
        command_line.parse(program, shlex.split(command))
    except UsageError as error:
        return str(error).split("\n")
    return []


# (a command line that cannot be meant, what is said, the nearest one that can)
PAIRS = [
    (
        "--num_batches=5 --num_epochs=1",
        "--num_batches and --num_epochs exclude each other; give one of them",
        "--num_batches=5 --num_epochs=None",
    ),
    (
        "--eval_every_epochs=1 --eval_every_steps=10",
        "--eval_every_epochs and --eval_every_steps exclude each other; give one of them",
        "--eval_every_steps=10",
    ),
    (
        "--stop_at_top_1_accuracy=0.75",
        "--stop_at_top_1_accuracy needs --eval_every_epochs or --eval_every_steps",
        "--stop_at_top_1_accuracy=0.75 --eval_every_epochs=1",
    ),
    (
        "--num_warmup_batches=5 --train_dir=run",
        "--num_warmup_batches is for benchmarks and cannot be used with --train_dir; a training "
        "run warms up its learning rate with --num_learning_rate_warmup_epochs",
        "--num_warmup_batches=5",
    ),
    (
        "--steps_per_loop=4",
        "--steps_per_loop=4 does not divide --display_every=10; make the latter a multiple",
        "--steps_per_loop=5",
    ),
    (
        "--steps_per_loop=10 --save_model_steps=25 --train_dir=run",
        "--steps_per_loop=10 does not divide --save_model_steps=25; make the latter a multiple",
        "--steps_per_loop=10 --save_model_steps=30 --train_dir=run",
    ),
    (
        "--steps_per_loop=10 --eval_every_steps=15",
        "--steps_per_loop=10 does not divide --eval_every_steps=15; make the latter a multiple",
        "--steps_per_loop=10 --eval_every_steps=20",
    ),
    (
        "--steps_per_loop=10 --save_summaries_steps=5 --train_dir=run",
        "--steps_per_loop=10 does not divide --save_summaries_steps=5; make the latter a multiple",
        "--steps_per_loop=5 --save_summaries_steps=5 --train_dir=run",
    ),
    (
        "--forward_only --eval_every_steps=10",
        "--eval_every_steps has no effect with --forward_only, which trains nothing",
        "--noforward_only --eval_every_steps=10",
    ),
    (
        "--forward_only --optimizer=rmsprop",
        "--optimizer has no effect with --forward_only, which trains nothing",
        "--forward_only --xla=towers",
    ),
    (
        "--forward_only --learning_rate=0.1",
        "--learning_rate has no effect with --forward_only, which trains nothing",
        "--forward_only --num_batches=3",
    ),
    (
        "--forward_only --train_dir=run",
        "--train_dir has no effect with --forward_only, which trains nothing",
        "--train_dir=run",
    ),
    (
        "--learning_rate_schedule=exponential --num_epochs_per_decay=2.4",
        "--learning_rate_schedule=exponential needs --learning_rate_decay_factor",
        "--num_epochs_per_decay=2.4 --learning_rate_decay_factor=0.97",
    ),
    (
        "--num_epochs_per_decay=2.4",
        "--num_epochs_per_decay needs --learning_rate_decay_factor",
        "--num_epochs_per_decay=None",
    ),
    (
        "--learning_rate_decay_factor=0.97",
        "--learning_rate_decay_factor needs --num_epochs_per_decay",
        "--learning_rate_decay_factor=0.97 --num_epochs_per_decay=2.4",
    ),
    (
        "--minimum_learning_rate=1e-5",
        "--minimum_learning_rate needs --num_epochs_per_decay and --learning_rate_decay_factor",
        "--minimum_learning_rate=1e-5 --num_epochs_per_decay=2 --learning_rate_decay_factor=0.9",
    ),
    (
        "--learning_rate_schedule=cosine --num_epochs_per_decay=2",
        "--num_epochs_per_decay has no effect with --learning_rate_schedule=cosine",
        "--learning_rate_schedule=cosine --learning_rate_end=0.001",
    ),
    (
        "--learning_rate_schedule=cosine --learning_rate_power=1",
        "--learning_rate_power has no effect with --learning_rate_schedule=cosine",
        "--learning_rate_schedule=polynomial --learning_rate_power=1",
    ),
    (
        "--learning_rate_end=0.001",
        "--learning_rate_end needs --learning_rate_schedule=cosine or polynomial",
        "--learning_rate_schedule=polynomial --learning_rate_end=0.001",
    ),
    (
        "--learning_rate_schedule=piecewise",
        "--learning_rate_schedule=piecewise needs --piecewise_learning_rate_schedule",
        "--learning_rate_schedule=piecewise --piecewise_learning_rate_schedule='1;2;0.1'",
    ),
    (
        "--learning_rate_schedule=constant --piecewise_learning_rate_schedule='1;2;0.1'",
        "--piecewise_learning_rate_schedule has no effect with --learning_rate_schedule=constant",
        "--piecewise_learning_rate_schedule='1;2;0.1'",
    ),
    (
        "--learning_rate_schedule=cosine_restarts",
        "--learning_rate_schedule=cosine_restarts needs --learning_rate_cycle_epochs",
        "--learning_rate_schedule=cosine_restarts --learning_rate_cycle_epochs=10",
    ),
    (
        "--learning_rate_cycle_epochs=10",
        "--learning_rate_cycle_epochs needs --learning_rate_schedule=cosine_restarts",
        "--learning_rate_schedule=cosine_restarts --learning_rate_cycle_epochs=10",
    ),
    (
        "--learning_rate_schedule=plateau --eval_every_epochs=1",
        "--learning_rate_schedule=plateau needs --learning_rate_decay_factor",
        "--learning_rate_schedule=plateau --eval_every_epochs=1 --learning_rate_decay_factor=0.1",
    ),
    (
        "--learning_rate_schedule=plateau --learning_rate_decay_factor=0.1",
        "--learning_rate_schedule=plateau needs --eval_every_epochs or --eval_every_steps",
        "--learning_rate_schedule=plateau --eval_every_epochs=1 --learning_rate_decay_factor=0.1",
    ),
    (
        "--learning_rate_schedule=cosine --learning_rate_patience_epochs=3",
        "--learning_rate_patience_epochs has no effect with --learning_rate_schedule=cosine",
        "--learning_rate_schedule=plateau --learning_rate_patience_epochs=3 "
        "--learning_rate_decay_factor=0.1 --eval_every_steps=10",
    ),
    (
        "--bce_target_threshold=0.2 --mixup_alpha=0.1",
        "--bce_target_threshold=0.2 needs --loss=bce",
        "--bce_target_threshold=0.2 --mixup_alpha=0.1 --loss=bce",
    ),
    (
        "--bce_target_threshold=0.2 --loss=bce",
        "--bce_target_threshold=0.2 needs --mixup_alpha or --cutmix_alpha, whose mixtures it is "
        "for",
        "--bce_target_threshold=0.2 --cutmix_alpha=1 --loss=bce",
    ),
    (
        "--bce_target_threshold=0.2 --cutmix_alpha=1 --loss=bce --label_smoothing=0.1",
        "--label_smoothing has no effect with --bce_target_threshold=0.2, with which a target is "
        "0 or 1",
        "--cutmix_alpha=1 --loss=bce --label_smoothing=0.1",
    ),
    (
        "--moving_average_start_epoch=5",
        "--moving_average_start_epoch has no effect without --moving_average_decay",
        "--moving_average_start_epoch=5 --moving_average_decay=0.999",
    ),
    (
        "--forward_only --recompute",
        "--recompute has no effect with --forward_only, which trains nothing",
        "--recompute",
    ),
    (
        "--piecewise_learning_rate_schedule='1;2;0.1' --learning_rate=1",
        "--learning_rate has no effect with --piecewise_learning_rate_schedule, which holds the "
        "rates itself",
        "--piecewise_learning_rate_schedule='1;2;0.1' --num_learning_rate_warmup_epochs=1",
    ),
    (
        "--piecewise_learning_rate_schedule='1;2'",
        "--piecewise_learning_rate_schedule=1;2 has 2 parts; an odd number is needed: "
        "LR;epoch;LR;...;LR, for example 0.1;30;0.01;60;0.001",
        "--piecewise_learning_rate_schedule=1",
    ),
    (
        "--piecewise_learning_rate_schedule='1;60;.1;30;.01'",
        "--piecewise_learning_rate_schedule=1;60;.1;30;.01 has epochs that do not rise: 60, 30",
        "--piecewise_learning_rate_schedule='1;30.5;.1;60;.01'",
    ),
    (
        "--piecewise_learning_rate_schedule='1;two;.1'",
        "--piecewise_learning_rate_schedule=1;two;.1 has 'two' where a number belongs",
        "--piecewise_learning_rate_schedule='1;2;.1'",
    ),
    (
        "--piecewise_learning_rate_schedule='1;2;-.1'",
        "--piecewise_learning_rate_schedule=1;2;-.1 has -.1 where a number from 0 up belongs",
        "--piecewise_learning_rate_schedule='1;2;0'",
    ),
    (
        "--learning_rate=0.1 --minimum_learning_rate=0.2 --num_epochs_per_decay=1 "
        "--learning_rate_decay_factor=0.5",
        "--minimum_learning_rate=0.2 is above --learning_rate=0.1; the learning rate starts "
        "below its minimum",
        "--learning_rate=0.1 --minimum_learning_rate=0.1 --num_epochs_per_decay=1 "
        "--learning_rate_decay_factor=0.5",
    ),
    (
        "--optimizer=sgd --momentum=0.9",
        "--momentum has no effect with --optimizer=sgd; use --optimizer=momentum",
        "--optimizer=momentum --momentum=0.9",
    ),
    (
        "--optimizer=rmsprop --momentum=0.9",
        "--momentum has no effect with --optimizer=rmsprop; use --rmsprop_momentum",
        "--optimizer=rmsprop --rmsprop_momentum=0.9",
    ),
    (
        "--optimizer=lars --nesterov",
        "--nesterov has no effect with --optimizer=lars; use --optimizer=momentum",
        "--optimizer=lars --nonesterov",
    ),
    (
        "--gradient_clip_mode=value",
        "--gradient_clip_mode has no effect without --gradient_clip",
        "--gradient_clip_mode=value --gradient_clip=1",
    ),
    (
        "--weight_decay=0 --weight_decay_exclude=bias",
        "--weight_decay_exclude has no effect with --weight_decay=0",
        "--weight_decay=1e-9 --weight_decay_exclude=bias",
    ),
    (
        "--weight_decay=0 --decoupled_weight_decay",
        "--decoupled_weight_decay has no effect with --weight_decay=0",
        "--decoupled_weight_decay",
    ),
    (
        "--weight_decay_exclude='(bias'",
        "--weight_decay_exclude=(bias is not a regular expression: missing ), unterminated "
        "subpattern at position 0",
        "--weight_decay_exclude='(bias)'",
    ),
    (
        "--optimizer=lars --decoupled_weight_decay",
        "--decoupled_weight_decay cannot be used with --optimizer=lars, which decays weights in "
        "its own way",
        "--optimizer=adam --decoupled_weight_decay",
    ),
    (
        "--optimizer=lamb --decoupled_weight_decay",
        "--decoupled_weight_decay cannot be used with --optimizer=lamb, which decays weights in "
        "its own way",
        "--optimizer=lamb --weight_decay=0.1",
    ),
    (
        "--optimizer=adamw --decoupled_weight_decay",
        "--decoupled_weight_decay has no effect with --optimizer=adamw, whose weight decay is "
        "always decoupled",
        "--optimizer=adamw --weight_decay=0.1",
    ),
    (
        "--optimizer=lion --adam_beta2=0.95",
        "--adam_beta2 has no effect with --optimizer=lion; use --lion_beta2",
        "--optimizer=lion --lion_beta2=0.95",
    ),
    (
        "--optimizer=lamb --adam_epsilon=1e-6",
        "--adam_epsilon has no effect with --optimizer=lamb; use --lamb_epsilon",
        "--optimizer=lamb --lamb_epsilon=1e-6",
    ),
    (
        "--fp16_loss_scale=128",
        "--fp16_loss_scale has no effect with --dtype=float32; it belongs to --dtype=float16",
        "--fp16_loss_scale=128 --use_fp16",
    ),
    (
        "--dtype=bfloat16 --fp16_inc_loss_scale_every_n=10",
        "--fp16_inc_loss_scale_every_n has no effect with --dtype=bfloat16; it belongs to "
        "--dtype=float16",
        "--dtype=float16 --fp16_inc_loss_scale_every_n=10",
    ),
    (
        "--local_parameter_device=cpu",
        "--local_parameter_device has no effect with --variable_update=replicated; it belongs to "
        "--variable_update=parameter_server",
        "--local_parameter_device=cpu --variable_update=parameter_server",
    ),
    (
        "--variable_update=parameter_server --all_reduce_spec=nccl",
        "--all_reduce_spec has no effect with --variable_update=parameter_server; it belongs to "
        "--variable_update=replicated",
        "--variable_update=replicated --all_reduce_spec=nccl",
    ),
    (
        "--all_reduce_spec=nccl --device=cpu",
        "--all_reduce_spec=nccl needs GPUs; towers on the CPU use pscpu",
        "--all_reduce_spec=pscpu --device=cpu",
    ),
    (
        "--all_reduce_spec=hierarchical_copy --device=cpu",
        "--all_reduce_spec=hierarchical_copy needs GPUs; towers on the CPU use pscpu",
        "--all_reduce_spec=hierarchical_copy --device=gpu",
    ),
    (
        "--all_reduce_spec=hierarchical_copy --device=gpu --num_gpus=3",
        "--all_reduce_spec=hierarchical_copy halves the GPUs, and --num_gpus=3 is odd: TensorFlow "
        "would leave the last one out; use nccl",
        "--all_reduce_spec=hierarchical_copy --device=gpu --num_gpus=4",
    ),
    (
        "--xla=step --variable_update=parameter_server",
        "--xla=step cannot be used with --variable_update=parameter_server: each tower updates its "
        "own copies, which is replicated or collective_all_reduce",
        "--xla=step",
    ),
    (
        "--xla=step --summary_verbosity=2 --train_dir=x",
        "--xla=step cannot be used with --summary_verbosity=2: histograms and images are written "
        "within the step; use 1",
        "--xla=step --summary_verbosity=1 --train_dir=x",
    ),
    (
        "--xla=step --forward_only",
        "--xla=step cannot be used with --forward_only; use --xla=towers",
        "--xla=towers --forward_only",
    ),
    (
        "--data_format=NCHW --device=cpu",
        "--data_format=NCHW needs a GPU; with --device=cpu use --data_format=NHWC",
        "--data_format=NCHW --device=auto",
    ),
    (
        "--gpu_indices=0 --device=cpu",
        "--gpu_indices has no effect with --device=cpu",
        "--gpu_indices=0 --device=gpu",
    ),
    (
        "--local_parameter_device=gpu --variable_update=parameter_server --device=cpu",
        "--local_parameter_device=gpu needs a GPU; with --device=cpu use cpu",
        "--local_parameter_device=cpu --variable_update=parameter_server --device=cpu",
    ),
    (
        "--allow_memory_growth --device=cpu",
        "--allow_memory_growth has no effect with --device=cpu",
        "--noallow_memory_growth --device=cpu",
    ),
    (
        "--tf32 --device=cpu",
        "--tf32 has no effect with --device=cpu",
        "--notf32 --device=gpu",
    ),
    (
        "--gpu_indices=0,1 --num_gpus=4",
        "--gpu_indices=0,1 names 2 GPUs but --num_gpus=4; make them agree",
        "--gpu_indices=1,0 --num_gpus=2",
    ),
    (
        "--gpu_indices=1,1 --num_gpus=2",
        "--gpu_indices=1,1 names a GPU twice",
        "--gpu_indices=1,2 --num_gpus=2",
    ),
    (
        "--gpu_indices=0-1 --num_gpus=2",
        "--gpu_indices=0-1 is not a list of GPU numbers, for example 0,2,1,3",
        "--gpu_indices='0, 1' --num_gpus=2",
    ),
    (
        "--augment=color",
        "--augment has no effect without --data_dir: the images are synthetic",
        "--augment=color --data_dir=data",
    ),
    (
        "--resize_method=area",
        "--resize_method has no effect without --data_dir: the images are synthetic",
        "--resize_method=area --data_dir=data",
    ),
    (
        "--resize_kernels=tf2",
        "--resize_kernels has no effect without --data_dir: the images are synthetic",
        "--resize_kernels=tf2 --data_dir=data",
    ),
    (
        "--resize_kernels=tf2 --resize_method=area --data_dir=data",
        "--resize_kernels has no effect with --resize_method=area, which has one kernel",
        "--resize_kernels=tf2 --resize_method=round_robin --data_dir=data",
    ),
    (
        "--eval_crop_fraction=0.875 --data_dir=data",
        "--eval_crop_fraction has no effect with --eval_method=vgg; it belongs to "
        "--eval_method=efficientnet",
        "--eval_crop_fraction=0.875 --eval_method=efficientnet --data_dir=data",
    ),
    (
        "--randaugment_magnitude=5 --data_dir=data",
        "--randaugment_magnitude has no effect with --augment=none; it belongs to "
        "--augment=randaugment",
        "--randaugment_magnitude=5 --augment=randaugment --data_dir=data",
    ),
    (
        "--randaugment_num_layers=3 --augment=autoaugment --data_dir=data",
        "--randaugment_num_layers has no effect with --augment=autoaugment; it belongs to "
        "--augment=randaugment",
        "--randaugment_num_layers=3 --augment=randaugment --data_dir=data",
    ),
    (
        "--mixup_alpha=0.2 --batch_size=1",
        "--mixup_alpha has no effect with --batch_size=1: a tower mixes the images of its own "
        "batch",
        "--mixup_alpha=0.2 --batch_size=2",
    ),
    (
        "--cutmix_alpha=1 --forward_only",
        "--cutmix_alpha has no effect with --forward_only, which trains nothing",
        "--cutmix_alpha=1 --mixup_alpha=0.1 --random_erasing=0.25",
    ),
    (
        "--random_erasing=0.25 --forward_only",
        "--random_erasing has no effect with --forward_only, which trains nothing",
        "--random_erasing=0 --forward_only",
    ),
    (
        "--datasets_repeat_cached_sample --shuffle_buffer=5 --data_dir=data",
        "--shuffle_buffer has no effect with --datasets_repeat_cached_sample, which reads 1,024 "
        "records",
        "--datasets_repeat_cached_sample --data_dir=data",
    ),
    (
        "--keep_checkpoints=3",
        "--keep_checkpoints has no effect without --train_dir: nothing is saved",
        "--keep_checkpoints=3 --train_dir=run",
    ),
    (
        "--save_model_secs=60",
        "--save_model_secs has no effect without --train_dir: nothing is saved",
        "--save_model_secs=0",
    ),
    (
        "--fresh",
        "--fresh has no effect without --train_dir: nothing is saved",
        "--fresh --train_dir=run",
    ),
    (
        "--summary_verbosity=2",
        "--summary_verbosity has no effect without --train_dir: nothing is saved",
        "--summary_verbosity=0",
    ),
    (
        "--profile_steps=10 --train_dir=run",
        '--profile_steps=10 is not "first,last", for example 10,15',
        "--profile_steps=10,15 --train_dir=run",
    ),
    (
        "--profile_steps=15,15 --train_dir=run",
        "--profile_steps=15,15 has a first step that is not before the last",
        "--profile_steps=14,15 --train_dir=run",
    ),
    (
        "--profile_steps=10,15",
        "--profile_steps has no effect without --train_dir: nothing is saved",
        "--profile_steps=10,15 --train_dir=run",
    ),
    (
        "--sync_batch_norm --xla=towers",
        "--sync_batch_norm cannot be used with --xla=towers, which compiles each tower by itself; "
        "leave one of them out",
        "--sync_batch_norm",
    ),
    (
        "--sync_batch_norm --variable_update=independent",
        "--sync_batch_norm cannot be used with --variable_update=independent, whose towers "
        "exchange nothing; use --variable_update=replicated",
        "--sync_batch_norm --variable_update=parameter_server",
    ),
    (
        "--worker_hosts=a:1,b:1",
        "--worker_hosts has no effect with --variable_update=replicated, which trains on one "
        "machine; use --variable_update=collective_all_reduce",
        "--worker_hosts=a:1,b:1 --task_index=0 --variable_update=collective_all_reduce",
    ),
    (
        "--variable_update=collective_all_reduce --device=cpu --all_reduce_spec=pscpu",
        "--all_reduce_spec=pscpu reduces within one machine; between machines use nccl or ring",
        "--variable_update=collective_all_reduce --device=cpu --all_reduce_spec=ring:1M",
    ),
    (
        "--device=cpu --all_reduce_spec=ring",
        "--all_reduce_spec=ring reduces between machines: use "
        "--variable_update=collective_all_reduce",
        "--device=cpu --all_reduce_spec=pscpu",
    ),
    *(
        (
            f"--variable_update={mode}",
            f"--variable_update={mode} is gone: collective_all_reduce does its job, on one machine "
            "or several",
            "--variable_update=independent",
        )
        for mode in ("distributed_replicated", "distributed_all_reduce", "horovod")
    ),
]


@pytest.mark.parametrize(("bad", "line", "good"), PAIRS, ids=[pair[0] for pair in PAIRS])
def test_a_rule_catches_the_bad_line_and_passes_the_good_one(bad, line, good):
    assert problems(bad) == [line]
    assert problems(good) == []


def test_lines_name_flags_that_exist():
    for _, line, _ in PAIRS:
        assert set(FLAG_IN_LINE.findall(line)) <= set(FLAGS), line


def test_no_rule_is_forgotten():
    # Asked by functions of validation for what is known later: device and kind of data.
    later = {data_rules.on_device, data_rules.with_synthetic_images}
    asked = {
        *later,
        *validation.TRAINING_RULES,
        *validation.EVALUATION_RULES,
        *validation.INHERITED_RULES,
    }
    for module in (data_rules, optimization_rules, training_rules):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            is_rule = function.__module__ == module.__name__ and not name.startswith("_")
            assert not is_rule or function in asked, name


# Which hyper-parameters occur in the update formula of each optimizer.
FORMULAS = {
    "sgd": set(),
    "momentum": {"momentum", "nesterov"},
    "rmsprop": {"rmsprop_decay", "rmsprop_momentum", "rmsprop_epsilon"},
    "adam": {"adam_beta1", "adam_beta2", "adam_epsilon"},
    "lars": {"momentum", "lars_eeta", "lars_epsilon"},
}


@pytest.mark.parametrize("optimizer", FORMULAS)
def test_a_hyper_parameter_goes_with_the_optimizers_whose_formula_has_it(optimizer):
    for name in sorted(set.union(*FORMULAS.values())):
        value = "" if name == "nesterov" else "=0.5"
        lines = problems(f"--optimizer={optimizer} --{name}{value}")
        assert bool(lines) == (name not in FORMULAS[optimizer]), (optimizer, name, lines)


def test_every_contradiction_is_reported():
    run = "--num_batches=1 --num_epochs=1 --fresh"
    optimization = "--optimizer=sgd --momentum=0.5 --gradient_clip_mode=value"
    assert [line.split()[0] for line in problems(f"{run} {optimization}")] == [
        "--num_batches",
        "--momentum",
        "--gradient_clip_mode",
        "--fresh",
    ]


def test_no_wrong_conclusion_from_a_value_that_could_not_be_read():
    # Were the misspelt optimizer taken for the default, rmsprop_decay would seem out of place.
    lines = problems("--optimizer=rmsprob --rmsprop_decay=0.5 --data_dirr=d --augment=color")
    assert [line.split()[0] for line in lines] == ["--optimizer=rmsprob", "unknown"]


@pytest.mark.parametrize(
    "command",
    [
        "",
        "--num_gpus=8 --device=cpu --model=lenet --batch_size=4",
        "--nodistortions --summary_verbosity=0 --save_model_secs=0 --use_fp16=False",
        "--train_dir=r --summary_verbosity=0 --save_summaries_steps=10",  # rows of metrics.csv
        "--data_dir=d --train_dir=r --num_epochs=350 --optimizer=rmsprop --rmsprop_epsilon=0.001 "
        "--learning_rate=0.016 --learning_rate_base_batch=256 --num_epochs_per_decay=2.4 "
        "--learning_rate_decay_factor=0.97 --num_learning_rate_warmup_epochs=5 "
        "--moving_average_decay=0.9999 --label_smoothing=0.1 --train_crop=efficientnet "
        "--eval_every_epochs=1 --weight_decay=1e-5 --num_gpus=8 --sync_batch_norm",
        "--data_dir=d --train_dir=r --num_epochs=90 --optimizer=lars --learning_rate=10 "
        "--learning_rate_schedule=polynomial --num_learning_rate_warmup_epochs=5 "
        "--gradient_accumulation_steps=4 --steps_per_loop=10 --dtype=bfloat16 --xla=step",
    ],
)
def test_command_lines_of_everyday_use_pass(command):
    assert problems(command) == []


def test_a_device_known_later_is_checked_then():
    params = make_params(data_format="NCHW", all_reduce_spec="nccl")
    explicit = frozenset({"data_format", "all_reduce_spec", "allow_memory_growth"})
    given = ExplicitFlags(params, explicit)
    assert validation.errors(given) == []
    validation.check_device(given, "gpu")
    with pytest.raises(UsageError) as caught:
        validation.check_device(given, "cpu")
    assert str(caught.value).split("\n") == [
        "--data_format=NCHW needs a GPU; with --device=cpu use --data_format=NHWC",
        "--all_reduce_spec=nccl needs GPUs; towers on the CPU use pscpu",
        "--allow_memory_growth has no effect with --device=cpu",
    ]


def test_a_named_data_set_may_have_files_without_a_directory():
    command = "--data_name=digits --augment=color"
    assert problems(command) == []
    params, augment = make_params(data_name="digits", augment="color"), frozenset({"augment"})
    with pytest.raises(UsageError) as caught:
        validation.check_synthetic_data(ExplicitFlags(params, augment))
    assert str(caught.value) == (
        "--augment has no effect without --data_dir: the images are synthetic"
    )
    validation.check_synthetic_data(ExplicitFlags(params, augment, from_files=augment))


def test_an_unknown_all_reduce_is_reported_once():
    lines = problems("--all_reduce_spec=xring --device=cpu")
    assert len(lines) == 1
    assert "'xring', which is not one of nccl, hierarchical_copy, psgpu, pscpu" in lines[0]


# Evaluation

PUBLISHED = "--pretrained --model=efficientnet_lite0 --data_dir=data"
EVALUATIONS = [
    (
        "--pretrained --model=efficientnet_lite0",
        "--data_dir is missing: the images to evaluate the published weights on",
        PUBLISHED,
    ),
    (
        "--saved_model=exported",
        "--data_dir is missing: the images to evaluate the SavedModel on",
        "--saved_model=exported --data_name=digits",
    ),
    (
        "--moving_average_decay=0.999",
        "--train_dir is missing: the run directory, or a checkpoint, to evaluate",
        "--moving_average_decay=0.999 --train_dir=run",
    ),
    (
        "--train_dir=run --all_checkpoints --eval_interval_secs=60",
        "--all_checkpoints has no effect with --eval_interval_secs, which evaluates the newest "
        "checkpoint and later ones",
        "--train_dir=run --all_checkpoints --eval_interval_secs=0",
    ),
    (
        f"{PUBLISHED} --eval_interval_secs=60",
        "--eval_interval_secs has no effect with --pretrained, which is one checkpoint",
        PUBLISHED,
    ),
    (
        f"{PUBLISHED} --all_checkpoints",
        "--all_checkpoints has no effect with --pretrained, which is one checkpoint",
        "--train_dir=run --all_checkpoints",
    ),
    (
        "--train_dir=run --ckpt_scope=v",
        "--ckpt_scope=v is not old:new, for example v/cg/:v0/cg/",
        "--train_dir=run --ckpt_scope=v/cg/:v0/cg/",
    ),
    (
        "--train_dir=run --ckpt_scope=:",
        "--ckpt_scope=: is not old:new, for example v/cg/:v0/cg/",
        "--train_dir=run --ckpt_scope=v/:",
    ),
    (
        "--train_dir=run --ckpt_scope=v/:v0/:cg/",
        "--ckpt_scope=v/:v0/:cg/ is not old:new, for example v/cg/:v0/cg/",
        "--train_dir=run --ckpt_scope=:v0/cg/",
    ),
    (
        "--train_dir=run --data_format=NCHW --device=cpu",
        "--data_format=NCHW needs a GPU; with --device=cpu use --data_format=NHWC",
        "--train_dir=run --data_format=NCHW --device=gpu",
    ),
]


@pytest.mark.parametrize(("bad", "line", "good"), EVALUATIONS, ids=[e[0] for e in EVALUATIONS])
def test_rules_of_an_evaluation(bad, line, good):
    assert problems(bad, "eval.py") == [line]
    assert problems(good, "eval.py") == []


def test_data_flags_of_an_evaluation_wait_for_the_runs_data():
    assert problems("--train_dir=run --eval_method=inception", "eval.py") == []
