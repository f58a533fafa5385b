"""Which cluster the flags and the environment describe."""

from __future__ import annotations

import json

import pytest

from benchmark_cnn.distribution import cluster
from benchmark_cnn.params.validation import make_params
from common.errors import UsageError

HOSTS = "a:1,b:2,c:3"
# As Slurm sets them for `srun --nodes=2 --ntasks-per-node=2`.
SLURM = {
    "SLURM_STEP_NODELIST": "n[9-10]",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
    "SLURM_STEP_NUM_TASKS": "4",
}


def tf_config(task, **jobs):
    config = {"cluster": jobs}
    if task is not None:
        config["task"] = task
    return {"TF_CONFIG": json.dumps(config)}


def worker(index):
    return {"type": "worker", "index": index}


def test_flags_name_the_workers_and_come_first():
    found = cluster.find(HOSTS, 1, tf_config(worker(0), worker=["x:1", "y:1"]))
    assert (found.workers, found.index) == (("a:1", "b:2", "c:3"), 1)
    assert not found.is_chief
    assert found.size == 3


@pytest.mark.parametrize(
    ("task", "jobs", "workers", "index"),
    [
        (worker(1), {"worker": ["a:1", "b:1"]}, ("a:1", "b:1"), 1),
        # Kubeflow and Vertex AI: the chief comes first, whatever the order of the keys.
        (worker(1), {"worker": ["a:1", "b:1"], "chief": ["c:1"]}, ("c:1", "a:1", "b:1"), 2),
        ({"type": "chief", "index": 0}, {"worker": ["a:1"], "chief": ["c:1"]}, ("c:1", "a:1"), 0),
        # Indices are strings in some systems, and jobs are sparse dictionaries in others.
        ({"type": "worker", "index": "0"}, {"worker": {"0": "a:1"}}, ("a:1",), 0),
        # Tasks that do not train are left out.
        (worker(0), {"worker": ["a:1"], "ps": ["p:1"], "evaluator": ["e:1"]}, ("a:1",), 0),
    ],
)
def test_tf_config_names_the_workers(task, jobs, workers, index):
    found = cluster.find("", None, tf_config(task, **jobs))
    assert (found.workers, found.index) == (workers, index)


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"TF_CONFIG": "{worker: a}"}, "TF_CONFIG in the environment is not a cluster: Expecting"),
        ({"TF_CONFIG": "[]"}, "TF_CONFIG in the environment is not a cluster: "),
        ({"TF_CONFIG": '{"cluster": []}'}, "TF_CONFIG in the environment is not a cluster: "),
        (tf_config(worker(0), worker=["a"]), "is not a cluster: has 'a' where HOST:PORT belongs"),
        (tf_config(worker(0), worker=[1]), "TF_CONFIG in the environment is not a cluster: "),
        (tf_config(worker(0), worker=["a:1", "a:1"]), "names a worker twice"),
        (tf_config(None, worker=["a:1"]), "does not say which task this process is"),
        (tf_config({"type": "worker"}, worker=["a:1"]), "does not say which task this process is"),
        (tf_config(worker("x"), worker=["a:1"]), "does not say which task this process is"),
        (tf_config(worker(1), worker=["a:1"]), "TF_CONFIG has no worker 1: it names 1, from 0"),
        (tf_config(worker(1), worker=["a:1"], chief=["b:1"]), "TF_CONFIG has no worker 1: it na"),
        (tf_config(worker(-1), worker=["a:1"]), "TF_CONFIG has no worker -1: it names 1, from 0"),
        (
            tf_config({"type": "evaluator", "index": 0}, worker=["a:1"]),
            "TF_CONFIG gives this process the task 'evaluator', which does not train",
        ),
        (tf_config({"type": "ps", "index": 0}, worker=["a:1"]), "the task 'ps', which does not"),
        ({}, "--variable_update=collective_all_reduce needs the workers: --worker_hosts="),
    ],
)
def test_what_describes_no_cluster_is_one_line(environment, line):
    with pytest.raises(UsageError) as error:
        cluster.find("", None, environment)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("index", "line"),
    [
        (None, "--worker_hosts needs --task_index=N, this worker's place, from 0"),
        (3, "--worker_hosts names 3 workers; there is no worker 3 (from 0)"),
    ],
)
def test_a_wrong_task_index_is_named(index, line):
    with pytest.raises(UsageError) as error:
        cluster.find(HOSTS, index, {})
    assert str(error.value) == line


@pytest.mark.parametrize(("rank", "node"), [(0, 0), (1, 0), (3, 1)])
def test_slurm_gives_one_worker_a_task(rank, node):
    environment = {**SLURM, "SLURM_PROCID": str(rank), "SLURM_NODEID": str(node)}
    found = cluster.find("", None, environment)
    assert found.workers == ("n9:12345", "n9:12346", "n10:12345", "n10:12346")
    assert found.index == rank


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"SLURM_PROCID": "0"}, "no job step: SLURM_STEP_NODELIST is missing; use srun"),
        ({**SLURM}, "no job step: SLURM_PROCID is missing; use srun"),
        ({**SLURM, "SLURM_PROCID": "x"}, "no job step: invalid literal for int()"),
        ({**SLURM, "SLURM_PROCID": "4"}, "names 4 workers; there is no worker 4 (from 0)"),
        (
            {**SLURM, "SLURM_PROCID": "1", "SLURM_NODEID": "1"},
            "task 1 of the Slurm job runs on node 1 of the step, where the tasks in blocks would "
            "have it on node 0: use srun --distribution=block",
        ),
    ],
)
def test_a_damaged_slurm_environment_is_one_line(environment, line):
    with pytest.raises(UsageError) as error:
        cluster.find("", None, environment)
    assert line in str(error.value)


@pytest.mark.parametrize(
    ("environment", "where"),
    [
        (tf_config(worker(1), worker=["a:1", "b:1"]), "TF_CONFIG has 2 workers"),
        (tf_config(worker(0), worker=["a:1"], chief=["b:1"]), "TF_CONFIG has 2 workers"),
        ({**SLURM, "SLURM_PROCID": "1"}, "Slurm's job step has 4 workers"),
    ],
)
def test_workers_of_a_cluster_do_not_train_alone_in_silence(monkeypatch, environment, where):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError) as error:
        cluster.of(make_params(device="cpu").hardware)
    assert str(error.value).startswith(
        f"{where}, and with --variable_update=replicated each of them would train alone: give "
        "--variable_update=collective_all_reduce, or unset "
    )


@pytest.mark.parametrize(
    "environment",
    [{}, tf_config(worker(0), worker=["a:1"]), {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}],
)
def test_a_single_worker_trains_alone(monkeypatch, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cluster.of(make_params(device="cpu").hardware) is None
