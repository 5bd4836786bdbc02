"""Two processes with real collectives train one model: the losses of one process, one run folder."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from lab.errors import InputError
from lab.machine import distributed
from lab.runs.folder import RunFolder

RUN = {
    "tokens": 15360,
    "batch": 8,
    "model.width": 16,
    "model.layers": 1,
    "model.heads": 2,
    "data.source": "synthetic",
    "data.context": 32,
    "data.val-windows": 16,
    "optimizer.learning-rate": 0.01,
    "optimizer.warmup-tokens": 2560,
    "evaluate-every": 20,
}


IN_PARTS = "from lab.runs import checkpoint; checkpoint.SHARDED_BYTES = 0; "  # as if the state were large
STEP = {
    "SLURM_JOB_ID": str(os.getpid()),
    "SLURM_STEP_NODELIST": "127.0.0.1",
    "SLURM_NTASKS": "2",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_TASKS_PER_NODE": "2",
}
LAB = "import sys; from lab.__main__ import main; sys.exit(main())"


def words(out) -> list[str]:
    """Of `lab train`, for the run into the folder."""
    return ["train", "--out", str(out), *(str(p) for key, value in RUN.items() for p in (f"--{key}", value))]


def start(out, environment, *options, before=""):
    call = [sys.executable, "-c", before + LAB, *words(out), *options]
    return subprocess.Popen(
        call, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    )


def start_two(out, environment, slurm=False):
    """Two processes of two devices each, told of each other by name, or tasks of a Slurm step."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    where = f"coordinator=127.0.0.1:{port},processes=2,process="
    # the patch imports jax, which must know its devices by then
    ready = "from lab.machine import devices; devices.configure(2); devices.configure = lambda *a: None; "
    both = []
    for i in "01":
        told = ("--mesh", "data=2,fsdp=2", *(() if slurm else ("--distributed", f"{where}{i}")))
        known = environment | (STEP | {"SLURM_PROCID": i, "SLURM_LOCALID": i} if slurm else {})
        both.append(start(out, known, *told, before=ready + IN_PARTS))
    return both


def finish(processes) -> list[int]:
    said = [p.communicate(timeout=200)[1] for p in processes]
    codes = [p.returncode for p in processes]
    assert all(code in (0, 130) for code in codes), said
    return codes


def losses(out, kind=None):
    lines = RunFolder(out).metrics()
    return np.array([line["loss_nats"] for line in lines if line.get("kind") == kind and "loss_nats" in line])


@pytest.mark.slow
def test_two_processes_train_as_one_save_in_parts_and_go_on_where_they_were_stopped(
    tmp_path, own_devices, here
):
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert here(*words(alone)).returncode == 0
    processes = start_two(together, own_devices, slurm=True)
    while not losses(together).size and all(p.poll() is None for p in processes):
        time.sleep(0.05)
    processes[1].send_signal(signal.SIGTERM)  # the one that does not write; both must stop at one step
    codes = finish(processes)
    assert codes[0] == codes[1]
    if codes[0] == 130:
        (step,) = RunFolder(together).steps()
        assert not (together / "checkpoints" / str(step) / "files.json").exists(), "in parts, not whole"
        assert finish(start_two(together, own_devices)) == [0, 0]
    assert RunFolder(together).spec()["provenance"]["processes"] == 2, "tasks of a step found each other"
    a, b = (RunFolder(out).result()["row"] for out in (alone, together))
    assert b["status"] == "ok"
    assert b["run_id"] == a["run_id"]
    assert b["pack"] == "mesh"
    assert b["loss_nats"] == pytest.approx(a["loss_nats"], abs=1e-5)
    np.testing.assert_allclose(losses(together), losses(alone), atol=1e-5)
    assert len(losses(together, "val")) == 2, "validated over both processes, at the end not again"
    np.testing.assert_allclose(losses(together, "val"), losses(alone, "val"), atol=1e-5)
    assert len(losses(together)) == 3, "one process wrote"
    from lab.config import RunConfig
    from lab.runs.checkpoint import Checkpoints
    from lab.strict import build
    from lab.training import train

    config = build(RunConfig, RunFolder(alone).spec()["config"], "spec.json")
    vocab = RunFolder(alone).result()["row"]["params_head"] // 16
    like = train.state_shapes(config, vocab).params
    one, two = (Checkpoints(out / "final").restore(60, like) for out in (alone, together))
    for x, y in zip(*(train.jax.tree.leaves(tree) for tree in (one, two)), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-5)


def test_how_processes_are_told_to_find_each_other():
    assert distributed.parse("", {}) is None
    assert distributed.parse("off", {"SLURM_STEP_NUM_TASKS": "8"}) is None
    assert distributed.parse("", {"SLURM_STEP_NUM_TASKS": "8"}) == distributed.Cluster(processes=8)
    assert distributed.parse("", {"SLURM_STEP_NUM_TASKS": "1"}) is None
    said = {"LAB_COORDINATOR": "a:1", "LAB_PROCESSES": "4", "LAB_PROCESS": "3"}
    assert distributed.parse("", said) == distributed.Cluster("a:1", 4, 3)
    assert distributed.parse("coordinator=a:1,processes=4,process=3", {}) == distributed.parse("", said)
    assert not distributed.parse("", said).is_primary


def test_how_long_processes_wait_for_each_other_is_told():
    where = "coordinator=a:1,processes=4,process=3"
    assert distributed.parse(where, {}).wait == 300
    assert distributed.parse(where + ",wait=20", {"LAB_WAIT": "7"}).wait == 20
    assert distributed.parse(where, {"LAB_WAIT": "7"}).wait == 7
    assert distributed.parse("auto", {"LAB_WAIT": "7"}).wait == 7
    assert distributed.parse("", {"LAB_WAIT": "7"}) is None
    for text, named in (("wait=soon", "--distributed: wait"), ("wait=0", "--distributed: wait")):
        with pytest.raises(InputError, match=f"{named} should be a number of seconds"):
            distributed.parse(f"{where},{text}", {})
    with pytest.raises(InputError, match="LAB_WAIT should be a number of seconds, is 'x'"):
        distributed.parse("auto", {"LAB_WAIT": "x"})


@pytest.mark.parametrize("me", [0, 1])
def test_who_is_waited_for_is_told_in_seconds_and_ends_in_a_line(me, monkeypatch):
    """Before: 300 s without a word, then an abort with a stack of C++, exit code 134."""
    import jax

    over, told = threading.Event(), []
    monkeypatch.setattr(jax.config, "update", lambda *of: None)
    monkeypatch.setattr(jax.distributed, "initialize", lambda *of, **more: over.wait(20))
    monkeypatch.setattr(distributed, "_FIRST_WORD", 0.05)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    cluster = distributed.Cluster(f"127.0.0.1:{port}", 3, me, wait=1)
    where = {
        0: f"process 0 listens at 127.0.0.1:{port}, and not all of processes 1 to 2 have come",
        1: rf"process 0 does not answer at 127.0.0.1:{port} \(Connection refused\)",
    }[me]
    with pytest.raises(InputError, match=f"{where}, after 1 s"):
        distributed.start(cluster, told.append)
    over.set()
    assert len(told) == 1
    assert re.fullmatch(f"--distributed: {where}; waiting, 0 s of at most 1", told[0])


@pytest.mark.parametrize("gone", [True, False])
def test_a_process_that_lost_another_ends_at_once_with_a_line(gone, monkeypatch, capsys):
    """Before: a traceback, 107 s of waiting for who was dead, and an abort."""
    import jax

    said = "UNKNOWN: Gloo AllGather failed: Connection closed by peer" if gone else "RESOURCE_EXHAUSTED: out"

    def leave(code):
        raise SystemExit(code)

    monkeypatch.setattr(distributed, "count", lambda: 2)
    monkeypatch.setattr(distributed, "_LAST_WORD", 0.0)
    monkeypatch.setattr(os, "_exit", leave)
    with pytest.raises(SystemExit) as end, distributed.ending_together():
        raise jax.errors.JaxRuntimeError(said)
    assert end.value.code == 1
    err = capsys.readouterr().err
    assert err.startswith("error: --distributed: process 0 of 2 lost another one (UNK") == gone
    assert ("Traceback" in err) != gone
    with pytest.raises(InputError), distributed.ending_together():
        raise InputError("all processes come to the same")


@pytest.mark.weekly
def test_where_one_of_two_is_killed_the_other_ends_and_both_go_on_from_there(tmp_path, own_devices):
    processes = start_two(tmp_path, own_devices)
    while not losses(tmp_path).size and all(p.poll() is None for p in processes):
        time.sleep(0.05)
    processes[1].kill()
    said = processes[0].communicate(timeout=60)[1]
    assert processes[0].returncode == 1
    assert "error: --distributed: process 0 of 2 lost another one" in said
    processes[1].communicate()
    assert finish(start_two(tmp_path, own_devices)) == [0, 0]


def test_devices_of_a_slurm_task_are_those_of_its_node_divided_by_its_tasks():
    def mine(tasks, me, visible=None, node="0"):
        told = {"SLURM_STEP_TASKS_PER_NODE": tasks, "SLURM_LOCALID": str(me), "SLURM_NODEID": node}
        return distributed.local_devices(told | ({"CUDA_VISIBLE_DEVICES": visible} if visible else {}))

    eight = "0,1,2,3,4,5,6,7"
    assert mine("1(x2)", 0, eight) == (), "one task a node: all its devices"
    assert mine("8(x2)", 3, eight) == (3,)
    assert mine("2", 1, eight) == (4, 5, 6, 7)
    assert mine("8", 3, "3") == (), "bound by Slurm"
    assert mine("4,1", 0, eight, node="1") == ()
    assert mine("2", 1) == (1,), "nothing is said of what is visible: as jax has it"
    assert distributed.local_devices({}) == ()
    with pytest.raises(InputError, match="8 visible devices cannot be divided among 3 tasks of a node"):
        mine("3", 0, eight)
    with pytest.raises(InputError, match="SLURM_LOCALID: should be a whole number, is 'x'"):
        mine("2", "x", eight)


@pytest.mark.parametrize(
    ("text", "environment", "lines"),
    [
        ("processes=2", {}, ["--distributed: coordinator is missing", "--distributed: process is missing"]),
        ("", {"LAB_PROCESS": "x"}, ["LAB_COORDINATOR is missing", "LAB_PROCESSES is missing"]),
        ("coordinator=a:1,processes=2,process=2", {}, ["--distributed: process should lie between 0 and 1"]),
        ("host=a", {}, ["--distributed: host: no such key"]),
    ],
)
def test_what_is_missing_is_named(text, environment, lines):
    with pytest.raises(InputError) as refused:
        distributed.parse(text, environment)
    assert all(any(p.startswith(line) for p in refused.value.problems) for line in lines)
