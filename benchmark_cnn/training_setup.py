"""Builds a run from its parameters: devices, network, state, step, evaluator."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping

import numpy as np
import tensorflow as tf
from absl import logging

from benchmark_cnn.distribution import devices, variable_mgr
from benchmark_cnn.distribution.cluster import Cluster
from benchmark_cnn.distribution.devices import Devices
from benchmark_cnn.distribution.parameter_servers import ParameterServers
from benchmark_cnn.distribution.variable_mgr import VariableManager
from benchmark_cnn.evaluation import Evaluator
from benchmark_cnn.fine_tuning.plan import FineTuning
from benchmark_cnn.fine_tuning.plan import make as make_fine_tuning
from benchmark_cnn.interfaces import Dataset, Network, NetworkSpec
from benchmark_cnn.objective import distillation
from benchmark_cnn.objective.class_weights import NONE, class_weights
from benchmark_cnn.objective.losses import BCE, FOCAL, SOFTMAX, Loss, of_flags
from benchmark_cnn.objective.teacher import Teacher
from benchmark_cnn.params import validation, values
from benchmark_cnn.params.hardware_params import HardwareParams
from benchmark_cnn.params.params import ExplicitFlags, Params
from benchmark_cnn.phases import plan as phase_plan
from benchmark_cnn.reporting import console
from benchmark_cnn.run import (
    RunPlan,
    RunSettings,
    TrainingRun,
    default_rate,
    make_plan,
    resolve_settings,
)
from benchmark_cnn.step import learning_rate, losses, markers, optimizers, train_state
from benchmark_cnn.step.asynchronous_step import AsynchronousStep
from benchmark_cnn.step.tower import Tower
from benchmark_cnn.step.train_state import TrainState
from benchmark_cnn.step.training_step import TrainingStep
from common.errors import UsageError


def set_up(
    params: Params,
    spec: NetworkSpec,
    dataset: Dataset,
    *,
    check_device: Callable[[str], None] | None = None,
    cluster: Cluster | None = None,
    servers: ParameterServers | None = None,
    loss: Callable | Teacher | None = None,
) -> TrainingRun:
    """Builds the run that `params` describes, with initial values, and prints its header.

    Args:
        check_device, cluster, servers: see `make_manager`.
        loss: (ForwardResult, labels) -> (cross entropy, auxiliary); None for that of the flags;
            or the teacher that their loss is about, too.
    """
    run_devices, manager = make_manager(params, check_device, cluster, servers)
    settings = resolve_settings(params, spec, dataset, "train", run_devices.kind)
    plan = make_plan(
        params.run,
        batch_per_tower=settings.batch_size,
        num_towers=manager.num_towers,
        examples_per_epoch=dataset.examples_per_epoch(settings.subset),
        synthetic=dataset.synthetic,
        is_kept=params.checkpoint.train_dir is not None,
    )
    _warn_of_patience(params, plan)
    sizes = phase_plan.image_sizes(settings.train_image_sizes, plan)
    mode, about = _mode(params, settings), phase_plan.about_lines(sizes, settings.image_size)
    lines = console.header_lines(params, spec, dataset, run_devices, plan, mode=mode)
    console.log(*lines, console.GENERATING_TRAINING_MODEL, *about)
    network = build_network(params, spec, dataset, manager, settings)
    run, optimization = params.run, params.optimization
    fine_tuning = _fine_tuning(params, network, plan)
    optimizer = optimizers.make_optimizer(optimization)
    never_trained = fine_tuning.never_trained
    state = _state(params, settings, manager, network, optimizer.slots, never_trained)
    tower = _tower(params, dataset, manager, settings, network, loss, {*sizes.values()})
    step = (AsynchronousStep if manager.is_asynchronous else TrainingStep)(
        manager=manager,
        tower=tower,
        image_size=settings.image_size,
        state=state,
        optimizer=optimizer,
        schedule=_schedule(params, spec, plan, state),
        optimization=optimization,
        decayed=losses.decayed_names(network.decayed, optimization.weight_decay_exclude),
        global_batch=plan.global_batch,
        seed=params.hardware.tf_random_seed,
        skip_nonfinite=settings.is_float16 or run.on_nonfinite == "skip",
        averages_from=phase_plan.averages_from(optimization.moving_average_start_epoch, plan),
        compiles=params.hardware.xla == "step",
        inlined=_inlines_towers(params, manager),
        fine_tuning=fine_tuning,
        markers=_markers(params, manager),
    )
    build = functools.partial(build_network, params, spec, dataset)
    evaluator = _evaluator(params, dataset, settings, manager, network, build)
    phases = phase_plan.make(step, sizes, _of_sizes(network, settings, manager, build))
    parts = (run_devices, manager, plan, state, phases, evaluator)
    return TrainingRun(params, spec, settings, dataset, *parts)


def _of_sizes(
    network: Network,
    settings: RunSettings,
    manager: VariableManager,
    build: Callable[..., Network],
) -> Callable[[int], Network]:
    """Returns what makes the network for images of a size, with the variables of `network`."""

    def network_at(size: int) -> Network:
        if size == settings.image_size:
            return network
        of_size = dataclasses.replace(settings, image_size=size)
        return build(manager, of_size, variables=network.variables)

    return network_at


def _state(
    params: Params,
    settings: RunSettings,
    manager: VariableManager,
    network: Network,
    slots: Mapping[str, float],
    never_trained: Collection[str],
) -> TrainState:
    loss_scale = params.optimization.fp16_loss_scale
    return train_state.create(
        manager,
        network,
        slot_values={} if params.run.forward_only else slots,
        with_averages=settings.averages,
        never_trained=never_trained,
        initial_loss_scale=loss_scale if settings.is_float16 else None,
        follows_evaluations=params.learning_rate.schedule == "plateau",
    )


def _tower(
    params: Params,
    dataset: Dataset,
    manager: VariableManager,
    settings: RunSettings,
    network: Network,
    loss: Callable | Teacher | None,
    image_sizes: Collection[int],
) -> Tower:
    """Makes what each tower runs, with the teacher if there is one."""
    teaching = None
    if isinstance(loss, Teacher):
        loss.check_classes(dataset)
        layers = [its for _, its in params.distillation.feature_pairs]
        teaching = loss.build(params.network, manager, settings.num_classes, image_sizes, layers)
        console.log(*loss.lines(teaching, network, settings.image_size))
        loss = make_loss(params, dataset, network, settings.subset)
        skipped, data_format = int(network.background_class), params.network.data_format
        loss = distillation.of_flags(params.distillation, loss, skipped, data_format)
    forward_only = params.run.forward_only
    return Tower(
        network,
        loss or make_loss(params, dataset, network, settings.subset),
        augment=None if forward_only else dataset.batch_augmentation,
        teacher=teaching,
        xla_compile=params.hardware.xla == "towers",
        forward_only=forward_only,
    )


def _warn_of_patience(params: Params, plan: RunPlan) -> None:
    """Warns of a patience that no run of this length can lose."""
    rate = params.learning_rate
    patience = {"early_stopping_epochs": params.run.early_stopping_epochs}
    if rate.schedule == "plateau":
        patience["learning_rate_patience_epochs"] = rate.learning_rate_patience_epochs
    for name, epochs in patience.items():
        if epochs is not None and plan.steps_per(epochs) >= plan.total_steps:
            end = float(plan.total_steps / plan.steps_per(1))
            logging.warning("--%s=%g has no effect: the run ends at epoch %.4g", name, epochs, end)


def _fine_tuning(params: Params, network: Network, plan: RunPlan) -> FineTuning:
    steps_per_epoch = plan.steps_per(1)
    flags, total_steps = params.fine_tuning, plan.total_steps
    made = make_fine_tuning(
        flags, network, steps_per_epoch=steps_per_epoch, total_steps=total_steps
    )
    console.log(*console.fine_tuning_lines(made, network))
    first = params.checkpoint
    if made.frozen and not first.pretrained and first.init_checkpoint is None:
        logging.warning(
            "--freeze holds random weights, unless a run is resumed: give --pretrained or "
            "--init_checkpoint for trained ones"
        )
    return made


def _inlines_towers(params: Params, manager: VariableManager) -> bool:
    """Returns whether the towers are parts of one graph. Calls are for the towers of one host."""
    is_alone = manager.num_local_towers == 1 or params.hardware.xla == "step"
    return is_alone or manager.cluster is not None or not manager.shares_memory


def _evaluator(
    params: Params,
    dataset: Dataset,
    settings: RunSettings,
    manager: VariableManager,
    network: Network,
    build: Callable[..., Network],
) -> Evaluator:
    if manager.is_asynchronous:
        manager = _local_manager(params.hardware)
        network = build(manager, settings)
    return Evaluator(
        manager,
        network,
        dataset,
        batch_size=settings.batch_size,
        image_size=settings.image_size,
        max_skipped=params.data.max_corrupt_records,
        loss=of_flags(params.optimization),
    )


def make_manager(
    params: Params,
    check_device: Callable[[str], None] | None = None,
    cluster: Cluster | None = None,
    servers: ParameterServers | None = None,
) -> tuple[Devices, VariableManager]:
    """Prepares the devices and the variable manager, and checks them by a known all-reduce.

    Args:
        check_device: raises UsageError for flags that the device ("gpu" or "cpu") does not support;
            None checks the values of `params`.
        cluster: the workers of `collective_all_reduce`, which this call joins; else None.
        servers: the processes of an asynchronous run, to which this call connects; else None.
    """
    hardware = params.hardware
    if check_device is None:
        check_device = functools.partial(validation.check_device, ExplicitFlags(params))
    if servers is not None:
        run_devices, manager = servers.connect(hardware.device)
        check_device(run_devices.kind)
        return run_devices, manager
    run_devices = devices.prepare(hardware)
    check_device(run_devices.kind)
    devices.warn_of_emulation(params.network.dtype, run_devices.kind)
    if hardware.device == "auto" and run_devices.kind == "cpu" and hardware.num_gpus > 1:
        logging.warning(
            "TensorFlow sees no GPU: the %d towers share the CPU and its memory; --device=cpu "
            "says that this is wanted",
            hardware.num_gpus,
        )
    manager = variable_mgr.make(
        hardware.variable_update,
        run_devices.towers,
        parameter_device=run_devices.parameter_device,
        spec=values.parse_all_reduce_spec(
            hardware.all_reduce_spec, run_devices.kind, between_machines=cluster is not None
        ),
        cluster=cluster,
    )
    manager.check_sum()
    return run_devices, manager


def _local_manager(hardware: HardwareParams) -> VariableManager:
    """Makes the manager of the chief's own device, on which an asynchronous run is evaluated."""
    has_gpu = hardware.device != "cpu" and bool(tf.config.list_physical_devices("GPU"))
    spec = values.parse_all_reduce_spec(None, "gpu" if has_gpu else "cpu")
    device = f"/job:chief/replica:0/task:0/device:{'GPU' if has_gpu else 'CPU'}:0"
    return variable_mgr.make("replicated", [device], parameter_device=device, spec=spec)


def build_network(
    params: Params,
    spec: NetworkSpec,
    dataset: Dataset,
    manager: VariableManager,
    settings: RunSettings,
    variables: Mapping[str, tf.Variable] | None = None,
) -> Network:
    """Builds the network on the manager's devices, initialized from the run's seed.

    Args:
        variables: see NetworkSpec.build.
    """
    if dataset.multi_label:
        _check_multi_label(params, dataset)
    if settings.num_classes < dataset.num_classes:
        raise UsageError(
            f"--num_classes={settings.num_classes} is less than the {dataset.num_classes} classes "
            f"of {dataset.name}; leave it out"
        )
    # Initializers draw from TensorFlow's global seed, Keras' own from its random state.
    tf.keras.utils.set_random_seed(params.hardware.tf_random_seed)
    with manager.scope():
        network = spec.build(
            num_classes=settings.num_classes,
            image_size=settings.image_size,
            dtype=params.network.dtype,
            data_format=params.network.data_format,
            sync_batch_norm=params.network.sync_batch_norm,
            dropout_rate=params.network.dropout_rate,
            drop_path_rate=params.network.drop_path_rate,
            variables=variables,
        )
        if params.network.quantization_aware:
            network = network.quantization_aware(variables)
    if pairs := params.distillation.feature_pairs:
        network = network.observing([ours for ours, _ in pairs])
    return network.recomputing() if params.network.recompute else network


def make_loss(params: Params, dataset: Dataset, network: Network, subset: str) -> Loss:
    """Returns the loss of the flags, with the weights of the classes in `subset`."""
    flags = params.optimization
    loss = of_flags(flags)
    if flags.class_weights == NONE:
        return loss
    names = dataset.describe().class_names or [str(n) for n in range(dataset.num_classes)]
    weights = class_weights(
        flags.class_weights,
        names,
        dataset.class_counts(subset),
        drawn_equally=params.data.balanced_sampling,
    )
    background = [1.0] * int(network.background_class)  # an output that no label uses
    values = np.array([*background, *weights.values], np.float32)
    return dataclasses.replace(loss, weights=values, about_weights=weights.description)


def _check_multi_label(params: Params, dataset: Dataset) -> None:
    """Refuses flags that suppose one label an image.

    Raises:
        UsageError: there is one.
    """
    title = f"{dataset.describe().title}, whose images have several labels"
    answers = {
        f"--loss={SOFTMAX} cannot be used on {title}: give --loss={BCE} or --loss={FOCAL}": (
            params.optimization.loss == SOFTMAX
        ),
        f"--teacher cannot be used on {title}: its outputs are the softmax of one label": (
            params.distillation.has_teacher
        ),
        f"--class_weights has no effect on {title}: leave it out": (
            params.optimization.class_weights != NONE
        ),
        f"--balanced_sampling has no effect on {title}: leave it out": (
            params.data.balanced_sampling
        ),
        f"--num_classes has no effect on {title}: leave it out": (
            params.network.num_classes not in (None, dataset.num_classes)
        ),
    }
    lines = [line for line, is_wrong in answers.items() if is_wrong]
    if lines:
        raise UsageError("\n".join(lines))


def _mode(params: Params, settings: RunSettings) -> str:
    if params.run.forward_only:
        return "forward only"
    return "training + evaluation" if settings.evaluates else "training"


def _markers(params: Params, manager: VariableManager) -> markers.Markers | None:
    """Creates the counters of towers on the CPU; to count on the host is to wait for a GPU."""
    in_one_program = params.hardware.xla == "step"
    if params.run.hang_minutes and manager.shares_memory and not in_one_program:
        return markers.create(manager.num_local_towers)
    return None


def _schedule(
    params: Params, spec: NetworkSpec, plan: RunPlan, state: TrainState
) -> learning_rate.Schedule:
    return learning_rate.make_schedule(
        params.learning_rate,
        default_learning_rate=default_rate(params, spec, plan),
        global_batch=plan.global_batch,
        examples_per_epoch=plan.examples_per_epoch,
        total_steps=plan.total_steps,
        plateau_scale=None if state.plateau is None else state.plateau.scale,
    )
