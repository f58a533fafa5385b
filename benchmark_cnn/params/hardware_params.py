"""Flags of the devices."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark_cnn.params.flag import flag
from benchmark_cnn.params.values import parse_any_all_reduce_spec, parse_gpu_indices, parse_hosts

_COLLECTIVE = "is gone: collective_all_reduce does its job, on one machine or several"


@dataclass(frozen=True)
class HardwareParams:
    """The devices, and how their towers share variables and gradients."""

    device: str = flag(
        "auto",
        "Device of the towers; auto uses GPUs if there are any.",
        choices=("auto", "gpu", "cpu"),
        eval=True,
    )
    num_gpus: int = flag(
        1,
        "Number of towers, one per GPU. With device=cpu the CPU is split into as many logical "
        "devices.",
        lower=1,
        upper=64,
        eval=True,
    )
    gpu_indices: str = flag(
        "",
        'GPUs to use, in this order, for example "0,2,1,3"; one index per tower.',
        syntax=parse_gpu_indices,
        eval=True,
    )
    variable_update: str = flag(
        "replicated",
        "How towers share variables: replicated copies all-reduce gradients, collective_all_reduce "
        "between machines; parameter_server: one copy; independent copies exchange nothing.",
        choices=("replicated", "parameter_server", "independent", "collective_all_reduce"),
        answers={
            "distributed_replicated": _COLLECTIVE,
            "distributed_all_reduce": _COLLECTIVE,
            "horovod": _COLLECTIVE,
        },
    )
    worker_hosts: str = flag(
        "",
        "Addresses of all workers of collective_all_reduce, HOST:PORT,..., the chief's first, or "
        "of ps_hosts, whose chief is none of them. Without it TF_CONFIG or Slurm's environment "
        "names them.",
        syntax=parse_hosts,
    )
    ps_hosts: str = flag(
        "",
        "Addresses of parameter servers, HOST:PORT,...: with variable_update=parameter_server the "
        "workers train asynchronously on variables that are there.",
        syntax=parse_hosts,
    )
    job_name: str | None = flag(
        None,
        "What this process of a run with ps_hosts is: the chief schedules steps, evaluates and "
        "saves, workers train, ps holds variables.",
        choices=("chief", "worker", "ps"),
        when_none="the environment's",
    )
    task_index: int | None = flag(
        None,
        "This process's place in worker_hosts or ps_hosts, from 0.",
        lower=0,
        when_none="the environment's",
    )
    local_parameter_device: str | None = flag(
        None,
        "Device of the variables of variable_update=parameter_server.",
        choices=("cpu", "gpu"),
        when_none="the kind of the towers",
    )
    all_reduce_spec: str | None = flag(
        None,
        "Algorithm that sums gradients: nccl, hierarchical_copy, psgpu or pscpu; between machines "
        "nccl or ring. A suffix packs small gradients up to that size, as in nccl:32M.",
        when_none="nccl:32M between GPUs, pscpu on the CPU; between machines ring:32M on the CPU",
        syntax=parse_any_all_reduce_spec,
    )
    num_intra_threads: int | None = flag(
        None,
        "Threads within a CPU operation; 0 leaves it to TensorFlow.",
        lower=0,
        when_none="TensorFlow's choice, and 1 with more towers than cores on the CPU",
        eval=True,
    )
    num_inter_threads: int | None = flag(
        None,
        "CPU operations that run in parallel; 0 leaves it to TensorFlow.",
        lower=0,
        when_none="TensorFlow's choice",
        eval=True,
    )
    xla: str = flag(
        "off",
        "What XLA compiles, for GPUs: the forward and backward pass of each tower, or the step: "
        "with one tower in one program, with more in two around the all-reduce.",
        choices=("off", "towers", "step"),
    )
    deterministic: bool = flag(
        False,
        "Use only deterministic kernels, so that runs are bitwise reproducible; slower.",
        eval=True,
    )
    tf32: bool = flag(
        True,
        "Let GPUs round the factors of float32 convolutions and matrix products to TF32, with 11 "
        "bits in place of 24, which is TensorFlow's default.",
        eval=True,
    )
    tf_random_seed: int = flag(
        1234, "Seed of weights, data order, augmentation and dropout.", lower=0, upper=2**31 - 1
    )
    allow_memory_growth: bool = flag(
        True, "Allocate GPU memory as needed instead of all of it at the start.", eval=True
    )
