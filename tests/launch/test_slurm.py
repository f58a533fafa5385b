"""The sbatch file, and a real Slurm on loopback where its daemons are installed."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time

import pytest

from benchmark_cnn.flags import command_line
from checkpoints import store
from common.process import free_ports
from launch import slurm

COMMAND = ["--", "train.py", "--model=lenet", "--data_name=digits"]
DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol")


@pytest.mark.parametrize(
    ("flags", "lines", "update"),
    [
        (["--nodes=2", "--time=12:00:00"],
         ["#SBATCH --nodes=2", "#SBATCH --gpus-per-node=8", "#SBATCH --time=12:00:00"],
         "collective_all_reduce"),
        (["--gpus_per_node=0", "--partition=cpu", "--sbatch=--account=me", "--notice_secs=60"],
         ["#SBATCH --partition=cpu", "#SBATCH --account=me", "#SBATCH --signal=USR1@60"],
         "replicated"),
    ],
)  # fmt: skip
def test_the_file_says_what_was_asked_for(tmp_path, monkeypatch, capsys, flags, lines, update):
    monkeypatch.chdir(tmp_path)
    assert slurm.main(["--dry_run", *flags, *COMMAND]) == 0
    assert not list(tmp_path.iterdir())
    text = capsys.readouterr().out
    assert set(lines) <= set(text.splitlines())
    assert ("--gpus-per-node" in text) == ("--gpus_per_node=0" not in flags)
    (tmp_path / "file").write_text(text)
    assert subprocess.run(["bash", "-n", "file"], capture_output=True).stderr == b""
    (line,) = (line for line in text.splitlines() if line.startswith("srun"))
    words = line.split("train.py ")[1].removesuffix(" &").split()
    hardware = command_line.parse("train.py", words).params.hardware
    assert (hardware.variable_update, hardware.num_gpus) == (
        update,
        8 if "--nodes=2" in flags else 1,
    )


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ([], "there is no command to start"),
        (["--name=a b", *COMMAND], "--name=a b may hold letters"),
        (["--sbatch=account", *COMMAND], "--sbatch=account is no option of sbatch"),
        ([*COMMAND, "--num_gpus=2"], "leave --num_gpus out of the command"),
        (["--output=/none/x", *COMMAND], "cannot write /none/x"),
    ],
)
def test_mistakes_are_one_line(capsys, flags, line):
    assert slurm.main(flags) == 2
    err = capsys.readouterr().err
    assert line in err
    assert err.count("\n") == 1


def test_without_sbatch_the_file_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nonexistent")
    assert slurm.main(["--name=digits", *COMMAND]) == 2
    assert "there is no sbatch here; digits.sbatch is written" in capsys.readouterr().err
    assert (tmp_path / "digits.sbatch").read_text().startswith("#!/bin/bash\n")


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A Slurm of one node, whose daemons end with the test."""
    if os.geteuid() or any(shutil.which(name) is None for name in DAEMONS):
        pytest.skip("needs root and Slurm (Debian: slurm-wlm)")
    host, (control, node) = socket.gethostname().partition(".")[0], free_ports(2)
    (tmp_path / "munge.key").write_bytes(os.urandom(1024))
    (tmp_path / "munge.key").chmod(0o600)
    for name in ("state", "spool"):
        (tmp_path / name).mkdir()
    (tmp_path / "slurm.conf").write_text(
        f"""ClusterName=loop
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={tmp_path}/munge.socket,cred_expire=5
StateSaveLocation={tmp_path}/state
SlurmdSpoolDir={tmp_path}/spool
SlurmctldPidFile={tmp_path}/control.pid
SlurmdPidFile={tmp_path}/node.pid
SlurmctldPort={control}
SlurmdPort={node}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
    )
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    munge = ["munged", "--foreground", "--force", f"--key-file={tmp_path}/munge.key"]
    munge += [f"--{name}-file={tmp_path}/munge.{name}" for name in ("pid", "log", "seed")]
    with contextlib.ExitStack() as stack:
        for command in (
            [*munge, f"--socket={tmp_path}/munge.socket"],
            ["slurmctld", "-D", "-c"],
            ["slurmd", "-D"],
        ):
            log = stack.enter_context((tmp_path / f"{command[0]}.log").open("w"))
            daemon = subprocess.Popen(command, stdout=log, stderr=log)
            stack.callback(daemon.wait)
            stack.callback(daemon.terminate)
            time.sleep(2)
        wait_for(lambda: "idle" in said("sinfo", "-h"))
        yield
        said("scancel", "--user=root")
        wait_for(lambda: not said("squeue", "-h"))


def said(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=300).stdout


def wait_for(condition, secs=250):
    deadline = time.monotonic() + secs
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.3)


@pytest.mark.slow
def test_a_job_is_stopped_queued_again_and_resumes(cluster, tmp_path, capsys):
    """SIGUSR1, as Slurm sends it before the time is over: saved, 75, queued again, finished."""
    run, file = tmp_path / "run", tmp_path / "job.sbatch"
    flags = [
        "--device=cpu", "--model=lenet", "--batch_size=4", "--save_model_steps=5",
        f"--train_dir={run}", "--num_batches=400", "--display_every=100",
    ]  # fmt: skip
    options = ["--gpus_per_node=0", f"--output={file}", f"--sbatch=--output={tmp_path}/job.log"]
    assert slurm.main([*options, "--", "train.py", *flags]) == 0
    job = capsys.readouterr().out.split()[-1]
    wait_for(lambda: store.all_checkpoints(run))
    said("scancel", "--signal=USR1", job)
    wait_for(lambda: "stopped by SIGUSR1" in (tmp_path / "job.log").read_text())
    wait_for(lambda: "Trained to step 400" in (tmp_path / "job.log").read_text())
    assert "Resuming from" in (tmp_path / "job.log").read_text()
    assert store.global_step(run) == 400
    assert "Restarts=1" in said("scontrol", "show", "job", job)
