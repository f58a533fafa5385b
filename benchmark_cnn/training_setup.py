"""From parameters to a run that is ready to start: towers, network, state, step, evaluator."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from benchmark_cnn import run as run_plan
from benchmark_cnn.distribution import devices, variable_mgr
from benchmark_cnn.distribution.devices import Devices
from benchmark_cnn.distribution.variable_mgr import VariableManager
from benchmark_cnn.evaluation import Evaluator
from benchmark_cnn.interfaces import Dataset, Network, NetworkSpec
from benchmark_cnn.params import validation, values
from benchmark_cnn.params.params import Params
from benchmark_cnn.reporting import console
from benchmark_cnn.reporting.console import HeaderFacts
from benchmark_cnn.run import RunPlan, TrainingRun
from benchmark_cnn.step import learning_rate, losses, optimizers, train_state
from benchmark_cnn.step.tower import Tower
from benchmark_cnn.step.training_step import TrainingStep
from common.errors import UsageError


def set_up(
    params: Params,
    spec: NetworkSpec,
    dataset: Dataset,
    *,
    typed: frozenset[str] = frozenset(),
    loss: Callable | None = None,
) -> TrainingRun:
    """Build the run that `params` describes, and print its header.

    Variables have their initial values.

    Args:
      spec: the network's entry in its registry: name, image_size, batch_size, learning_rate and
        `build(num_classes=..., image_size=..., dtype=..., data_format=..., sync_batch_norm=...)`.
      dataset: train_batches, eval_batches, num_examples, num_classes.
      loss: (ForwardResult, labels) -> (cross entropy, auxiliary cross entropy); the classification
        loss when None.
    """
    run_devices, manager = make_manager(params, typed)
    image_size = params.network.image_size or spec.image_size
    plan = run_plan.make_plan(
        params.run,
        batch_per_tower=params.data.batch_size or spec.batch_size,
        num_towers=manager.num_towers,
        examples_per_epoch=dataset.num_examples(_subset(params)),
        synthetic=dataset.synthetic,
        is_kept=params.checkpoint.train_dir is not None,
    )
    console.log(*console.header_lines(_header_facts(params, spec, dataset, run_devices, plan)))
    console.log(console.GENERATING_TRAINING_MODEL)
    network = build_network(params, spec, dataset, manager)
    optimizer = optimizers.make_optimizer(params.optimization)
    state = train_state.create(
        manager,
        network,
        slot_values={} if params.run.forward_only else optimizer.slots,
        with_averages=params.optimization.moving_average_decay is not None,
        initial_loss_scale=params.optimization.fp16_loss_scale if _is_float16(params) else None,
    )
    tower = Tower(
        network,
        loss or losses.classification_loss(params.optimization.label_smoothing),
        # A mixture is for training; measuring the forward pass alone needs none.
        augment=None if params.run.forward_only else dataset.batch_augmentation,
        xla_compile=params.hardware.xla_compile,
        forward_only=params.run.forward_only,
    )
    step = _make_step(params, spec, plan, manager, tower, state, optimizer)
    evaluator = Evaluator(
        manager,
        network,
        dataset,
        batch_size=plan.batch_per_tower,
        image_size=image_size,
        max_lost=params.data.max_corrupt_records,
    )
    return TrainingRun(
        params, spec, dataset, run_devices, manager, plan, image_size, state, step, evaluator
    )


def _is_float16(params: Params) -> bool:
    """Whether gradients may leave the range of their type, so that the loss has to be scaled."""
    return params.network.dtype == "float16"


def _subset(params: Params) -> str:
    """The subset that is trained on."""
    return params.data.data_subset or "train"


def make_manager(
    params: Params, typed: frozenset[str] = frozenset()
) -> tuple[Devices, VariableManager]:
    """The devices and the variable manager of `params`, checked by a known all-reduce."""
    hardware = params.hardware
    run_devices = devices.prepare(hardware)
    lines = validation.device_problems(params, run_devices.kind, typed)
    if lines:
        raise UsageError("\n".join(lines))
    manager = variable_mgr.make(
        hardware.variable_update,
        run_devices.towers,
        parameter_device=run_devices.parameter_device,
        spec=values.parse(hardware.all_reduce_spec, run_devices.kind),
    )
    manager.check_sum()
    return run_devices, manager


def build_network(
    params: Params, spec: NetworkSpec, dataset: Dataset, manager: VariableManager
) -> Network:
    """The network on the manager's devices, initialized from the run's seed."""
    num_classes = params.network.num_classes or dataset.num_classes
    if num_classes < dataset.num_classes:
        raise UsageError(
            f"--num_classes={num_classes} is less than the {dataset.num_classes} classes of "
            f"{dataset.name}; leave it out"
        )
    # Initializers draw from TensorFlow's global seed, Keras' own from its random state.
    tf.keras.utils.set_random_seed(params.hardware.tf_random_seed)
    with manager.scope():
        return spec.build(
            num_classes=num_classes,
            image_size=params.network.image_size or spec.image_size,
            dtype=params.network.dtype,
            data_format=params.network.data_format,
            sync_batch_norm=params.network.sync_batch_norm,
        )


def _header_facts(params, spec, dataset, run_devices: Devices, plan: RunPlan) -> HeaderFacts:
    run = params.run
    evaluates = run.eval_every_epochs is not None or run.eval_every_steps is not None
    mode = "training + evaluation" if evaluates else "training"
    spec_of_reduce = values.parse(params.hardware.all_reduce_spec, run_devices.kind)
    return HeaderFacts(
        tensorflow_version=tf.__version__,
        model=spec.name,
        dataset=dataset.name,
        synthetic=dataset.synthetic,
        mode="forward only" if run.forward_only else mode,
        batch_size_per_device=plan.batch_per_tower,
        num_devices=plan.num_towers,
        accumulation_steps=plan.micro_batches,
        num_batches=plan.total_steps - plan.warmup_steps,
        num_epochs=plan.num_epochs,
        devices=run_devices.towers,
        data_format=params.network.data_format,
        optimizer=params.optimization.optimizer,
        variables=params.hardware.variable_update,
        all_reduce=params.hardware.all_reduce_spec or spec_of_reduce.algorithm,
    )


def _make_step(params, spec, plan, manager, tower, state, optimizer) -> TrainingStep:
    optimization = params.optimization
    schedule = learning_rate.make_schedule(
        params.learning_rate,
        default_learning_rate=spec.learning_rate,
        global_batch=plan.global_batch,
        examples_per_epoch=plan.examples_per_epoch,
        total_steps=plan.total_steps,
    )
    network = tower.network
    return TrainingStep(
        manager=manager,
        tower=tower,
        state=state,
        optimizer=optimizer,
        schedule=schedule,
        weight_decay=optimization.weight_decay,
        decayed=losses.decayed_names(network.decayed, optimization.weight_decay_exclude),
        decoupled_weight_decay=optimization.decoupled_weight_decay,
        gradient_clip=optimization.gradient_clip,
        gradient_clip_mode=optimization.gradient_clip_mode,
        moving_average_decay=optimization.moving_average_decay,
        global_batch=plan.global_batch,
        seed=params.hardware.tf_random_seed,
        guards=_is_float16(params) or params.run.on_nonfinite == "skip",
        increase_loss_scale_every=optimization.fp16_inc_loss_scale_every_n,
    )
