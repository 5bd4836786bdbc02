"""The Slurm engine against a real slurmctld and two real slurmd: two virtual nodes of this machine."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from lab.errors import InputError
from sweeps.store import digest, disk
from sweeps.work.engines import slurm
from sweeps.work.engines.launch import Launch

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scontrol")
missing = [name for name in PROGRAMS if not shutil.which(name)]
pytestmark = [
    pytest.mark.skipif(bool(missing), reason=f"no Slurm here: {', '.join(missing)} not found"),
    pytest.mark.skipif(not missing and os.geteuid() != 0, reason="slurmd and munged need root"),
]

CONF = """
ClusterName=virtual
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
SlurmctldParameters=preempt_send_user_signal
SchedulerParameters=bf_interval=1,sched_interval=1
SlurmdTimeout=2
TCPTimeout=1
MessageTimeout=5
KillWait=5
MaxArraySize=4
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=1000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=1000
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


class Cluster:
    """A controller and two nodes in a folder, with a key of their own; every process ends with it."""

    def __init__(self, folder: Path):
        self.folder, self.conf = folder, folder / "slurm.conf"
        for name in ("state", "munge"):
            (folder / name).mkdir()
        key = folder / "munge" / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        host = socket.gethostname().split(".")[0]
        self.conf.write_text(CONF.format(host=host, folder=folder, ports=_free_ports(3)))
        where = folder / "munge"
        options = [f"--{name}-file={where / name}" for name in ("key", "pid", "log", "seed")]
        self._run("munged", f"--socket={where / 'socket'}", *options)
        self._run("slurmctld", "-f", self.conf)
        for node in ("n1", "n2"):
            self.start(node)
        _wait_for(lambda: self.ask("sinfo", "--noheader", "--format=%T %D") == "idle 2")

    def start(self, node: str) -> None:
        self._run("slurmd", "-f", self.conf, "-N", node)

    def kill(self, node: str) -> list[int]:
        """As when a node loses power: the daemon and all that it started. Returns the process ids."""
        daemon = int((self.folder / f"slurmd-{node}.pid").read_text())
        gone = [daemon, *self.started_by(node)]
        for pid in gone:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return gone

    def ask(self, *command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment())
        return done.stdout.strip()

    def environment(self) -> dict:
        return {**os.environ, "SLURM_CONF": str(self.conf)}

    def stop(self) -> None:
        self.ask("scancel", "--user=root")
        pids = [p for node in ("n1", "n2") for p in self.started_by(node)]
        for file in (*self.folder.glob("*.pid"), self.folder / "munge" / "pid"):
            with contextlib.suppress(ValueError, OSError):
                pids.append(int(file.read_text()))
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def started_by(self, node: str) -> list[int]:
        """Processes that a virtual node started: they have its name, and this cluster's file, in their
        environment. First come the steps' managers above them, which would otherwise tell the controller how
        their processes ended."""
        named = {f"SLURMD_NODENAME={node}".encode(), f"SLURM_CONF={self.conf}".encode()}
        tasks, managers = [], set()
        for entry in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if named <= {*entry.read_bytes().split(b"\0")}:
                    tasks.append(int(entry.parent.name))
                    parent = entry.with_name("stat").read_text().rsplit(")", 1)[1].split()[1]
                    if b"slurmstepd" in Path(f"/proc/{parent}/cmdline").read_bytes():
                        managers.add(int(parent))
        return [*managers, *tasks]

    def _run(self, *command) -> None:
        subprocess.run([str(word) for word in command], check=True, env=self.environment())


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _wait_for(sign, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not sign():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def cluster():
    with tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # munge wants its socket within everybody's reach
        made = Cluster(folder)
        yield made
        made.stop()


@pytest.fixture
def two_nodes(cluster, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", str(cluster.conf))
    return cluster


@pytest.mark.slow
def test_one_node_is_killed_and_one_worker_told_to_leave_and_the_bits_are_the_same(
    whole, one_size, two_nodes, tmp_path
):
    store = tmp_path / "store"
    options = ["--engine", "slurm", "--workers", "2", "--cpus", "2", "--minutes", "30"]
    command = [sys.executable, "-m", "lab", "run", one_size, "--out", store, *options]
    running = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    _wait_for(lambda: list(store.glob("runs/*/metrics.jsonl")) or running.poll() is not None)
    jobs = dict(
        line.split()
        for line in two_nodes.ask("squeue", "--noheader", "--array", "--format=%N %i").splitlines()
    )
    assert set(jobs) == {"n1", "n2"}, "one worker on each node"
    assert len(two_nodes.kill("n2")) >= 3
    two_nodes.ask("scancel", "--signal=USR2", jobs["n1"])  # as before a time limit, or a preemption
    try:  # the other node has to do for both
        _, err = running.communicate(timeout=150)
    finally:
        two_nodes.start("n2")
    assert running.returncode == 0, err
    assert "submitted 2 workers" in err
    shown = two_nodes.ask("scontrol", "show", "job", jobs["n1"].split("_")[0], "--oneliner").splitlines()
    restarts = sorted(re.search(r"ArrayTaskId=(\d+).* Restarts=(\d+)", line).groups() for line in shown)
    assert restarts == [("0", "1"), ("1", "1")], "the killed one and the one told to leave were requeued"
    assert not list(store.glob("runs/*/claim"))
    local, found = digest.runs(whole / "store"), digest.runs(store)
    print(f"2 requeues, {len(found)} runs")
    assert len(found) == 4
    assert found == {run_id: local[run_id] for run_id in found}


def test_more_workers_than_an_array_may_have_become_several_arrays(two_nodes, tmp_path):
    launch = Launch(tmp_path / "study.toml", tmp_path, "none")
    later = (("begin", "now+1hour"),)
    options = slurm.SlurmOptions(workers=6, at_once=1, minutes=5, parameters=later)
    jobs = slurm.submit(launch, options)
    try:
        assert slurm.array_limit() == 4
        counts = [sum(slurm._states([job]).values()) for job in jobs]
        assert counts == [4, 2]
        shown = two_nodes.ask("scontrol", "show", "job", jobs[0], "--oneliner")
        assert "ArrayTaskThrottle=1" in shown or "%1" in shown
        assert slurm._states([jobs[0]]) == {"PENDING": 4}
    finally:
        two_nodes.ask("scancel", *jobs)
    assert not slurm._states(jobs)


def test_what_slurm_refuses_is_one_line_in_its_own_words(two_nodes, tmp_path):
    launch = Launch(tmp_path / "study.toml", tmp_path, "none")
    with pytest.raises(InputError, match=r"sbatch refused: .*partition") as caught:
        slurm.submit(launch, slurm.SlurmOptions(partition="nowhere"))
    assert len(caught.value.problems) == 1


@pytest.mark.slow
def test_workers_that_do_not_see_the_store_say_so(whole, two_nodes, tmp_path, monkeypatch):
    store = tmp_path / "store"
    monkeypatch.setattr(disk, "identity", lambda root: "another store of the same path")
    from sweeps.verbs import training

    lines: list[str] = []
    monkeypatch.setattr("sweeps.work.display.Display._line", lambda self, text: lines.append(text))
    options = ["--engine", "slurm", "--minutes", "5"]
    assert training.run([str(whole / "small.toml"), "--out", str(store), *options]) == 1
    said = "\n".join(lines)
    assert f"does not see the store at {store}" in said
    assert "lab merge" in said


@pytest.mark.slow
def test_one_run_over_two_nodes_gives_the_losses_of_one_process(whole, two_nodes, small_study, tmp_path):
    study, store = tmp_path / "two.toml", tmp_path / "store"
    text = small_study.replace("[10_000, 20_000, 40_000]", "[10_000, 20_000]").replace("[0, 1]", "[0]")
    text = text.replace(", { width = 16, learning_rate = 0.01 }", "")
    study.write_text(text)
    options = ["--engine", "slurm", "--nodes", "2", "--minutes", "5"]
    command = [sys.executable, "-m", "lab", "run", study, "--out", store, *options]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=150)
    logs = "\n".join(log.read_text() for log in store.glob("slurm/*/*.out"))
    assert done.returncode == 0, done.stderr + logs
    alone = {path.parent.name: _row(path) for path in (whole / "store").glob("runs/*/result.json")}
    rows = [_row(path) for path in store.glob("runs/*/result.json")]
    assert len(rows) == 2
    worst = max(abs(row["loss_nats"] - alone[row["run_id"]]["loss_nats"]) for row in rows)
    print(f"2 runs over 2 nodes each, losses within {worst:.1e} nats of one process")
    assert {row["pack"] for row in rows} == {"mesh"}
    assert worst < 2e-4
    assert not list(store.glob("runs/*/claim"))


@pytest.mark.slow
def test_rounds_of_an_adaptive_run_are_arrays(two_nodes, study_of_one_place, tmp_path):
    store = tmp_path / "store"
    options = ["--adaptive", "--budget", "5min", "--engine", "slurm", "--minutes", "5"]
    command = [sys.executable, "-m", "lab", "run", study_of_one_place, "--out", store, *options]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    rounds = [json.loads(path.read_text())["study"] for path in sorted(store.glob("choices/*.json"))]
    trained = [one["name"] for one in rounds if one]
    assert len(trained) == 3
    assert sorted(trained) == sorted(path.stem for path in store.glob("slurm/*.json"))
    assert done.stderr.count("submitted 1 worker") == len(trained)
    assert len(list(store.glob("runs/*/result.json"))) == 3
    assert not list(store.glob("runs/*/claim"))


def _row(path: Path) -> dict:
    return json.loads(path.read_text())["row"]
