"""The script that an instance runs at its first start (cloud-init): install, train, clean up.

It holds no credential: the instance's profile gives it access to the bucket. Training is a systemd
unit, so that a termination sends it SIGTERM and waits until it has saved. Workers find each other
through small files in the run's folder: worker i is the instance with launch index i.
"""

from __future__ import annotations

import shlex

from launch.ec2.plan import Plan
from launch.tasks import value_of

MAX_BYTES = 16384  # of EC2's user data
_PORT = 12345
_SAVE_SECS = 110  # EC2 warns two minutes before it takes a spot instance back

_TEMPLATE = """#!/bin/bash
# Run {name}: {count} x {instance}
set -uo pipefail
exec >>/var/log/train.log 2>&1
export HOME=/root DEBIAN_FRONTEND=noninteractive AWS_DEFAULT_REGION={region}
folder={folder}
token() {{ curl -sf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 300' \\
  http://169.254.169.254/latest/api/token; }}
metadata() {{ curl -sf -H "X-aws-ec2-metadata-token: $(token)" \\
  "http://169.254.169.254/latest/meta-data/$1"; }}
[ -n "$AWS_DEFAULT_REGION" ] || export AWS_DEFAULT_REGION=$(metadata placement/region)
index=$(metadata ami-launch-index)
push_log() {{ aws s3 cp --quiet /var/log/train.log "$folder/logs/worker-$index.log"; }}
finish() {{
  echo "launch: worker $index ended with exit code $1"
  push_log
  echo "$1" | aws s3 cp --quiet - "$folder/done/worker-$index"
  {at_end}
  exit "$1"
}}
step() {{ echo "launch: $1"; shift; "$@" || finish 70; }}

command -v aws >/dev/null || {{ apt-get update -q && apt-get install -qy awscli; }}
while sleep 15; do push_log; done &
step "installing system packages" bash -c \\
  "apt-get update -q && apt-get install -qy python3-venv make git"
mkdir -p /opt/train && cd /opt/train
{code}
step "installing Python packages" make setup GPU=1
{data}
{cluster}
echo "launch: worker $index starts"
cat >/opt/train/run.sh <<'END_OF_RUN'
#!/bin/bash
cd /opt/train
{environment}exec .venv/bin/python {command}
END_OF_RUN
chmod +x /opt/train/run.sh
systemd-run --unit=train --wait --collect --quiet \\
  --property=After=network-online.target --property=TimeoutStopSec={save_secs} \\
  --property=StandardOutput=append:/var/log/train.log \\
  --property=StandardError=append:/var/log/train.log \\
  --setenv=HOME=/root --setenv=AWS_DEFAULT_REGION="$AWS_DEFAULT_REGION" \\
  {tf_config}/opt/train/run.sh
finish $?
"""

_CLUSTER = """# Every worker writes its address and waits for the others.
echo "$(metadata local-ipv4):{port}" | aws s3 cp --quiet - "$folder/hosts/$index" || finish 70
hosts=""
for i in $(seq 0 {last}); do
  for attempt in $(seq 1 180); do
    host=$(aws s3 cp --quiet "$folder/hosts/$i" - 2>/dev/null) && break
    sleep 5
  done
  [ -n "$host" ] || {{ echo "launch: worker $i did not appear within 15 minutes"; finish 69; }}
  hosts="$hosts,\\"$host\\""
done
export TF_CONFIG="{{\\"cluster\\": {{\\"worker\\": [${{hosts#,}}]}},\\
 \\"task\\": {{\\"type\\": \\"worker\\", \\"index\\": $index}}}}"
"""
_EFA = """export FI_PROVIDER=efa FI_EFA_USE_DEVICE_RDMA=1
export LD_LIBRARY_PATH=/opt/amazon/ofi-nccl/lib:/opt/amazon/efa/lib:${LD_LIBRARY_PATH:-}
"""


def script(plan: Plan) -> str:
    """Returns the script for every instance of the plan."""
    command = [*plan.command, f"--num_gpus={plan.num_gpus}"]
    if plan.count > 1:
        command.append("--variable_update=collective_all_reduce")
    if plan.data is not None:
        command.append("--data_dir=/data")
    if value_of(plan.command, "train_dir") is None:
        command.append(f"--train_dir={plan.train_dir}")
    return _TEMPLATE.format(
        name=plan.name,
        count=plan.count,
        instance=plan.instance.name,
        region=shlex.quote(plan.region or ""),
        folder=shlex.quote(plan.folder),
        at_end=": # stays" if plan.keeps else "shutdown -h now",
        code=_code(plan.code),
        data=_data(plan.data),
        cluster=_CLUSTER.format(port=_PORT, last=plan.count - 1) if plan.count > 1 else "",
        tf_config='--setenv=TF_CONFIG="$TF_CONFIG" ' if plan.count > 1 else "",
        environment=_EFA if plan.efa else "",
        command=shlex.join(command),
        save_secs=_SAVE_SECS,
    )


def _code(code: str) -> str:
    if code.startswith("s3://"):
        fetch = f"aws s3 cp --quiet {shlex.quote(code)} /opt/code.tar.gz"
        unpack = "tar -xzf /opt/code.tar.gz -C /opt/train"
        return f'step "fetching the code" {fetch}\nstep "unpacking the code" {unpack}'
    url, _, branch = code.partition("#")
    choice = f"--branch {shlex.quote(branch)} " if branch else ""
    clone = f"git clone --quiet --depth 1 {choice}{shlex.quote(url)} /opt/train"
    return f'step "fetching the code" {clone}'


def _data(data: str | None) -> str:
    if data is None:
        return ""
    if data.startswith("s3://"):
        # The image mounts the instance's own disks there, where it has any.
        return (
            "[ -d /opt/dlami/nvme ] && mkdir -p /opt/dlami/nvme/data && "
            "ln -sfn /opt/dlami/nvme/data /data || mkdir -p /data\n"
            f'step "copying the data" aws s3 sync --quiet {shlex.quote(data)} /data/'
        )
    if data.startswith("fsx:"):
        _, host, mount = data.split(":")
        source = f"{host}@tcp:/{mount.lstrip('/')}"
        return (
            'mkdir -p /data\nstep "mounting FSx" mount -t lustre -o ro,relatime,flock '
            f"{shlex.quote(source)} /data"
        )
    # The volume has another name on every instance: it is the disk that holds a file system itself.
    return (
        "mkdir -p /data\n"
        "disk=$(lsblk -dpno NAME,FSTYPE | awk '$2 ~ /^(ext4|xfs)$/ {print $1; exit}')\n"
        'step "mounting the volume" mount -o ro "$disk" /data'
    )
