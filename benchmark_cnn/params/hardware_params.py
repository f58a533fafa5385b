""""""

from __future__ import annotations

from dataclasses import dataclass

from benchmark_cnn.params.flag import flag

_MACHINES = "trains on several machines, which this version cannot do yet (it is planned)"
_COLLECTIVE = f"is not used any more: collective_all_reduce does its job; it {_MACHINES}"


@dataclass(frozen=True)
class HardwareParams:
    """The devices, and how the towers on them share variables and gradients."""

    device: str = flag(
        "auto",
        "Device that the towers run on; auto takes GPUs where there are any.",
        choices=("auto", "gpu", "cpu"),
        eval=True,
    )
    num_gpus: int = flag(
        1,
        "Number of towers, one per GPU; with device=cpu the CPU is split into as many logical "
        "devices.",
        lower=1,
        upper=64,
        eval=True,
    )
    gpu_indices: str = flag(
        "", 'GPUs to use, in this order, for example "0,2,1,3"; one index per tower.', eval=True
    )
    variable_update: str = flag(
        "replicated",
        "How towers share variables: a copy each and gradients all-reduced, one copy on "
        "local_parameter_device, or copies that exchange nothing.",
        choices=("replicated", "parameter_server", "independent"),
        answers={
            "collective_all_reduce": f"{_MACHINES}; use replicated on one machine",
            "distributed_replicated": _COLLECTIVE,
            "distributed_all_reduce": _COLLECTIVE,
            "horovod": _COLLECTIVE,
        },
    )
    local_parameter_device: str | None = flag(
        None,
        "Device that holds the variables of parameter_server.",
        choices=("cpu", "gpu"),
        when_none="the towers' own kind",
    )
    all_reduce_spec: str | None = flag(
        None,
        "Algorithm that sums the gradients of replicated towers (nccl, hierarchical_copy, psgpu or "
        "pscpu), and with :BYTES the size up to which gradients travel together, as in nccl:32M.",
        when_none="nccl between GPUs, pscpu on the CPU",
    )
    num_intra_threads: int | None = flag(
        None,
        "Threads inside one operation on the CPU; 0 leaves it to TensorFlow.",
        lower=0,
        when_none="TensorFlow's choice, and 1 with more towers than cores on the CPU",
        eval=True,
    )
    num_inter_threads: int | None = flag(
        None,
        "Operations that run at the same time on the CPU; 0 leaves it to TensorFlow.",
        lower=0,
        when_none="TensorFlow's choice",
        eval=True,
    )
    xla_compile: bool = flag(
        False, "Compile forward and backward pass of each tower with XLA; meant for GPUs."
    )
    deterministic: bool = flag(
        False,
        "Use only kernels whose result is the same bit by bit in every run; slower.",
        eval=True,
    )
    tf_random_seed: int = flag(
        1234, "Seed of weights, data order, augmentation and dropout.", lower=0, upper=2**31 - 1
    )
    allow_memory_growth: bool = flag(
        True, "Let GPU memory grow as needed instead of taking all of it at the start.", eval=True
    )
