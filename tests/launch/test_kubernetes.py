"""The manifests, against Kubernetes' own schema and the fields of Kubeflow's TFJob."""

from __future__ import annotations

import json

import kubernetes_validate
import pytest

from benchmark_cnn.distribution import cluster
from benchmark_cnn.flags import command_line
from launch import kubernetes

IMAGE = "--image=registry/trainer:1"
COMMAND = ["--", "train.py", "--model=lenet", "--data_dir=/data/imagenet"]
OPTIONS = [
    [],
    ["--workers=3", "--gpus_per_worker=4", "--claim=imagenet", "--service_account=trainer"],
    ["--gpus_per_worker=0", "--namespace=research", "--max_restarts=0"],
]

# Of kubeflow.org/v1 TFJob, the fields that the launcher writes, with their types; written out from
# the operator's documentation. The whole schema belongs to the operator and is not checked here.
TFJOB = {
    "apiVersion": str,
    "kind": str,
    "metadata": {"name": str, "labels": dict, "namespace": str},
    "spec": {
        "runPolicy": {"backoffLimit": int, "cleanPodPolicy": ("None", "Running", "All")},
        "tfReplicaSpecs": {
            "Worker": {
                "replicas": int,
                "restartPolicy": ("Always", "OnFailure", "Never", "ExitCode"),
                "template": {"spec": dict},
            }
        },
    },
}


def printed(capsys, *flags, code=0):
    assert kubernetes.main([IMAGE, *flags, *COMMAND]) == code
    document = json.loads(capsys.readouterr().out)
    return document["items"] if document["kind"] == "List" else [document]


def flags_of(container, index):
    """What train.py reads in the container of worker `index`; the kubelet replaces $(NAME)."""
    words = [word.replace("$(JOB_COMPLETION_INDEX)", str(index)) for word in container["command"]]
    assert words[:2] == ["python", "train.py"]
    return command_line.parse("train.py", words[2:]).params


@pytest.mark.parametrize("flags", OPTIONS)
def test_the_job_has_kubernetes_schema_and_its_workers_form_a_cluster(capsys, flags):
    objects = printed(capsys, *flags)
    for each in objects:
        kubernetes_validate.validate(each, "1.31", strict=True)
    *services, job = objects
    spec = job["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    count = spec["completions"]
    assert spec["parallelism"] == count
    for index in range(count):
        params = flags_of(container, index)
        found = cluster.of(params.hardware)
        if count == 1:
            assert (found, services) == (None, [])
            continue
        assert found is not None
        assert (found.size, found.index) == (3, index)
        # A pod of an Indexed Job has the host name JOB-INDEX in the domain of the service.
        (service,) = services
        domain = spec["template"]["spec"]["subdomain"]
        assert domain == service["metadata"]["name"]
        assert found.workers[index] == f"{job['metadata']['name']}-{index}.{domain}:12345"
        labels = spec["template"]["metadata"]["labels"]
        assert service["spec"]["selector"].items() <= labels.items()
    gpus = container.get("resources", {}).get("limits", {}).get("nvidia.com/gpu")
    assert params.hardware.num_gpus == (gpus or 1)


@pytest.mark.parametrize("flags", OPTIONS)
def test_the_tfjob_has_the_fields_that_the_operator_reads(capsys, flags):
    (job,) = printed(capsys, "--kind=TFJob", *flags)
    check(job, TFJOB, "")
    assert (job["apiVersion"], job["kind"]) == ("kubeflow.org/v1", "TFJob")
    worker = job["spec"]["tfReplicaSpecs"]["Worker"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, **worker["template"]}
    kubernetes_validate.validate(pod, "1.31", strict=True)
    (container,) = pod["spec"]["containers"]
    assert container["name"] == "tensorflow"
    update = flags_of(container, 0).hardware.variable_update
    assert update == ("collective_all_reduce" if worker["replicas"] > 1 else "replicated")


def check(value, schema, path):
    if isinstance(schema, dict):
        assert set(value) <= set(schema), path
        for name, part in value.items():
            check(part, schema[name], f"{path}.{name}")
    elif isinstance(schema, tuple):
        assert value in schema, path
    else:
        assert isinstance(value, schema), path


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--name=My_Run"], "--name=My_Run must be lower-case letters, digits and dashes"),
        (["--", "train.py", "--task_index=1"], "leave --task_index out of the command"),
        (["--"], "there is no command to start"),
    ],
)
def test_mistakes_are_one_line(capsys, flags, line):
    command = [] if "--" in flags else COMMAND
    assert kubernetes.main([IMAGE, *flags, *command]) == 2
    err = capsys.readouterr().err
    assert line in err
    assert err.count("\n") == 1
