"""What the instance types with GPUs have: by name without a network, or by AWS' own answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.commands import did_you_mean
from common.errors import UsageError


@dataclass(frozen=True)
class InstanceType:
    """What the launcher needs to know of an instance type.

    Attributes:
        efa: Elastic Fabric Adapters, one a network card; 0 where the type has none.
    """

    name: str
    gpu: str
    num_gpus: int
    efa: int = 0


def _family(gpu: str, sizes: Mapping[str, tuple[int, int]]) -> list[InstanceType]:
    return [InstanceType(name, gpu, gpus, efa) for name, (gpus, efa) in sizes.items()]


# AWS' answers of 2026 (`describe-instance-types`), and P3, which it no longer lists.
_KNOWN = {
    kind.name: kind
    for kind in (
        *_family(
            "V100",
            {
                "p3.2xlarge": (1, 0),
                "p3.8xlarge": (4, 0),
                "p3.16xlarge": (8, 0),
                "p3dn.24xlarge": (8, 1),
            },
        ),
        *_family("A100", {"p4d.24xlarge": (8, 4), "p4de.24xlarge": (8, 4)}),
        *_family("H100", {"p5.4xlarge": (1, 1), "p5.48xlarge": (8, 32)}),
        *_family("H200", {"p5e.48xlarge": (8, 32), "p5en.48xlarge": (8, 16)}),
        *_family("B200", {"p6-b200.48xlarge": (8, 8)}),
        *(
            kind
            for family, gpu in (("g5", "A10G"), ("g6", "L4"))
            for kind in _family(
                gpu,
                {
                    f"{family}.{size}xlarge": (gpus, efa)
                    for size, gpus, efa in (
                        ("", 1, 0),
                        ("2", 1, 0),
                        ("4", 1, 0),
                        ("8", 1, 1),
                        ("16", 1, 1),
                        ("12", 4, 1),
                        ("24", 4, 1),
                        ("48", 8, 1),
                    )
                },
            )
        ),
    )
}
# A family stands for its type with eight GPUs.
_FAMILIES = {
    "p3": "p3.16xlarge",
    "p3dn": "p3dn.24xlarge",
    "p4d": "p4d.24xlarge",
    "p4de": "p4de.24xlarge",
    "p5": "p5.48xlarge",
    "p5e": "p5e.48xlarge",
    "p5en": "p5en.48xlarge",
    "p6-b200": "p6-b200.48xlarge",
    "g5": "g5.48xlarge",
    "g6": "g6.48xlarge",
}


def full_name(name: str) -> str:
    """Returns the name of a type: of "p4d", the type of that family with eight GPUs."""
    return _FAMILIES.get(name, name)


def known(name: str) -> InstanceType:
    """Returns a type without asking AWS.

    Raises:
        UsageError: This program does not know it.
    """
    if name not in _KNOWN:
        hint = did_you_mean(name, [*_KNOWN, *_FAMILIES])
        raise UsageError(
            f"--instance_type={name} is not in this program's list, and --dry_run asks no "
            f"network{hint}"
        )
    return _KNOWN[name]


def from_answer(answer: Mapping[str, Any]) -> InstanceType:
    """Returns the type that an entry of DescribeInstanceTypes describes.

    Raises:
        UsageError: It has no GPU of NVIDIA.
    """
    name, network = answer["InstanceType"], answer.get("NetworkInfo", {})
    gpus = answer.get("GpuInfo", {}).get("Gpus", [])
    gpus = [gpu for gpu in gpus if gpu.get("Manufacturer") == "NVIDIA"]
    if not gpus:
        raise UsageError(f"--instance_type={name} has no GPU of NVIDIA")
    efa = network.get("EfaInfo", {}).get("MaximumEfaInterfaces", 0)
    count = sum(gpu.get("Count", 0) for gpu in gpus)
    return InstanceType(name, gpus[0].get("Name", "GPU"), count, efa)
