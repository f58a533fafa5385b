r"""Start training on Amazon EC2: `python -m launch.ec2 --bucket=s3://BUCKET/runs -- train.py ...`.

    python -m launch.ec2 --dry_run -- train.py --model=efficientnet_lite0 --num_gpus=8
    python -m launch.ec2 --instance_type=p4d --count=2 --spot --bucket=s3://BUCKET/runs \
      --instance_profile=training -- train.py --model=resnet50 ...
    python -m launch.ec2 list            the runs that have instances
    python -m launch.ec2 logs NAME --bucket=s3://BUCKET/runs
    python -m launch.ec2 stop NAME       its instances save, and terminate
    python -m launch.ec2 clean NAME      stop, and delete its security and placement groups

Ctrl-C ends the reading of the logs only: the run goes on. docs/aws.md says what AWS must have.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from common import commands, paths, process
from common.errors import UsageError
from launch.ec2 import api, instance_types, logs, user_data
from launch.ec2.plan import DEFAULT_AMI, TAG, Plan, check, lines
from launch.tasks import check_command, value_of, without

_PROGRAM = "python -m launch.ec2"
_NO_BUCKET = "s3://BUCKET"
_ROOT = Path(__file__).resolve().parents[2]
_ACTIONS = ("list", "logs", "stop", "clean")


def main(argv: Sequence[str]) -> int:
    """Runs the command line `argv` and returns the exit code."""
    if argv[:1] and argv[0] in _ACTIONS:
        options = _action_parser().parse_args(argv)
        return commands.run(lambda: act(options))
    options = _launch_parser().parse_args(argv)
    return commands.run(lambda: launch(options))


def launch(options: argparse.Namespace) -> int:
    """Starts what the flags ask for, or prints it; follows the logs. Returns the exit code."""
    command = _checked_command(options.command)
    if options.dry_run:
        name = instance_types.full_name(options.instance_type)
        plan = make_plan(options, command, instance_types.known(name), options.region)
        for line in [*lines(plan, options.price_file), "", *_rehearsal(plan)]:
            commands.write_line(line)
        return 0
    if options.bucket is None:
        raise UsageError("--bucket=s3://BUCKET/PREFIX is missing: for code, logs and the run")
    if options.instance_profile is None:
        raise UsageError(
            "--instance_profile is missing: the profile that lets an instance use the bucket "
            "(docs/aws.md makes one)"
        )
    _import_boto3()
    ec2 = api.Ec2(options.region)
    kind = ec2.instance_type(instance_types.full_name(options.instance_type))
    plan = make_plan(options, command, kind, ec2.region)
    for line in lines(plan, options.price_file):
        commands.write_line(line)
    ec2.check_that_name_is_free(plan.name)  # before its folder is emptied
    _prepare_folder(ec2, plan, packs=options.code is None)
    ids = ec2.launch(plan)
    commands.write_line(f"started {', '.join(ids)}; stop with {_PROGRAM} clean {plan.name}")
    if options.detach:
        return 0
    return _follow(ec2, plan.name, plan.folder, plan.count)


def act(options: argparse.Namespace) -> int:
    """Lists, follows, stops or cleans up; returns the exit code."""
    _import_boto3()
    ec2 = api.Ec2(options.region)
    if options.action == "list":
        for instance in ec2.instances():
            tag = {pair["Key"]: pair["Value"] for pair in instance.get("Tags", [])}
            market = instance.get("InstanceLifecycle", "on demand")
            state = instance["State"]["Name"]
            about = (tag[TAG], instance["InstanceId"], instance["InstanceType"], market, state)
            commands.write_line("  ".join(about))
        return 0
    if options.name is None:
        raise UsageError(f"{options.action} needs the name of a run; list shows them")
    if options.action == "logs":
        if options.bucket is None:
            raise UsageError("logs needs --bucket, as the launch had it")
        folder = f"{options.bucket}/{options.name}"
        return _follow(ec2, options.name, folder, logs.num_workers(ec2.s3, folder))
    number = ec2.terminate(options.name)
    commands.write_line(f"{options.name}: {number} instances save and terminate")
    if options.action == "clean":
        ec2.wait_until_gone(options.name)
        for removed in ec2.remove_groups(options.name):
            commands.write_line(f"deleted {removed}")
    return 0


def make_plan(
    options: argparse.Namespace,
    command: tuple[str, ...],
    kind: instance_types.InstanceType,
    region: str | None,
) -> Plan:
    """Returns the checked plan of a launch."""
    name = options.name or f"train-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    folder = f"{options.bucket or _NO_BUCKET}/{name}"
    plan = Plan(
        name=name,
        command=without(command, "num_gpus"),
        instance=kind,
        count=options.count,
        num_gpus=_num_gpus(command, kind),
        spot=options.spot,
        placement_group=options.placement_group == "on"
        or (options.placement_group == "auto" and options.count > 1),
        efa=options.efa == "on" or (options.efa == "auto" and options.count > 1 and kind.efa > 0),
        folder=folder,
        code=options.code or f"{folder}/code.tar.gz",
        data=options.data,
        ami=options.ami,
        region=region,
        subnet=options.subnet,
        key_name=options.key_name,
        ssh_cidr=options.ssh_cidr,
        instance_profile=options.instance_profile,
        volume_gb=options.volume_gb,
        keeps=options.keep,
    )
    check(plan)
    size = len(user_data.script(plan).encode())
    if size > user_data.MAX_BYTES:
        raise UsageError(f"the start script has {size} bytes, {user_data.MAX_BYTES} at most")
    return plan


def _num_gpus(command: Sequence[str], kind: instance_types.InstanceType) -> int:
    text = value_of(command, "num_gpus")
    if text is None:
        return kind.num_gpus
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--num_gpus={text} is not a whole number of 1 or more")
    return int(text)


def _checked_command(words: Sequence[str]) -> tuple[str, ...]:
    command = tuple(words[1:] if words[:1] == ["--"] else words)
    check_command(without(command, "num_gpus"), "--count, and --num_gpus of the command")
    return command


def _rehearsal(plan: Plan) -> list[str]:
    """Returns the request to EC2 and the start script, with names in place of what AWS makes."""
    request = api.request(plan, plan.ami, plan.subnet or "SUBNET", f"SECURITY_GROUP({plan.name})")
    script = request.pop("UserData")
    about = [f"# RunInstances, without the start script\n{json.dumps(request, indent=1)}"]
    if plan.bucket == "BUCKET":
        about.append("# BUCKET stands for --bucket=s3://BUCKET/PREFIX, which a launch needs")
    if plan.instance_profile is None:
        about.append("# a launch also needs --instance_profile (docs/aws.md)")
    return [*about, f"# Start script of every instance\n{script}", "dry run: nothing was started"]


def _prepare_folder(ec2: api.Ec2, plan: Plan, *, packs: bool) -> None:
    """Empties the meeting place of the workers; uploads the code where it comes from here."""
    with api.errors_in_one_line():
        for folder in ("hosts", "done", "logs"):
            found = ec2.s3.list_objects_v2(Bucket=plan.bucket, Prefix=f"{plan.prefix}/{folder}/")
            for item in found.get("Contents", []):
                ec2.s3.delete_object(Bucket=plan.bucket, Key=item["Key"])
        ec2.s3.put_object(
            Bucket=plan.bucket, Key=f"{plan.prefix}/{logs.WORKERS}", Body=str(plan.count).encode()
        )
    if not packs:
        return
    with tempfile.NamedTemporaryFile(suffix=".tar.gz") as archive:
        pack = ["git", "-C", str(_ROOT), "archive", "--format=tar.gz", "-o", archive.name, "HEAD"]
        try:
            subprocess.run(pack, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise UsageError(
                "this directory is no git checkout to pack: give --code=GIT_URL or an archive on S3"
            ) from error
        with api.errors_in_one_line():
            ec2.s3.put_object(
                Bucket=plan.bucket, Key=f"{plan.prefix}/code.tar.gz", Body=archive.read()
            )
    changed = subprocess.run(
        ["git", "-C", str(_ROOT), "status", "--porcelain", "-uno"], capture_output=True, text=True
    )
    if changed.stdout:
        commands.write_line("Warning: changes that are not committed are not in the code")


def _follow(ec2: api.Ec2, name: str, folder: str, count: int) -> int:
    with process.StopSignal() as stop:
        code = logs.follow(ec2, name, folder, count, is_stopped=lambda: bool(stop.requested))
    if code is None:
        commands.write_line(f"the run goes on: {_PROGRAM} logs|stop|clean {name}")
        return 0
    commands.write_line(f"all workers have ended; {_PROGRAM} clean {name} deletes the groups")
    return code


def _import_boto3() -> None:
    try:
        import boto3  # noqa: F401
    except ImportError as error:
        raise UsageError("boto3 is not installed: pip install boto3") from error


def _bucket(text: str) -> str:
    place = text.removeprefix("s3://").strip("/")
    if not text.startswith("s3://") or not place:
        raise argparse.ArgumentTypeError(f"{text} is not s3://BUCKET or s3://BUCKET/PREFIX")
    return f"s3://{place}"


def _action_parser() -> argparse.ArgumentParser:
    parser = commands.parser(_PROGRAM, __doc__)
    parser.add_argument("action", choices=_ACTIONS)
    parser.add_argument("name", nargs="?", help="of the run")
    parser.add_argument("--region", help="default: that of the AWS configuration")
    parser.add_argument("--bucket", type=_bucket, metavar="s3://BUCKET/PREFIX")
    return parser


def _launch_parser() -> argparse.ArgumentParser:
    parser = commands.parser(_PROGRAM, __doc__)
    add = parser.add_argument
    add("--dry_run", action="store_true", help="print everything; no network, no credentials")
    add("--name", help="of the run (default: train- and the time)")
    add("--instance_type", default="p4d", metavar="TYPE", help="p4d, p5, g5.xlarge, ... (p4d)")
    add("--count", type=commands.at_least(1), default=1, metavar="N", help="instances (1)")
    add("--spot", action="store_true", help="spot instances instead of on demand")
    add("--bucket", type=_bucket, metavar="s3://BUCKET/PREFIX", help="for code, logs and the run")
    add("--instance_profile", metavar="NAME", help="lets the instances use the bucket")
    add("--data", metavar="WHERE", help="s3://BUCKET/PREFIX, snap-ID, fsx:DNS_NAME:MOUNT_NAME")
    add("--code", metavar="URL", help="s3://....tar.gz or a git URL (default: this commit)")
    add("--ami", default=DEFAULT_AMI, help="id or parameter (AWS' image with NVIDIA's driver)")
    add("--region", help="default: that of the AWS configuration")
    add("--subnet", metavar="ID", help="default: the default one of a zone that has the type")
    add("--placement_group", choices=("auto", "on", "off"), default="auto",
        help="keep the instances close; auto with more than one")  # fmt: skip
    add("--efa", choices=("auto", "on", "off"), default="auto",
        help="AWS' fast network; auto with more than one, where the type has it")  # fmt: skip
    add("--volume_gb", type=commands.at_least(30), default=200, metavar="GB", help="disk (200)")
    add("--key_name", metavar="NAME", help="key pair for ssh; needs --ssh_cidr")
    add("--ssh_cidr", metavar="CIDR", help="addresses that ssh is open to, as 203.0.113.7/32")
    add("--keep", action="store_true", help="the instances stay when the training has ended")
    add("--detach", action="store_true", help="return when the instances have started")
    add("--price_file", type=paths.argument, metavar="FILE", help="your prices: CSV or JSON")
    add("command", nargs=argparse.REMAINDER, help="after --: train.py and its flags")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
