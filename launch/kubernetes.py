r"""Train on Kubernetes: `python -m launch.kubernetes --image=IMAGE -- train.py ...`.

    python -m launch.kubernetes --image=registry/trainer:1 --workers=2 --gpus_per_worker=8 \
      -- train.py --model=resnet50 --data_dir=/data/imagenet --train_dir=s3://BUCKET/resnet50 \
      | kubectl apply -f -

It prints an Indexed Job with the headless service in which its workers find each other; with
--kind=TFJob, Kubeflow's TFJob. A worker that is evicted gets SIGTERM, saves and exits with 75; it
is started again and resumes. The image holds this repository in its working directory, and its
packages. --claim mounts a volume claim at /data.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from typing import Any

from common import commands
from common.errors import UsageError
from launch import tasks

_PORT = 12345
_SAVE_SECS = 120
_GPU = "nvidia.com/gpu"


def main(argv: Sequence[str]) -> int:
    """Runs the command line `argv` and returns the exit code."""
    parser = commands.parser("python -m launch.kubernetes", __doc__)
    add = parser.add_argument
    add("--image", required=True, help="of the containers")
    add("--kind", choices=("Job", "TFJob"), default="Job", help="Kubernetes' own, or Kubeflow's")
    add("--workers", type=commands.at_least(1), default=1, metavar="N", help="pods (1)")
    add("--gpus_per_worker", type=commands.at_least(0), default=8, metavar="N",
        help="towers of each worker (8); 0 for nodes without GPUs, with one tower")  # fmt: skip
    add("--name", default="train", help="of the job (train)")
    add("--namespace", help="default: that of kubectl")
    add("--claim", metavar="NAME", help="a PersistentVolumeClaim with the data, mounted at /data")
    add("--service_account", metavar="NAME", help="that may read and write the bucket")
    add("--max_restarts", type=commands.at_least(0), default=100, metavar="N",
        help="how often workers may be started again (100)")  # fmt: skip
    add("command", nargs=argparse.REMAINDER, help="after --: train.py and its flags")
    options = parser.parse_args(argv)
    if options.command[:1] == ["--"]:
        del options.command[0]
    return commands.run(lambda: _print(options))


def _print(options: argparse.Namespace) -> None:
    """Prints one JSON document, which kubectl reads as it reads YAML."""
    objects = manifests(options)
    listed = {"apiVersion": "v1", "kind": "List", "items": objects}
    print(json.dumps(listed if len(objects) > 1 else objects[0], indent=2))


def manifests(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Returns the objects to create.

    Raises:
        UsageError: a name is not what Kubernetes takes.
    """
    tasks.check_command(options.command)
    # With its index, the name of a pod has to be a DNS label.
    if not re.fullmatch(r"[a-z]([a-z0-9-]{0,50}[a-z0-9])?", options.name):
        raise UsageError(
            f"--name={options.name} must be lower-case letters, digits and dashes, 52 at most"
        )
    if options.kind == "TFJob":
        return [_tf_job(options)]
    return [*([_service(options)] if options.workers > 1 else []), _job(options)]


def _metadata(options: argparse.Namespace) -> dict[str, Any]:
    metadata = {"name": options.name, "labels": {"app": options.name}}
    if options.namespace is not None:
        metadata["namespace"] = options.namespace
    return metadata


def _service(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(options),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,  # workers wait for each other before they are ready
            "selector": {"app": options.name},
            "ports": [{"port": _PORT}],
        },
    }


def _job(options: argparse.Namespace) -> dict[str, Any]:
    name = options.name
    command = [*options.command, f"--num_gpus={max(1, options.gpus_per_worker)}"]
    if options.workers > 1:
        hosts = ",".join(f"{name}-{i}.{name}:{_PORT}" for i in range(options.workers))
        command += [
            "--variable_update=collective_all_reduce",
            f"--worker_hosts={hosts}",
            "--task_index=$(JOB_COMPLETION_INDEX)",  # which Kubernetes sets and replaces
        ]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(options),
        "spec": {
            "completions": options.workers,
            "parallelism": options.workers,
            "completionMode": "Indexed",
            "backoffLimit": options.max_restarts,
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "subdomain": name,
                    "restartPolicy": "OnFailure",
                    **_pod(options, command, "trainer"),
                },
            },
        },
    }


def _tf_job(options: argparse.Namespace) -> dict[str, Any]:
    """Returns Kubeflow's object, which gives every worker its TF_CONFIG."""
    command = [*options.command, f"--num_gpus={max(1, options.gpus_per_worker)}"]
    if options.workers > 1:
        command.append("--variable_update=collective_all_reduce")
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "TFJob",
        "metadata": _metadata(options),
        "spec": {
            "runPolicy": {"backoffLimit": options.max_restarts, "cleanPodPolicy": "None"},
            "tfReplicaSpecs": {
                "Worker": {
                    "replicas": options.workers,
                    "restartPolicy": "OnFailure",
                    # Kubeflow finds the container by this name.
                    "template": {"spec": _pod(options, command, "tensorflow")},
                }
            },
        },
    }


def _pod(options: argparse.Namespace, command: Sequence[str], name: str) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": name,
        "image": options.image,
        "command": tasks.program(command, "python"),
        "ports": [{"containerPort": _PORT}],
        "volumeMounts": [{"name": "memory", "mountPath": "/dev/shm"}],  # of NCCL
    }
    if options.gpus_per_worker:
        container["resources"] = {"limits": {_GPU: options.gpus_per_worker}}
    volumes: list[dict[str, Any]] = [{"name": "memory", "emptyDir": {"medium": "Memory"}}]
    if options.claim is not None:
        container["volumeMounts"].append({"name": "data", "mountPath": "/data"})
        volumes.append({"name": "data", "persistentVolumeClaim": {"claimName": options.claim}})
    pod = {
        "terminationGracePeriodSeconds": _SAVE_SECS,
        "containers": [container],
        "volumes": volumes,
    }
    if options.service_account is not None:
        pod["serviceAccountName"] = options.service_account
    return pod


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
