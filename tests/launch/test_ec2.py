"""python -m launch.ec2 against moto's server on loopback, and without any network."""

from __future__ import annotations

import base64
import json
import logging
import os
import shlex
import socket
import subprocess
import sys

import pytest

from launch.ec2 import __main__ as ec2
from launch.ec2 import api, instance_types, logs
from tests import loopback_aws
from tests.conftest import ROOT

COMMAND = ["--", "train.py", "--model=efficientnet_lite0", "--num_gpus=8"]
RUN = [
    "--name=lite0",
    "--bucket=s3://runs/all",
    "--instance_profile=training",
    "--ami=ami-1234abcd",
]


@pytest.fixture(autouse=True)
def quiet():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)


@pytest.fixture
def aws(monkeypatch):
    """The clients of an account that holds a bucket and a profile."""
    with loopback_aws.moto_server() as server:
        for name, value in loopback_aws.environment(server.url).items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        import boto3

        boto3.client("s3").create_bucket(Bucket="runs")
        boto3.client("iam").create_instance_profile(InstanceProfileName="training")
        yield boto3.client


def words(capfd):
    captured = capfd.readouterr()
    assert loopback_aws.SECRET not in captured.out + captured.err
    return captured.out, captured.err


def test_a_dry_run_needs_neither_credentials_nor_network():
    done = subprocess.run(
        [sys.executable, "-m", "launch.ec2", "--dry_run", *COMMAND],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 x p4d.24xlarge with 8 A100, on demand" in done.stdout
    assert "not estimated: give --price_file=FILE" in done.stdout
    assert (
        "train.py --model=efficientnet_lite0 --num_gpus=8 --train_dir=s3://BUCKET/" in done.stdout
    )
    assert "make setup GPU=1" in done.stdout
    assert done.stdout.endswith("dry run: nothing was started\n")


@pytest.mark.parametrize("data", [[], ["--data=s3://b/imagenet"], ["--data=snap-0a1b"],
                                  ["--data=fsx:fs-1.fsx.us-east-1.amazonaws.com:mnt"]])  # fmt: skip
@pytest.mark.parametrize("count", ["1", "16"])
def test_the_start_script_is_a_program_that_a_shell_reads(tmp_path, capfd, data, count):
    flags = [
        "--dry_run",
        f"--count={count}",
        "--efa=auto",
        "--keep",
        "--code=https://host/x.git#v1",
    ]
    assert ec2.main([*flags, *data, *RUN, *COMMAND, "--note=it's $HOME"]) == 0
    out, _ = words(capfd)
    request = json.loads(out.partition("start script\n")[2].partition("\n# ")[0])
    assert request.get("Placement") == ({"GroupName": "lite0"} if count == "16" else None)
    cards = [(0, 0, "interface"), (0, 1, "efa-only")]
    cards += [(card, 0, "efa-only") for card in (1, 2, 3)]
    assert [
        (card["NetworkCardIndex"], card["DeviceIndex"], card["InterfaceType"])
        for card in request["NetworkInterfaces"]
    ] == cards[: 5 if count == "16" else 1]
    script = out.partition("# Start script of every instance\n")[2].rpartition("dry run:")[0]
    assert len(script.encode()) < 16384
    file = tmp_path / "script"
    file.write_text(script)
    for shell in (["bash", "-n"],):
        assert subprocess.run([*shell, file], capture_output=True, text=True).stderr == ""
    inner = script.partition("<<'END_OF_RUN'\n")[2].partition("END_OF_RUN")[0]
    typed = shlex.split(inner.splitlines()[-1])
    assert typed[:5] == ["exec", ".venv/bin/python", "train.py", "--model=efficientnet_lite0",
                         "--note=it's $HOME"]  # fmt: skip
    assert "--num_gpus=8" in typed
    assert ("--variable_update=collective_all_reduce" in typed) == (count == "16")
    assert ("--data_dir=/data" in typed) == bool(data)
    assert ("FI_PROVIDER=efa" in inner) == (count == "16")


def test_the_workers_of_a_script_find_each_other(tmp_path, capfd):
    """The part that meets on S3 runs under a real shell, with `aws` over a local directory."""
    assert ec2.main(["--dry_run", "--count=3", *RUN, *COMMAND]) == 0
    out, _ = words(capfd)
    part = out.partition("# Every worker writes")[2].partition('\necho "launch: worker')[0]
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "aws").write_text(
        "#!/bin/bash\nstore=${FAKE_S3:?}; from=$4; to=$5\n"
        'if [ "$from" = - ]; then f="$store/${to//\\//_}"; cat >"$f.new"; mv "$f.new" "$f"\n'
        'else cat "$store/${from//\\//_}"; fi\n'
    )
    (tools / "aws").chmod(0o755)
    started = []
    for index in range(3):
        script = (
            f"folder=s3://runs/all/lite0; index={index}\nmetadata() {{ echo 10.0.0.{index}; }}\n"
            "finish() { exit $1; }\nsleep() { command sleep 0.1; }\n"
            f'# {part}\necho "$TF_CONFIG"\n'
        )
        started.append(subprocess.Popen(
            ["bash", "-uc", script], stdout=subprocess.PIPE, text=True,
            env={"PATH": f"{tools}:{os.environ['PATH']}", "FAKE_S3": str(tmp_path)},
        ))  # fmt: skip
    from benchmark_cnn.distribution import cluster

    for index, process in enumerate(started):
        config = process.communicate(timeout=300)[0]
        assert process.returncode == 0
        found = cluster.find("", None, {"TF_CONFIG": config})
        assert (found.workers, found.index) == (
            ("10.0.0.0:12345", "10.0.0.1:12345", "10.0.0.2:12345"), index,
        )  # fmt: skip


def test_the_list_of_types_says_what_aws_says(aws):
    """moto's answers are AWS' own; P3 is no longer among them."""
    client = aws("ec2")
    names = [name for name in instance_types._KNOWN if not name.startswith("p3.")]
    answers = client.describe_instance_types(InstanceTypes=names)["InstanceTypes"]
    assert len(answers) == len(names)
    for answer in answers:
        assert instance_types.from_answer(answer) == instance_types.known(answer["InstanceType"])


@pytest.mark.parametrize(
    ("content", "flags", "line"),
    [
        ("instance_type,on_demand,spot\np4d.24xlarge,20,8\n", [], "$20.00 an hour"),
        ("instance_type,on_demand,spot\np4d.24xlarge,20,8\n", ["--spot", "--count=4"],
         "$32.00 an hour for the instances (disks and traffic are not counted); $768.00 a day"),
        ('{"p4d.24xlarge": {"on_demand": 20}}', [], "$480.00 a day"),
        ('{"p4d.24xlarge": 20.5}', ["--spot"], "$20.50 an hour"),
    ],
)  # fmt: skip
def test_the_price_is_the_callers(tmp_path, capfd, content, flags, line):
    file = tmp_path / ("prices.json" if content.startswith("{") else "prices.csv")
    file.write_text(content)
    assert ec2.main(["--dry_run", f"--price_file={file}", *flags, *COMMAND]) == 0
    assert line in words(capfd)[0]
    limited = [*COMMAND, "--max_run_minutes=90"]
    assert ec2.main(["--dry_run", f"--price_file={file}", *flags, *limited]) == 0
    hourly = 20.5 if "20.5" in content else 32 if flags else 20
    assert f"${hourly * 1.5:,.2f} for --max_run_minutes=90" in words(capfd)[0]


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ([], "there is no command to start: add -- train.py and its flags"),
        (["--", "train.py", "--task_index=1"], "leave --task_index out of the command"),
        (["--instance_type=p5n", *COMMAND], "is not in this program's list, and --dry_run asks no"),
        (["--instance_type=g5.xlarge", *COMMAND], "--num_gpus=8: g5.xlarge has 1 GPUs"),
        (["--instance_type=p3", "--efa=on", *COMMAND], "--efa=on: p3.16xlarge has no EFA"),
        (["--data=/imagenet", *COMMAND], "--data=/imagenet is none of s3://BUCKET/PREFIX"),
        (["--data=snap-1", *COMMAND, "--data_dir=/x"], "exclude each other: give one"),
        (["--code=https://me:token@host/x.git", *COMMAND], "--code holds a credential"),
        (["--key_name=k", *COMMAND], "--key_name and --ssh_cidr belong together"),
        (["--name=My Run", *COMMAND], "must be lower-case letters"),
    ],
)
def test_mistakes_are_one_line(capfd, flags, line):
    assert ec2.main(["--dry_run", *flags]) == 2
    _, err = words(capfd)
    assert line in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "token" not in err.replace("--code", "")


def test_a_price_file_without_the_type(tmp_path, capfd):
    (tmp_path / "p.csv").write_text("instance_type,on_demand\ng5.xlarge,1\n")
    assert ec2.main(["--dry_run", f"--price_file={tmp_path / 'p.csv'}", *COMMAND]) == 3
    assert "has no price of p4d.24xlarge on demand (column on_demand)" in words(capfd)[1]


def test_a_run_from_start_to_clean_up(aws, capfd, monkeypatch):
    client, s3 = aws("ec2"), aws("s3")
    flags = ["--instance_type=p5en", "--count=2", "--spot", "--key_name=k",
             "--ssh_cidr=203.0.113.7/32", "--data=snap-0a1b", "--detach"]  # fmt: skip
    client.create_key_pair(KeyName="k")
    volume = client.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
    snapshot = client.create_snapshot(VolumeId=volume)["SnapshotId"]
    flags = [flag.replace("snap-0a1b", snapshot) for flag in flags]
    assert ec2.main([*flags, *RUN, *COMMAND]) == 0
    out, _ = words(capfd)
    assert "started i-" in out
    (first, second) = api.Ec2(None).instances("lite0")
    assert {first["InstanceType"], second["InstanceType"]} == {"p5en.48xlarge"}
    assert first["InstanceLifecycle"] == "spot"
    tags = {tag["Key"]: tag["Value"] for tag in first["Tags"]}
    assert tags == {"tensorflow-imagenet": "lite0", "Name": "lite0"}
    assert first["KeyName"] == "k"
    assert first["IamInstanceProfile"]["Arn"].endswith("training")
    (group,) = client.describe_security_groups(
        Filters=[{"Name": "tag:tensorflow-imagenet", "Values": ["lite0"]}]
    )["SecurityGroups"]
    inbound = {
        (rule["IpProtocol"], rule.get("FromPort")): (rule["UserIdGroupPairs"], rule["IpRanges"])
        for rule in group["IpPermissions"]
    }
    assert set(inbound) == {("-1", None), ("tcp", 22)}
    assert inbound["tcp", 22][1][0]["CidrIp"] == "203.0.113.7/32"
    assert [pair["GroupId"] for pair in inbound["-1", None][0]] == [group["GroupId"]]
    assert any(rule["UserIdGroupPairs"] for rule in group["IpPermissionsEgress"])  # EFA's own
    (placement,) = client.describe_placement_groups()["PlacementGroups"]
    assert (placement["GroupName"], placement["Strategy"]) == ("lite0", "cluster")
    data = client.describe_instance_attribute(InstanceId=first["InstanceId"], Attribute="userData")[
        "UserData"
    ]["Value"]
    script = base64.b64decode(data).decode()
    assert "--variable_update=collective_all_reduce" in script
    assert loopback_aws.SECRET not in script
    assert "AKIALOOPBACK" not in script
    code = s3.get_object(Bucket="runs", Key="all/lite0/code.tar.gz")["Body"].read()
    assert code[:2] == b"\x1f\x8b"  # gzip

    assert ec2.main([*RUN, *COMMAND]) == 2
    assert "a run of this name has instances" in words(capfd)[1]
    assert ec2.main(["list"]) == 0
    assert words(capfd)[0].count("lite0  i-") == 2

    for worker, exit_code in ((0, 0), (1, 4)):
        place = f"all/lite0/logs/worker-{worker}.log"
        s3.put_object(Bucket="runs", Key=place, Body=b"step 1\nstep 2\n")
        place = f"all/lite0/done/worker-{worker}"
        s3.put_object(Bucket="runs", Key=place, Body=f"{exit_code}\n".encode())
    assert ec2.main(["logs", "lite0", "--bucket=s3://runs/all"]) == 4
    out, _ = words(capfd)
    assert [line for line in out.splitlines() if line.startswith("[")] == [
        "[0] step 1", "[0] step 2", "[1] step 1", "[1] step 2",
    ]  # fmt: skip

    assert ec2.main(["clean", "lite0"]) == 0
    out, _ = words(capfd)
    assert "lite0: 2 instances save and terminate" in out
    assert f"deleted security group {group['GroupId']}" in out
    assert "deleted placement group lite0" in out
    assert api.Ec2(None).instances() == []
    assert client.describe_placement_groups()["PlacementGroups"] == []


def test_logs_appear_once_and_a_lost_instance_is_said(aws, capfd, monkeypatch):
    s3, looks = aws("s3"), []
    monkeypatch.setattr(logs, "_POLL_SECS", 0.0)
    key = {"Bucket": "runs", "Key": "one/logs/worker-0.log"}

    class Instances:
        def __init__(self):
            self.s3 = s3

        def instances(self, name):
            looks.append(name)
            text = [b"a\nb", b"a\nbc\n", b"a\nbc\nd\n"][min(len(looks), 3) - 1]
            s3.put_object(**key, Body=text)
            return [1] if len(looks) < 4 else []

    with pytest.raises(api.RunError, match="worker 0 left no exit code"):
        logs.follow(Instances(), "one", "s3://runs/one", 1, is_stopped=lambda: False)  # type: ignore[arg-type]
    assert words(capfd)[0] == "a\nbc\nd\n"


def test_a_type_that_is_not_offered_is_said_and_nothing_is_left(aws, capfd):
    assert ec2.main(["--instance_type=p3.16xlarge", *RUN, *COMMAND]) == 2
    _, err = words(capfd)
    assert err == (
        "error: --instance_type=p3.16xlarge is not offered in us-east-1: give another "
        "--instance_type or --region; P3's successors are p4d, p5, g5 and g6\n"
    )
    assert ec2.main(["--detach", "--data=snap-0a1b", *RUN, *COMMAND]) == 2
    assert "error: RunInstances: InvalidSnapshot.NotFound" in words(capfd)[1]
    groups = aws("ec2").describe_security_groups()["SecurityGroups"]
    assert [group["GroupName"] for group in groups] == ["default"]


@pytest.mark.parametrize(
    ("code", "exit_code", "line"),
    [
        ("UnauthorizedOperation", 2, "your AWS user may not do this"),
        ("AuthFailure", 2, "AWS does not accept the credentials"),
        ("ExpiredToken", 2, "the AWS credentials have expired: log in again"),
        ("VcpuLimitExceeded", 2, "your quota of these instances is too small"),
        ("InsufficientInstanceCapacity", 1, "AWS has no such instance free now"),
        ("InternalFailure", 1, "InternalFailure: no"),
    ],
)
def test_refusals_of_aws_are_one_line(monkeypatch, capfd, code, exit_code, line):
    message = "no. Encoded authorization failure message: 4GIOHlTkIaWHQD0Q0m6XSnuUMCm"
    with loopback_aws.refusing_server(code, message) as url:
        for name, value in loopback_aws.environment(url).items():
            monkeypatch.setenv(name, value)
        assert ec2.main(["list"]) == exit_code
    _, err = words(capfd)
    assert err.startswith("error: DescribeInstances: ")
    assert line in err
    assert err.count("\n") == 1
    assert "4GIOH" not in err


def test_no_credentials_no_region_and_no_network_are_one_line(monkeypatch, capfd):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # the port is taken, but nobody listens
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        for name, value in loopback_aws.environment(url).items():
            monkeypatch.setenv(name, value)
        assert ec2.main(["list"]) == 1
    assert "error: AWS cannot be reached: Could not connect to the endpoint URL" in words(capfd)[1]
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert ec2.main(["list"]) == 2
    assert words(capfd)[1].startswith("error: no AWS credentials: run `aws configure`")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert ec2.main(["list"]) == 2
    assert words(capfd)[1].startswith("error: no AWS region: give --region")
    monkeypatch.setenv("AWS_PROFILE", "absent")
    assert ec2.main(["list"]) == 2
    assert "(absent)" in words(capfd)[1]
