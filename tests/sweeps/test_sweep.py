"""A small study on local workers, as a user runs it: whole, resumed, killed, failing."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

LAB = [sys.executable, "-m", "lab"]


def lab(*args, timeout=300):
    done = subprocess.run([*LAB, *map(str, args)], capture_output=True, text=True, timeout=timeout)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def weights(out: Path) -> dict[str, str]:
    """Digest of the trained parameters and the loss of each run."""
    import jax

    from lab import train
    from lab.checkpoint import Checkpoints, _digest
    from lab.config import RunConfig
    from lab.data import load
    from lab.strict import build

    found = {}
    for spec_file in sorted((out / "runs").glob("*/spec.json")):
        spec = json.loads(spec_file.read_text())
        if spec["kind"] == "trunk":
            continue
        config = build(RunConfig, spec["config"], str(spec_file))
        shapes = train.state_shapes(config, load(config.data).vocab_size).params
        params = Checkpoints(spec_file.parent / "final").restore(config.steps, shapes)
        row = json.loads((spec_file.parent / "result.json").read_text())["row"]
        found[spec["run_id"]] = (
            _digest(jax.tree.map(jax.numpy.asarray, params)).tobytes().hex(),
            row["loss_nats"],
        )
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory, small_study):
    folder = tmp_path_factory.mktemp("whole")
    (folder / "small.toml").write_text(small_study)
    done = lab("run", folder / "small.toml", "--out", folder / "store", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["states"] == {"done": 12}
    return folder


def test_the_table_has_every_run(whole):
    table = json.loads(lab("table", whole / "store", "--json").stdout)
    rows = [dict(row) if isinstance(row, dict) else row for row in table["rows"]]
    assert len(rows) == 12
    assert {row["status"] for row in rows} == {"ok"}
    assert sum(row["held_out"] for row in rows) == 2
    assert len({row["run_id"] for row in rows}) == 12
    assert all(row["device_seconds"] > 0 for row in rows)


def test_finished_runs_are_never_trained_again(whole):
    before = {p: p.stat().st_mtime_ns for p in (whole / "store" / "runs").rglob("*") if p.is_file()}
    done = lab("run", whole / "small.toml", "--out", whole / "store")
    assert done.returncode == 0
    assert "0 of 12 runs to train (12 done)" in done.stderr
    assert {p: p.stat().st_mtime_ns for p in (whole / "store" / "runs").rglob("*") if p.is_file()} == before


def test_status_and_plan_know_what_is_done(whole):
    found = json.loads(lab("status", whole / "store", "--json").stdout)["studies"][0]
    assert found["states"] == {"done": 12}
    assert found["next"] is None
    planned = json.loads(lab("plan", whole / "small.toml", "--out", whole / "store", "--json").stdout)
    assert {row["state"] for row in planned["rows"]} == {"done"}


def test_a_mapped_pack_gives_the_same_losses(whole, tmp_path):
    text = (whole / "small.toml").read_text() + '\n[run]\npack = "pmap"\n'
    (tmp_path / "packed.toml").write_text(text)
    done = lab("run", tmp_path / "packed.toml", "--out", tmp_path / "store")
    assert done.returncode == 0, done.stderr
    rows = {
        row["run_id"]: row for row in json.loads(lab("table", tmp_path / "store", "--json").stdout)["rows"]
    }
    assert {row["pack"] for row in rows.values()} == {"pmap"}
    for run_id, (_, loss) in weights(whole / "store").items():
        assert rows[run_id]["loss_nats"] == pytest.approx(loss, abs=2e-4)


@pytest.mark.slow
def test_killed_at_random_moments_it_goes_on_and_ends_with_the_same_bits(whole, tmp_path):
    rng = random.Random(0)
    store = tmp_path / "store"
    command = [*LAB, "run", str(whole / "small.toml"), "--out", str(store)]
    kills, code = 0, None
    while code is None:
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        # killed by what it has done, not by the clock: a little after it claimed, saved, finished something
        sign = ("runs/*/claim", "runs/*/checkpoints/*", "runs/*/result.json")[kills]
        before = len(list(store.glob(sign)))
        while process.poll() is None and len(list(store.glob(sign))) <= before:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.5))
        if process.poll() is not None:
            code = process.returncode
        elif kills < 2:  # all at once, as when a machine loses power
            for pid in [process.pid, *_workers(store)]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()
            kills += 1
        else:  # one worker alone: the engine replaces it, and the run comes to its end
            os.kill(rng.choice(_workers(store)), signal.SIGKILL)
            kills += 1
            code = process.wait(timeout=240)
    print(f"{kills} kills")
    assert code == 0
    assert kills == 3
    assert weights(store) == weights(whole / "store")
    rows = json.loads(lab("table", store, "--json").stdout)["rows"]
    assert len(rows) == len({row["run_id"] for row in rows}) == 12


def _workers(store: Path) -> list[int]:
    """Processes that work in this store, from their command lines."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"worker" in words and str(store).encode() in words:
            found.append(int(entry.parent.name))
    return found


def test_interrupted_it_says_how_to_go_on(whole, tmp_path):
    command = [*LAB, "run", str(whole / "small.toml"), "--out", str(tmp_path / "store")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "store").glob("runs/*/spec.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert f"To go on: lab run {whole / 'small.toml'} --out {tmp_path / 'store'}" in err
    assert not list((tmp_path / "store").glob("runs/*/claim")), "claims are released"
    assert lab(*command[len(LAB) :]).returncode == 0
    assert weights(tmp_path / "store") == weights(whole / "store")


def test_a_cell_that_fails_is_recorded_and_the_others_go_on(whole, tmp_path):
    planned = json.loads(lab("plan", whole / "small.toml", "--json").stdout)
    victim = next(row for row in planned["rows"] if not row["held_out"])["run_id"]
    folder = tmp_path / "store" / "runs" / victim
    folder.mkdir(parents=True)
    (folder / "final").write_text("a file where a folder must be")
    done = lab("run", whole / "small.toml", "--out", tmp_path / "store")
    assert done.returncode == 1
    failure = json.loads((folder / "failure.json").read_text())
    assert failure["attempts"] == 2
    assert "Traceback" in failure["traceback"]
    status = json.loads(lab("status", tmp_path / "store", "--json").stdout)["studies"][0]
    assert status["states"] == {"done": 11, "failed": 1}
    assert status["next"].endswith("--retry-failed")
    (folder / "final").unlink()
    assert lab("run", whole / "small.toml", "--out", tmp_path / "store").returncode == 1, (
        "given up stays given up"
    )
    assert lab("run", whole / "small.toml", "--out", tmp_path / "store", "--retry-failed").returncode == 0
    assert weights(tmp_path / "store") == weights(whole / "store")
