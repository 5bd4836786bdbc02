"""A small study on local workers, as a user runs it: whole, resumed, killed, failing."""

import json
import signal
import subprocess
import sys
import time

import pytest

from lab.runs.checkpoint import Checkpoints
from sweeps.store import digest

LAB = [sys.executable, "-m", "lab"]


def test_the_table_has_every_run(whole, here):
    table = json.loads(here("table", whole / "store", "--json").stdout)
    rows = [dict(row) if isinstance(row, dict) else row for row in table["rows"]]
    assert len(rows) == 12
    assert {row["status"] for row in rows} == {"ok"}
    assert sum(row["held_out"] for row in rows) == 2
    assert len({row["run_id"] for row in rows}) == 12
    assert all(row["device_seconds"] > 0 for row in rows)


def test_finished_runs_are_never_trained_again(whole, here):
    before = {p: p.stat().st_mtime_ns for p in (whole / "store" / "runs").rglob("*") if p.is_file()}
    done = here("run", whole / "small.toml", "--out", whole / "store")
    assert done.returncode == 0
    assert "0 of 12 runs to train (12 done)" in done.stderr
    assert {p: p.stat().st_mtime_ns for p in (whole / "store" / "runs").rglob("*") if p.is_file()} == before


def test_status_and_plan_know_what_is_done(whole, here):
    found = json.loads(here("status", whole / "store", "--json").stdout)["studies"][0]
    assert found["states"] == {"done": 12}
    assert found["next"] is None
    planned = json.loads(here("plan", whole / "small.toml", "--out", whole / "store", "--json").stdout)
    assert {row["state"] for row in planned["rows"]} == {"done"}


def as_in(whole, store) -> bool:
    """Whether the runs of a store are, to the bit, those of the undisturbed run."""
    found, wanted = digest.runs(store), digest.runs(whole / "store")
    return len(found) == 4 and found == {run_id: wanted[run_id] for run_id in found}


def test_a_mapped_pack_gives_the_same_losses(whole, one_size, here, worker_here, tmp_path):
    (tmp_path / "packed.toml").write_text(one_size.read_text() + '\n[run]\npack = "pmap"\n')
    done = here("run", tmp_path / "packed.toml", "--out", tmp_path / "store")
    assert done.returncode == 0, done.stderr
    rows = {
        row["run_id"]: row for row in json.loads(here("table", tmp_path / "store", "--json").stdout)["rows"]
    }
    assert {row["pack"] for row in rows.values()} == {"pmap"}
    alone = {
        row["run_id"]: row for row in json.loads(here("table", whole / "store", "--json").stdout)["rows"]
    }
    assert len(rows) == 4
    for run_id, row in rows.items():
        assert row["loss_nats"] == pytest.approx(alone[run_id]["loss_nats"], abs=2e-4)


def test_interrupted_it_says_how_to_go_on(whole, one_size, here, worker_here, tmp_path):
    command = [*LAB, "run", str(one_size), "--out", str(tmp_path / "store"), "--workers", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "store").glob("runs/*/spec.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert f"To go on: lab run {one_size} --out {tmp_path / 'store'}" in err
    assert not list((tmp_path / "store").glob("runs/*/claim")), "claims are released"
    assert here(*command[len(LAB) :]).returncode == 0
    assert as_in(whole, tmp_path / "store")


def test_a_cell_that_fails_is_recorded_and_the_others_go_on(
    whole, one_size, here, worker_here, tmp_path, monkeypatch
):
    planned = json.loads(here("plan", one_size, "--json").stdout)
    victim = next(row for row in planned["rows"] if not row["held_out"])["run_id"]
    folder = tmp_path / "store" / "runs" / victim
    save = Checkpoints.save

    def refuse(self, *state):
        if self.folder == folder / "final":
            raise RuntimeError("made to fail")
        save(self, *state)

    monkeypatch.setattr(Checkpoints, "save", refuse)
    again = ["run", one_size, "--out", tmp_path / "store", "--workers", "1"]
    done = here(*again)
    assert done.returncode == 1
    failure = json.loads((folder / "failure.json").read_text())
    assert failure["attempts"] == 2
    assert "Traceback" in failure["traceback"]
    status = json.loads(here("status", tmp_path / "store", "--json").stdout)["studies"][0]
    assert status["states"] == {"done": 3, "failed": 1}
    assert status["next"].endswith("--retry-failed")
    monkeypatch.setattr(Checkpoints, "save", save)
    assert here(*again).returncode == 1, "given up stays given up"
    assert here(*again, "--retry-failed").returncode == 0
    assert as_in(whole, tmp_path / "store")
