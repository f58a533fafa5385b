"""The calls to AWS. Their errors become one line each; no credential is read or printed here."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from common.errors import RunError, UsageError
from launch.ec2 import instance_types, user_data
from launch.ec2.instance_types import InstanceType
from launch.ec2.plan import TAG, Plan, network_interfaces

_ALIVE = ("pending", "running", "stopping", "stopped", "shutting-down")
_USER_CODES = {
    "UnauthorizedOperation": "your AWS user may not do this",
    "AccessDenied": "your AWS user may not do this",
    "AccessDeniedException": "your AWS user may not do this",
    "AuthFailure": "AWS does not accept the credentials",
    "InvalidClientTokenId": "AWS does not accept the credentials",
    "InvalidAccessKeyId": "AWS does not accept the credentials",
    "SignatureDoesNotMatch": "AWS does not accept the credentials",
    "ExpiredToken": "the AWS credentials have expired: log in again",
    "RequestExpired": "the AWS credentials have expired, or this machine's clock is wrong",
    "NoSuchBucket": "there is no such bucket",
}
_QUOTA_CODES = ("VcpuLimitExceeded", "InstanceLimitExceeded", "MaxSpotInstanceCountExceeded")
_CAPACITY_CODES = (
    "InsufficientInstanceCapacity",
    "InsufficientHostCapacity",
    "InsufficientCapacityOnHost",
    "SpotMaxPriceTooLow",
)


@contextlib.contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Turns errors of AWS' library into a line: what failed, why, and what to do."""
    from botocore import exceptions

    try:
        yield
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
        raise UsageError(
            "no AWS credentials: run `aws configure`, or set AWS_PROFILE (docs/aws.md)"
        ) from error
    except exceptions.ProfileNotFound as error:
        raise UsageError(f"{error}: `aws configure list-profiles` lists them") from error
    except exceptions.NoRegionError as error:
        raise UsageError("no AWS region: give --region, or set AWS_DEFAULT_REGION") from error
    except exceptions.ClientError as error:
        raise _of_client(error) from error
    except exceptions.BotoCoreError as error:
        raise RunError(f"AWS cannot be reached: {_first_sentence(str(error))}") from error


def _of_client(error: Any) -> RunError:
    about = error.response.get("Error", {})
    code, operation = str(about.get("Code", "")), error.operation_name
    message = _first_sentence(str(about.get("Message", "")))
    if code in _USER_CODES:
        return UsageError(f"{operation}: {_USER_CODES[code]} ({code}: {message})")
    if code in _QUOTA_CODES:
        return UsageError(
            f"{operation}: your quota of these instances is too small ({message}): ask for more "
            "under Service Quotas, Amazon EC2, or give a smaller --instance_type or --count"
        )
    if code in _CAPACITY_CODES:
        return RunError(
            f"{operation}: AWS has no such instance free now ({message}): try again later, or "
            "another --subnet, --region or --instance_type"
        )
    kind = UsageError if code.startswith(("Invalid", "Missing", "Parameter")) else RunError
    return kind(f"{operation}: {code}: {message}")


def _first_sentence(message: str) -> str:
    """Returns the message without what follows it: an encoded report, hundreds of letters long."""
    message = message.partition("Encoded authorization failure message")[0]
    return " ".join(message.split()).rstrip(". ")


class Ec2:
    """EC2 of one region, with the resources that bear this program's tag."""

    def __init__(self, region: str | None):
        from boto3.session import Session

        with errors_in_one_line():
            session = Session(region_name=region)
            self._ec2 = session.client("ec2")
            self._ssm = session.client("ssm")
            self.s3 = session.client("s3")
        self.region = str(self._ec2.meta.region_name)

    def instance_type(self, name: str) -> InstanceType:
        """Asks AWS what a type has.

        Raises:
            UsageError: The region does not offer it.
        """
        self._zones(name)
        with errors_in_one_line():
            answers = self._ec2.describe_instance_types(InstanceTypes=[name])["InstanceTypes"]
        return instance_types.from_answer(answers[0])

    def _zones(self, name: str) -> list[str]:
        with errors_in_one_line():
            offers = self._ec2.describe_instance_type_offerings(
                LocationType="availability-zone",
                Filters=[{"Name": "instance-type", "Values": [name]}],
            )["InstanceTypeOfferings"]
        if not offers:
            newer = "; P3's successors are p4d, p5, g5 and g6" if name.startswith("p3") else ""
            raise UsageError(
                f"--instance_type={name} is not offered in {self.region}: give another "
                f"--instance_type or --region{newer}"
            )
        return sorted(offer["Location"] for offer in offers)

    def check_that_name_is_free(self, name: str) -> None:
        """Raises UsageError if a run of this name has instances."""
        if self.instances(name):
            raise UsageError(
                f"--name={name}: a run of this name has instances; give another name, or stop them "
                f"with python -m launch.ec2 stop {name}"
            )

    def launch(self, plan: Plan) -> list[str]:
        """Starts the instances; returns their ids. After an error nothing of it is left."""
        subnet, vpc = self._subnet(plan)
        ami = self._ami(plan.ami)
        try:
            group = self._security_group(plan, vpc)
            if plan.placement_group:
                self._placement_group(plan.name)
            with errors_in_one_line():
                answer = self._ec2.run_instances(**request(plan, ami, subnet, group))
        except BaseException:
            with contextlib.suppress(RunError):
                self.remove_groups(plan.name)
            raise
        return [instance["InstanceId"] for instance in answer["Instances"]]

    def _ami(self, ami: str) -> str:
        if not ami.startswith("/"):
            return ami
        with errors_in_one_line():
            try:
                return self._ssm.get_parameter(Name=ami)["Parameter"]["Value"]
            except self._ssm.exceptions.ParameterNotFound as error:
                raise UsageError(
                    f"{self.region} has no image {ami}: give --ami=ami-... with NVIDIA's driver"
                ) from error

    def _subnet(self, plan: Plan) -> tuple[str, str]:
        """Returns the subnet and its network: the default one of a zone that offers the type."""
        zones = self._zones(plan.instance.name)
        with errors_in_one_line():
            if plan.subnet is not None:
                found = self._ec2.describe_subnets(SubnetIds=[plan.subnet])["Subnets"]
            else:
                only = [{"Name": "default-for-az", "Values": ["true"]}]
                found = self._ec2.describe_subnets(Filters=only)["Subnets"]
        offered = [subnet for subnet in found if subnet["AvailabilityZone"] in zones]
        if not offered:
            what = plan.subnet or "the default network"
            raise UsageError(
                f"{what} has no subnet in a zone that offers {plan.instance.name} "
                f"({', '.join(zones)}): give --subnet"
            )
        first = min(offered, key=lambda subnet: subnet["AvailabilityZone"])
        return first["SubnetId"], first["VpcId"]

    def _security_group(self, plan: Plan, vpc: str) -> str:
        with errors_in_one_line():
            group = self._ec2.create_security_group(
                GroupName=plan.name,
                Description="Workers of a training run",
                VpcId=vpc,
                TagSpecifications=tags("security-group", plan.name),
            )["GroupId"]
            among = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}
            rules: list[dict[str, Any]] = [among]
            if plan.ssh_cidr:
                ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}
                rules.append({**ssh, "IpRanges": [{"CidrIp": plan.ssh_cidr}]})
            self._ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=rules)
            if plan.efa:  # which wants a rule of its own next to the one for all addresses
                self._ec2.authorize_security_group_egress(GroupId=group, IpPermissions=[among])
        return group

    def _placement_group(self, name: str) -> None:
        with errors_in_one_line():
            self._ec2.create_placement_group(
                GroupName=name,
                Strategy="cluster",
                TagSpecifications=tags("placement-group", name),
            )

    def instances(self, name: str | None = None) -> list[dict[str, Any]]:
        """Returns the instances of a run, or of all runs, that are not terminated."""
        filters = [
            {"Name": f"tag:{TAG}", "Values": [name or "*"]},
            {"Name": "instance-state-name", "Values": list(_ALIVE)},
        ]
        with errors_in_one_line():
            pages = self._ec2.get_paginator("describe_instances").paginate(Filters=filters)
            found = [
                instance
                for page in pages
                for reservation in page["Reservations"]
                for instance in reservation["Instances"]
            ]
        return sorted(found, key=lambda instance: instance.get("AmiLaunchIndex", 0))

    def terminate(self, name: str) -> int:
        """Terminates the instances of a run; returns how many there were."""
        ids = [instance["InstanceId"] for instance in self.instances(name)]
        if ids:
            with errors_in_one_line():
                self._ec2.terminate_instances(InstanceIds=ids)
        return len(ids)

    def wait_until_gone(self, name: str, timeout_secs: float = 600) -> None:
        """Waits until the instances of a run are terminated."""
        deadline = time.monotonic() + timeout_secs
        while self.instances(name):
            if time.monotonic() > deadline:
                raise RunError(f"the instances of {name} still run after {timeout_secs:.0f} s")
            time.sleep(min(5.0, timeout_secs))

    def remove_groups(self, name: str) -> list[str]:
        """Deletes the security group and the placement group of a run; returns their names."""
        tagged = [{"Name": f"tag:{TAG}", "Values": [name]}]
        removed = []
        with errors_in_one_line():
            for group in self._ec2.describe_security_groups(Filters=tagged)["SecurityGroups"]:
                self._ec2.delete_security_group(GroupId=group["GroupId"])
                removed.append(f"security group {group['GroupId']}")
            for group in self._ec2.describe_placement_groups(Filters=tagged)["PlacementGroups"]:
                self._ec2.delete_placement_group(GroupName=group["GroupName"])
                removed.append(f"placement group {group['GroupName']}")
        return removed


def tags(resource: str, name: str) -> list[dict[str, Any]]:
    """Returns the tags of a new resource, as EC2 takes them."""
    pairs = [{"Key": TAG, "Value": name}, {"Key": "Name", "Value": name}]
    return [{"ResourceType": resource, "Tags": pairs}]


def request(plan: Plan, ami: str, subnet: str, group: str) -> dict[str, Any]:
    """Returns the arguments of RunInstances."""
    disks = [
        {
            "DeviceName": "/dev/sda1",
            "Ebs": {"VolumeSize": plan.volume_gb, "VolumeType": "gp3", "DeleteOnTermination": True},
        }
    ]
    if plan.data is not None and plan.data.startswith("snap-"):
        data = {"SnapshotId": plan.data, "VolumeType": "gp3", "DeleteOnTermination": True}
        disks.append({"DeviceName": "/dev/sdf", "Ebs": data})
    arguments: dict[str, Any] = {
        "ImageId": ami,
        "InstanceType": plan.instance.name,
        "MinCount": plan.count,
        "MaxCount": plan.count,
        "UserData": user_data.script(plan),
        "NetworkInterfaces": network_interfaces(plan, subnet, group),
        "BlockDeviceMappings": disks,
        "InstanceInitiatedShutdownBehavior": "stop" if plan.keeps else "terminate",
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 2},
        "TagSpecifications": [*tags("instance", plan.name), *tags("volume", plan.name)],
    }
    if plan.key_name is not None:
        arguments["KeyName"] = plan.key_name
    if plan.instance_profile is not None:
        arguments["IamInstanceProfile"] = {"Name": plan.instance_profile}
    if plan.placement_group:
        arguments["Placement"] = {"GroupName": plan.name}
    if plan.spot:
        options = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
        arguments["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": options}
        del arguments["InstanceInitiatedShutdownBehavior"]  # a spot instance always terminates
    return arguments
