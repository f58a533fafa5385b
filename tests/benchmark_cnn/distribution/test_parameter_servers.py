"""Who is who in an asynchronous run, what it refuses, and how its processes find each other."""

from __future__ import annotations

import json
import threading
import time

import pytest

from benchmark_cnn.distribution import parameter_servers, remote_tasks, roll_call, task_server
from benchmark_cnn.distribution.remote_tasks import RemoteTasks, Task
from benchmark_cnn.params.validation import make_params
from common.errors import ClusterError, UsageError
from common.process import StopSignal, free_ports

HOSTS = {"ps_hosts": "a:1,b:2", "worker_hosts": "c:3"}
CLUSTER = {"chief": ["x:9"], "ps": ["a:1", "b:2"], "worker": ["c:3"]}
FACTS = {"--batch_size": 4}
HANG_SECS = 120


def params_of(**flags):
    return make_params(variable_update="parameter_server", **flags)


@pytest.mark.parametrize(("job", "index"), [("chief", None), ("worker", 0), ("ps", 1)])
def test_flags_and_tf_config_say_who_this_process_is(job, index, monkeypatch):
    by_flags = parameter_servers.of(params_of(**HOSTS, job_name=job, task_index=index))
    task = {"type": job, "index": index or 0}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": CLUSTER, "task": task}))
    assert by_flags == parameter_servers.of(params_of())
    assert by_flags.servers == ("a:1", "b:2")
    assert by_flags.workers == ("c:3",)
    assert by_flags.is_chief == (job == "chief")
    if index is not None:
        assert by_flags.task.address == CLUSTER[job][index]


def test_without_servers_the_mode_keeps_its_meaning(monkeypatch):
    assert parameter_servers.of(params_of()) is None
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": ["c:3"]}}))
    assert parameter_servers.of(params_of()) is None
    assert parameter_servers.of(make_params()) is None


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        ({"ps_hosts": "a:1", "job_name": "chief"}, "--ps_hosts needs --worker_hosts"),
        (HOSTS, "--ps_hosts needs --job_name"),
        ({**HOSTS, "job_name": "ps"}, "--job_name=ps needs --task_index=N, its place among --ps"),
        ({"job_name": "ps"}, "--job_name has no effect without --ps_hosts"),
        ({**HOSTS, "job_name": "worker", "task_index": 1}, "name 1 of worker; there is no 1"),
        ({**HOSTS, "worker_hosts": "a:1", "job_name": "chief"}, "name a:1 twice"),
    ],
)
def test_a_description_that_is_none(flags, part):
    with pytest.raises(UsageError, match=part):
        parameter_servers.of(params_of(**flags))


def test_the_flags_belong_to_the_mode():
    with pytest.raises(UsageError, match="--ps_hosts has no effect with --variable_update=repl"):
        make_params(ps_hosts="a:1")


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("sync_batch_norm", True),
        ("dtype", "float16"),
        ("gradient_accumulation_steps", 2),
        ("deterministic", True),
        ("xla", "towers"),
        ("num_gpus", 2),
        ("all_reduce_spec", "pscpu"),
        ("local_parameter_device", "cpu"),
        ("steps_per_loop", 10),
        ("forward_only", True),
        ("on_nonfinite", "rollback"),
        ("hang_minutes", 1.0),
        ("summary_verbosity", 2),
        ("profile_steps", "1,2"),
        ("trace_file", "trace.json"),
        ("max_corrupt_records", 1),
    ],
)
def test_what_asynchronous_training_cannot_do_is_refused_in_a_line(flag, value, monkeypatch):
    """By the flags of the command line as by TF_CONFIG, which is read later."""
    needs = {"train_dir": "run", "data_dir": "data"}
    expected = f"--{flag}={str(value).lower() if value is True else value} cannot be used with para"
    with pytest.raises(UsageError) as by_flags:
        params_of(**HOSTS, job_name="chief", **needs, **{flag: value})
    assert sum(line.startswith(expected) for line in str(by_flags.value).splitlines()) == 1
    needs = needs if flag != "forward_only" else {}
    run = params_of(**needs, **{flag: value}) if flag != "all_reduce_spec" else None
    if run is not None:
        task = {"type": "chief", "index": 0}
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": CLUSTER, "task": task}))
        with pytest.raises(UsageError) as by_environment:
            parameter_servers.of(run)
        assert str(by_environment.value).startswith(expected)


class Serving(threading.Thread):
    """A task that serves without TensorFlow, in a thread."""

    def __init__(self, task, facts=FACTS):
        super().__init__(daemon=True)
        self.task, self.facts, self.error = task, facts, None
        self.stop = StopSignal()
        self.start()

    def run(self):
        try:
            with roll_call.listen(self.task.address, self.task.index) as listener:
                connection = task_server._called(listener, self.task, self.facts, self.stop)
            connection.send({"ready": True})
            task_server._serve_until_the_end(self.task, connection, self.stop)
        except Exception as error:
            self.error = error


@pytest.fixture
def two_tasks(monkeypatch):
    monkeypatch.setattr(roll_call, "ANSWER_SECS", 60)
    monkeypatch.setattr(remote_tasks, "POLL_SECS", 0.02)
    monkeypatch.setattr(task_server, "POLL_SECS", 0.02)
    ports = free_ports(2)
    return [Task("worker", 0, f"127.0.0.1:{ports[0]}"), Task("ps", 0, f"127.0.0.1:{ports[1]}")]


def wait_until(condition):
    deadline = time.monotonic() + HANG_SECS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_tasks_serve_until_the_chief_ends(two_tasks):
    serving = [Serving(task) for task in two_tasks]
    with RemoteTasks(two_tasks, FACTS, print) as tasks:
        assert tasks.workers_left == 1
    for task in two_tasks:
        task.connection.close()  # as the kernel does at the end of the process
    for thread in serving:
        thread.join(HANG_SECS)
        assert not thread.is_alive()
        assert thread.error is None


def test_a_task_of_another_command_is_refused_on_both_sides(two_tasks):
    serving = [Serving(two_tasks[0], {"--batch_size": 8}), Serving(two_tasks[1])]
    line = r"worker 0 \(127.0.0.1:\d+\) has --batch_size=8, the chief --batch_size=4"
    with pytest.raises(UsageError, match=line), RemoteTasks(two_tasks, FACTS, print):
        pass
    serving[0].join(HANG_SECS)
    assert isinstance(serving[0].error, UsageError)


def test_a_task_that_does_not_come_is_named(two_tasks, monkeypatch):
    """The worker may have come by then, or not."""
    monkeypatch.setattr(roll_call, "JOIN_SECS", 0.5)
    Serving(two_tasks[0])
    with (
        pytest.raises(ClusterError, match=r"parameter server 0 .* did not start within"),
        RemoteTasks(two_tasks, FACTS, print),
    ):
        pass


def test_a_worker_may_go_and_come_back_and_a_server_may_not(two_tasks):
    lines = []
    first, server = Serving(two_tasks[0]), Serving(two_tasks[1])
    with RemoteTasks(two_tasks, FACTS, lines.append) as tasks:
        two_tasks[0].connection._socket.shutdown(2)
        wait_until(lambda: lines)
        assert "is gone: training waits for it" in lines[0]
        assert tasks.workers_left == 0
        first.join(HANG_SECS)
        Serving(two_tasks[0])
        wait_until(lambda: len(lines) == 2)
        assert lines[1].endswith("is there again")
        assert tasks.workers_left == 1
        tasks.check()
        two_tasks[1].connection._socket.shutdown(2)
        with pytest.raises(ClusterError, match=r"parameter server 0 .* is gone, and its variables"):
            tasks.check(HANG_SECS)
    server.join(HANG_SECS)


def test_a_server_that_is_asked_to_stop_asks_the_chief(two_tasks):
    serving = [Serving(task) for task in two_tasks]
    with RemoteTasks(two_tasks, FACTS, print) as tasks:
        serving[1].stop.requested = "SIGTERM"
        wait_until(lambda: tasks.asked_to_stop)
        assert tasks.asked_to_stop.startswith("SIGTERM to parameter server 0")
