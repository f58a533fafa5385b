"""What a launch will start: decided once from the command line, printed by --dry_run."""

from __future__ import annotations

import csv
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import DataError, UsageError
from launch.ec2.instance_types import InstanceType
from launch.tasks import value_of

DEFAULT_AMI = (
    "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id"
)
TAG = "tensorflow-imagenet"  # every resource that the launcher makes has it, with the run's name
_SPOT, _ON_DEMAND = "spot", "on demand"


@dataclass(frozen=True)
class Plan:
    """A launch.

    Attributes:
        name: Of the run: the tag of all that is made, and the folder in the bucket.
        command: train.py and its flags, without those that the launcher sets.
        num_gpus: Towers of each instance.
        folder: `s3://bucket/prefix/name`: code, logs and the run itself.
        code: A git URL, or an archive on S3.
        data: "s3://...", "snap-...", "fsx:DNS:/MOUNT", or None where the command says it.
        ami: An id, or the name of a public parameter that holds one.
        region, subnet, key_name, ssh_cidr, instance_profile: As AWS names them; may be None.
        volume_gb: Size of the root disk.
        keeps: Whether an instance stays on after its training has ended.
    """

    name: str
    command: tuple[str, ...]
    instance: InstanceType
    count: int
    num_gpus: int
    spot: bool
    placement_group: bool
    efa: bool
    folder: str
    code: str
    data: str | None
    ami: str
    region: str | None
    subnet: str | None
    key_name: str | None
    ssh_cidr: str | None
    instance_profile: str | None
    volume_gb: int
    keeps: bool

    @property
    def bucket(self) -> str:
        return self.folder.removeprefix("s3://").partition("/")[0]

    @property
    def prefix(self) -> str:
        """The folder's key in the bucket, without a slash at its end."""
        return self.folder.removeprefix("s3://").partition("/")[2]

    @property
    def train_dir(self) -> str:
        return value_of(self.command, "train_dir") or f"{self.folder}/run"

    @property
    def total_gpus(self) -> int:
        return self.count * self.num_gpus


def network_interfaces(plan: Plan, subnet: str, group: str) -> list[dict[str, Any]]:
    """Returns the network interfaces of an instance: with EFA one adapter a card besides the IP's.

    As the EC2 guide advises: an ordinary interface first, the card's adapter next to it, and only
    adapters on the other cards. AWS gives no public address where there are several.
    """
    base = {"SubnetId": subnet, "Groups": [group], "DeleteOnTermination": True}
    first = {**base, "NetworkCardIndex": 0, "DeviceIndex": 0, "InterfaceType": "interface"}
    adapters = [
        {
            **base,
            "NetworkCardIndex": card,
            "DeviceIndex": int(card == 0),
            "InterfaceType": "efa-only",
        }
        for card in range(plan.instance.efa if plan.efa else 0)
    ]
    return [first, *adapters]


def lines(plan: Plan, price_file: Path | None) -> list[str]:
    """Returns the plan in lines, with an estimate of its price."""
    instance = plan.instance
    market = _SPOT if plan.spot else _ON_DEMAND
    network = [
        f"one security group: all traffic among the instances, {_ssh(plan)} from outside",
        *(["a placement group (cluster)"] if plan.placement_group else []),
        *([f"{instance.efa} EFA adapters an instance"] if plan.efa else []),
    ]
    kind = f"{instance.name} with {instance.num_gpus} {instance.gpu}"
    data = plan.data or value_of(plan.command, "data_dir") or "synthetic images"
    table = {
        "Run": plan.name,
        "Instances": f"{plan.count} x {kind}, {market}",
        "Towers": f"{plan.total_gpus}",
        "Region": plan.region or "of your AWS configuration",
        "Image": plan.ami,
        "Disk": f"{plan.volume_gb} GB gp3",
        "Network": "; ".join(network),
        "Code": plan.code,
        "Data": data,
        "Run directory": plan.train_dir,
        "Logs": f"{plan.folder}/logs/",
        "At the end": "the instances stay" if plan.keeps else "each instance terminates itself",
        "Price": price_line(plan, price_file),
    }
    return [f"{name + ':':<15}{value}" for name, value in table.items()]


def _ssh(plan: Plan) -> str:
    return f"ssh from {plan.ssh_cidr}" if plan.ssh_cidr else "nothing"


def price_line(plan: Plan, price_file: Path | None) -> str:
    """Returns an estimate from the caller's own prices; AWS' are not known here."""
    if price_file is None:
        return "not estimated: give --price_file=FILE with your prices (docs/aws.md)"
    hourly = _hourly_price(price_file, plan.instance.name, _SPOT if plan.spot else _ON_DEMAND)
    total = hourly * plan.count
    line = f"${total:,.2f} an hour for the instances (disks and traffic are not counted)"
    minutes = value_of(plan.command, "max_run_minutes")
    try:
        hours = float(minutes or "nan") / 60
    except ValueError:
        hours = math.nan
    if math.isfinite(hours):
        return f"{line}; ${total * hours:,.2f} for --max_run_minutes={minutes}"
    return f"{line}; ${total * 24:,.2f} a day"


def _hourly_price(path: Path, name: str, market: str) -> float:
    """Reads the price of an instance type in dollars an hour.

    A CSV file has the columns instance_type, on_demand and spot; JSON is
    {"p4d.24xlarge": {"on_demand": 1.0, "spot": 0.5}} or {"p4d.24xlarge": 1.0}.
    """
    column = market.replace(" ", "_")
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".json":
            prices = json.loads(text)
        else:
            rows = csv.DictReader(text.splitlines())
            prices = {(row.get("instance_type") or "").strip(): row for row in rows}
        price = prices.get(name)
    except OSError as error:
        raise DataError(f"cannot read --price_file={path}: {error.strerror}") from error
    except (ValueError, AttributeError, csv.Error) as error:
        raise DataError(f"--price_file={path} holds no prices: {error}") from error
    value = price.get(column) if isinstance(price, dict) else price
    try:
        number = float(value)  # type: ignore[arg-type]
        if not 0 <= number < math.inf:
            raise ValueError
    except (TypeError, ValueError):
        raise DataError(
            f"--price_file={path} has no price of {name} {market} (column {column})"
        ) from None
    return number


def check(plan: Plan) -> None:
    """Checks what needs no network; raises UsageError."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", plan.name):
        raise UsageError(
            f"--name={plan.name} must be lower-case letters, digits and dashes, 63 at most"
        )
    if plan.num_gpus > plan.instance.num_gpus:
        raise UsageError(
            f"--num_gpus={plan.num_gpus}: {plan.instance.name} has {plan.instance.num_gpus} GPUs"
        )
    if plan.efa and not plan.instance.efa:
        raise UsageError(f"--efa=on: {plan.instance.name} has no EFA")
    if (plan.key_name is None) != (plan.ssh_cidr is None):
        raise UsageError("--key_name and --ssh_cidr belong together: give both, or neither")
    if plan.data is not None:
        if value_of(plan.command, "data_dir") is not None:
            raise UsageError("--data and the command's --data_dir exclude each other: give one")
        if not re.fullmatch(r"s3://[^/]+/.+|snap-\w+|fsx:[^:/]+:/?\w+", plan.data):
            raise UsageError(
                f"--data={plan.data} is none of s3://BUCKET/PREFIX, snap-ID (a snapshot of an EBS "
                "volume with the shards) and fsx:DNS_NAME:MOUNT_NAME"
            )
    if re.match(r"https://[^/]*@", plan.code):
        raise UsageError(
            "--code holds a credential (the part before @), which every process on the instance "
            "could read: put the archive on S3, or give a URL without it"
        )
    if not plan.code.startswith(("s3://", "https://", "git@", "ssh://")):
        raise UsageError(f"--code={plan.code} is neither s3://....tar.gz nor a git URL")
