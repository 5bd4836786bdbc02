"""Engines without a cluster: their slots, their options, and what they read from a store."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from lab.errors import InputError
from lab.machine.devices import Found
from sweeps.store import disk
from sweeps.store.store import Store
from sweeps.work.engines import local
from sweeps.work.engines.child import Child, WorkerDied
from sweeps.work.engines.launch import Launch
from sweeps.work.engines.options import EngineOptions
from sweeps.work.engines.watch import _last_line


def test_one_slot_an_accelerator_that_jax_sees(monkeypatch):
    monkeypatch.setattr(local, "available_cores", lambda: tuple(range(8)))
    there = Found("gpu", "H100", ("2", "0"), "CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(local, "found", lambda: there)
    places = local.slots("serial", None)
    assert [slot.environment for slot in places] == [{"CUDA_VISIBLE_DEVICES": name} for name in ("2", "0")]
    assert sorted(core for slot in places for core in slot.cores) == list(range(8))
    assert len(local.slots("serial", 5)) == 2, "an accelerator is not shared"
    assert len(local.slots("serial", None, cells=1)) == 1


def test_each_chip_of_a_tpu_host_is_one_workers_own(monkeypatch):
    monkeypatch.setattr(local, "available_cores", lambda: tuple(range(96)))
    there = Found("tpu", "TPU v5e", ("0", "1", "2", "3"), "TPU_VISIBLE_CHIPS")
    monkeypatch.setattr(local, "found", lambda: there)
    places = local.slots("serial", None)
    assert [slot.environment["TPU_VISIBLE_CHIPS"] for slot in places] == ["0", "1", "2", "3"]
    assert all(slot.environment["TPU_PROCESS_BOUNDS"] == "1,1,1" for slot in places)


def test_a_core_that_another_process_is_bound_to_comes_last(monkeypatch):
    """As where two studies are trained at once, a worker each."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("needs two cores")
    before = local.bound_processes()
    first = min(cores, key=lambda core: before[core])
    bind = f"import os, sys; os.sched_setaffinity(0, [{first}]); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", bind], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        other.stdout.readline()
        assert local.bound_processes()[first] >= 1
        other.stdin.close()
    monkeypatch.setattr(local, "available_cores", lambda: (3, 5, 7))
    monkeypatch.setattr(local, "bound_processes", lambda: Counter({3: 1, 5: 2}))
    assert [slot.cores for slot in local.slots("serial", 1)] == [(7,)]
    assert [slot.cores for slot in local.slots("serial", None)] == [(7,), (3,), (5,)]


def test_one_slot_a_core_and_all_cores_for_a_mapped_pack(monkeypatch):
    monkeypatch.setattr(local, "bound_processes", Counter)
    monkeypatch.setattr(local, "found", lambda: Found())
    monkeypatch.setattr(local, "available_cores", lambda: (3, 5))
    assert [slot.cores for slot in local.slots("serial", None)] == [(3,), (5,)]
    assert [slot.cores for slot in local.slots("serial", 3)] == [(3,), (5,), (3,)]
    assert [slot.cores for slot in local.slots("serial", None, cells=1)] == [(3,)], "no worker without work"
    assert len(local.slots("serial", None, cells=9)) == 2
    assert local.slots("pmap", None, cells=1) == [local.Slot((3, 5), cpu_devices=2)]


def problems_of(**given) -> list[str]:
    try:
        EngineOptions(**given).check()
    except InputError as error:
        return list(error.problems)
    return []


def test_options_of_engines_are_checked_all_at_once():
    assert problems_of() == problems_of(engine="ray", address="auto", gpus=1) == []
    assert problems_of(engine="slurm", workers=8, sbatch=("account=me",), detach=True) == []
    assert problems_of(partition="gpu", address="auto", workers=0) == [
        "--workers: should be at least 1, is 0",
        "--partition: is for --engine slurm, not for local",
        "--address: is for --engine ray, not for local",
    ]
    assert problems_of(engine="slurm", minutes=1, signal_seconds=60, sbatch=("account",), memory_gb=-1.0) == [
        "--memory-gb: should be above 0, is -1",
        "--sbatch: should be KEY=VALUE, is 'account'",
        "--signal-seconds: should be less than the 1 minutes of --minutes",
    ]


def child(code: str) -> Child:
    return Child([sys.executable, "-c", code], threads=1, restarts=0)


def test_a_child_tells_how_it_ended_and_what_it_said_last(capsys):
    assert child("import sys; print('error: why', file=sys.stderr); sys.exit(3)").wait() == (3, "error: why")
    assert "error: why" in capsys.readouterr().out, "the log of the task has it too"
    assert child("import sys; print('failed a1', file=sys.stderr); sys.exit(1)").wait() == (1, "failed a1")
    dying = (
        ("raise ValueError('odd')", "exit code 1: ValueError: odd"),
        ("import os; os.abort()", "SIGABRT"),
    )
    for code, words in dying:
        with pytest.raises(WorkerDied, match=words):
            child(code).wait()


def test_a_child_that_dies_is_replaced_a_few_times(tmp_path, capsys):
    path = tmp_path / "starts"
    code = f"import os; f = open({str(path)!r}, 'a'); f.write('x'); f.flush(); f.tell() < 3 and os.abort()"
    assert Child([sys.executable, "-c", code], threads=1).wait()[0] == 0
    assert path.read_text() == "xxx"
    assert capsys.readouterr().out.count("worker died (signal SIGABRT); starting another") == 2


def test_a_child_can_be_stopped_from_a_signal_handler_of_the_one_who_waits():
    stubborn = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.3), sys.exit(130)))\n"
        "print('ready', file=sys.stderr, flush=True)\n"
        "time.sleep(60)"
    )
    one = child(stubborn)
    before = signal.signal(signal.SIGUSR2, lambda *_: one.stop())
    try:
        while "ready" not in one.said:
            one._listen()
        os.kill(os.getpid(), signal.SIGUSR2)
        assert one.wait() == (130, "ready")
    finally:
        signal.signal(signal.SIGUSR2, before)


@pytest.mark.parametrize(
    ("code", "state", "requeued"),
    [(130, "RUNNING", True), (130, "", False), (0, "RUNNING", False), (5, "RUNNING", True)],
    ids=["preempted", "cancelled", "finished", "crew broke"],
)
def test_a_slurm_task_goes_back_to_the_queue_unless_it_was_cancelled(
    tmp_path, monkeypatch, code, state, requeued
):
    from sweeps.work.engines.slurm import Task

    for name, line in (("scontrol", 'echo "$@" >> "$0.said"'), ("squeue", f"echo {state}")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    task = Task([sys.executable, "-c", f"import sys; sys.exit({code})"], cpus=1)
    assert task()[0] == code
    said = tmp_path / "scontrol.said"
    assert (said.exists() and said.read_text() == "requeue 7_3\n") == requeued


def test_a_step_whose_number_of_tasks_is_none_is_one_line(monkeypatch):
    from sweeps.work.engines import slurm

    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "x")
    with pytest.raises(InputError, match="SLURM_STEP_NUM_TASKS: should be a whole number, is 'x'"):
        slurm._crew()
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    assert slurm._crew() == []


def test_the_command_of_a_worker_holds_wherever_it_is_given():
    words = Launch(Path("runs/studies/s.toml"), Path("runs"), "name", part="1/2").command("--events")
    assert words[1:5] == ["-P", "-m", "lab", "worker"]
    assert words[5] == str(Path("runs/studies/s.toml").absolute())
    assert words[words.index("--out") + 1] == str(Path("runs").absolute())
    assert words[words.index("--part") + 1] == "1/2"
    assert words[-1] == "--events"


def test_a_store_is_known_by_its_identity(tmp_path):
    name = disk.identity(tmp_path / "a")
    assert disk.identity(tmp_path / "a") == name
    assert disk.is_seen(tmp_path / "a", name)
    assert not disk.is_seen(tmp_path / "b", name)
    disk.identity(tmp_path / "b")
    assert not disk.is_seen(tmp_path / "b", name)


def test_a_full_disk_is_told_from_a_cell_at_fault(tmp_path):
    assert disk.store_fault(ValueError("odd"), tmp_path) is None
    deep = RuntimeError("save failed")
    deep.__cause__ = ValueError("write: No space left on device [OS error 28]")
    assert "No space left on device" in str(disk.store_fault(deep, tmp_path))
    gone = disk.store_fault(RuntimeError("odd"), tmp_path / "not there")
    assert "No such file" in str(gone), "a store that went away is at fault too"
    assert not list(tmp_path.iterdir())


def test_the_last_line_of_metrics_is_found_behind_torn_and_other_lines(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert _last_line(path) == {}
    good = '{"step": 40, "loss_nats": 2.5}\n'
    path.write_text(
        "x" * 5000 + "\n" + good + '{"step": 60, "kind": "val", "loss_nats": 1}\n{"step": 80, "lo'
    )
    assert _last_line(path)["step"] == 40
    assert Store(tmp_path).names() == set()
