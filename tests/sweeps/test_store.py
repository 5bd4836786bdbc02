"""The store: many writers, a table that loses nothing, a study that changes while it runs, and its status."""

import importlib.util
import json
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from analysis.tables.store import read_store
from lab import python
from lab.data import load
from lab.errors import InputError
from lab.runs import claims
from lab.runs.folder import RunFolder
from sweeps.plan import cells as plan
from sweeps.plan.pricing import Prices
from sweeps.store.store import Store
from sweeps.study import loader
from sweeps.verbs import planning, status

# What a worker does, without training: claim, log line by line, commit.
WRITE = """
import sys
from pathlib import Path
from lab.runs import claims
from sweeps.store.store import Store
store, me, worker = Store(Path(sys.argv[1])), claims.Owner.me(), int(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for i in range(60):
    run_id = f"{i:012x}"
    claim = claims.take(store.claim_path(run_id), me)
    if claim is None:
        continue
    folder = store.run(run_id)
    if folder.result() is None:
        folder.write_spec({"kind": "run", "run_id": run_id})
        for step in range(20):
            folder.append_metrics([{"step": step, "loss_nats": 5.0 - step / 10, "worker": worker}])
        row = {"run_id": run_id, "status": "ok", "loss_nats": 3.0 + i, "worker": worker}
        folder.commit({"schema": 1, "row": row, "abilities": []})
    claim.release()
"""


def test_four_processes_write_at_once_and_nothing_is_lost_or_doubled(tmp_path):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = [
        subprocess.Popen(python.command("-c", WRITE, tmp_path, w), env=python.environment(), **pipes)
        for w in range(4)
    ]
    assert [worker.stdout.readline() for worker in workers] == ["ready\n"] * 4
    for worker in workers:  # all are ready: a fair start
        worker.stdin.write("\n")
        worker.stdin.flush()
    assert [worker.wait(timeout=120) for worker in workers] == [0] * 4
    columns, _, notes = read_store(tmp_path)
    assert notes == []
    assert dict(zip(columns["run_id"], columns["loss_nats"], strict=True)) == {
        f"{i:012x}": 3.0 + i for i in range(60)
    }
    writers = Counter()
    for i, worker in enumerate(columns["worker"]):
        lines = RunFolder(tmp_path / "runs" / f"{i:012x}").metrics()
        assert [line["step"] for line in lines] == list(range(20)), "one writer a run"
        assert {line["worker"] for line in lines} == {worker}
        writers[worker] += 1
    print(f"60 runs by {len(writers)} of 4 processes")
    assert not list(tmp_path.glob("runs/*/claim"))
    assert not list(tmp_path.glob("runs/*/.*")), "no temporary file is left"


@pytest.mark.parametrize("cut", range(1, 30, 4))
def test_a_torn_last_line_is_dropped_and_the_rest_is_there(tmp_path, cut):
    folder = RunFolder(tmp_path)
    folder.append_metrics([{"step": s, "loss_nats": 1.0 / (s + 1)} for s in range(3)])
    whole = (tmp_path / "metrics.jsonl").read_bytes()
    (tmp_path / "metrics.jsonl").write_bytes(whole[:-cut])
    lines = folder.metrics()
    assert [line["step"] for line in lines] == list(range(3 if cut == 1 else 2))
    folder.cut_metrics(1)
    folder.append_metrics([{"step": 2, "loss_nats": 0.5}])
    assert [line["step"] for line in folder.metrics()] == [0, 1, 2]


@pytest.fixture
def made(study_file):
    return plan.make(loader.load(study_file), load)


def finish(store: Store, cell, loss: float, seconds: float = 2.0, **row) -> None:
    row = {"run_id": cell.run_id, "status": "ok", "loss_nats": loss, "device_seconds": seconds, **row}
    row |= {"width": cell.config.model.width, "tokens": cell.config.tokens, "compile_seconds": 0.5}
    spec = {"kind": "run", "run_id": cell.run_id, "config": {}, "data_digest": ""}
    store.run(cell.run_id).write_spec(spec)
    store.run(cell.run_id).commit({"schema": 1, "row": row, "abilities": []})


def test_a_study_edited_while_it_runs_keeps_its_old_runs(tmp_path, study_file, made):
    store = Store(tmp_path / "store")
    store.write_study(made, loader.text_of(study_file))
    for cell in made.cells[:5]:
        finish(store, cell, 3.0)
    before = {p: p.read_bytes() for p in (store.root / "runs").rglob("*") if p.is_file()}
    text = study_file.read_text().replace("40_000", "80_000")
    text = text.replace("learning_rate = 0.02", "learning_rate = 0.03")
    study_file.write_text(text)
    edited = plan.make(loader.load(study_file), load)
    store.write_study(edited, loader.text_of(study_file))
    old, new = ({c.run_id for c in p.cells} for p in (made, edited))
    assert len(new & old) == 4, "width 16 at 10k and 20k is untouched: same ids"
    assert {p: p.read_bytes() for p in (store.root / "runs").rglob("*") if p.is_file()} == before
    columns, _, _ = read_store(store.root)
    ids = columns["run_id"].tolist()
    assert len(ids) == len(set(ids))
    assert {c.run_id for c in made.cells[:5]} | new == set(ids)
    assert sum(columns["status"] == "ok") == 5
    found = status.Look(store.root).collect()["studies"][0]
    assert found["cells"] == len(edited.cells)


def test_predictions_stand_as_they_were_said_first(tmp_path, study_file, made, monkeypatch):
    store = Store(tmp_path)
    store.write_study(made, study_file.read_text())
    path = tmp_path / "studies" / "small.json"
    first = json.loads(path.read_text())["cells"]
    assert all(c["predicted_seconds"] > 0 for c in first)
    doubled = {k: type(v)(2 * v.seconds, True) for k, v in Prices(made).seconds_per_step.items()}
    monkeypatch.setattr(Prices, "seconds_per_step", doubled)
    store.write_study(made, study_file.read_text())
    assert json.loads(path.read_text())["cells"] == first


def test_status_tells_states_costs_failures_and_the_command_that_helps(tmp_path, study_file, made, capsys):
    store = Store(tmp_path / "a store")
    store.write_study(made, study_file.read_text())
    cells = made.cells
    finish(store, cells[0], 3.5)
    finish(store, cells[1], 3.25)
    finish(store, cells[2], None, status="diverged", reason="loss not finite at step 7")
    store.fail(cells[3].run_id, 2, "OSError: out of luck", "Traceback ...")
    running = store.run(cells[4].run_id)
    assert claims.take(store.claim_path(cells[4].run_id), claims.Owner.me())
    trunk = made.trunks[0].run_id
    assert claims.take(store.claim_path(trunk), claims.Owner.me())
    look = status.Look(store.root)
    found = look.collect()["studies"][0]
    assert found["states"] == {"done": 2, "diverged": 1, "failed": 1, "running": 1, "waiting": 7}
    assert {r["run_id"]: r["phase"] for r in found["running"]} == {
        cells[4].run_id: "compiling",
        trunk: "compiling",
    }
    running.append_metrics([{"step": 20, "tokens": 5120, "loss_nats": 4.5}, {"step": 20, "kind": "branch"}])
    running.append_metrics([{"step": 40, "tokens": 10_240, "loss_nats": 4.0}])
    found = look.collect()["studies"][0]
    row = next(r for r in found["running"] if r["run_id"] == cells[4].run_id)
    assert (row["step"], row["loss_nats"]) == (40, 4.0)
    assert row["tokens_per_s"] > 0, "measured between two looks"
    assert row["share_of_peak"] is None, "no peak of such a device is published"
    running.append_metrics([{"step": 40, "kind": "val", "loss_nats": 4.25}])
    running.append_metrics([{"step": 60, "tokens": 15_360, "loss_nats": 3.75}])
    running.append_costs({"device": "NVIDIA H100 80GB HBM3", "step": 60})
    row = next(r for r in look.collect()["studies"][0]["running"] if r["run_id"] == cells[4].run_id)
    assert (row["loss_nats"], row["val_loss_nats"]) == (3.75, 4.25)
    flops = cells[4].flops["flops_exact"] / (cells[4].config.steps * cells[4].config.batch_tokens)
    assert row["share_of_peak"] == pytest.approx(row["tokens_per_s"] * flops / 495e12)
    assert found["actual_device_seconds"] == 4.0
    # The two that are done took 4 s and, before it, 1 s to compile: as much is expected beside what is left.
    assert found["eta_seconds"] == pytest.approx(found["device_seconds_left"] / 2 * (4.0 + 1.0) / 4.0)
    assert found["last_losses"][0]["loss_nats"] in (3.5, 3.25)
    assert found["lowest_loss"] == {"language": {"run_id": cells[1].run_id, "loss_nats": 3.25}}
    text = status.as_text(look.collect())
    assert f"failed {cells[3].run_id}: OSError: out of luck" in text
    assert "failure.json" in text
    assert f"diverged {cells[2].run_id}: loss not finite at step 7" in text
    assert f"--out '{store.root}' --retry-failed" in text, "a path with a space is quoted"
    assert planning.status([str(store.root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["studies"][0]["states"]["done"] == 2


def test_watching_ends_when_nothing_is_left(tmp_path, study_file, made, capsys):
    store = Store(tmp_path)
    store.write_study(made, study_file.read_text())
    for i, cell in enumerate(made.cells):
        finish(store, cell, 3.0 + i)
    assert planning.status([str(tmp_path), "--watch", "--every", "0.1"]) == 0
    out = capsys.readouterr().out
    assert "12 runs: 12 done" in out
    assert "to go on" not in out
    with pytest.raises(InputError, match="--every: should be between"):
        planning.status([str(tmp_path), "--every", "0"])


def test_a_folder_that_has_not_changed_is_not_read_again_by_a_later_command(
    tmp_path, study_file, made, monkeypatch
):
    store = Store(tmp_path)
    store.write_study(made, study_file.read_text())
    for i, cell in enumerate(made.cells):
        finish(store, cell, 3.0 + i)
    found, looked = status.Look(tmp_path).collect(), []
    assert found["studies"][0]["damaged"], "these folders have no log"
    monkeypatch.setattr(status, "look", lambda folder, **_: looked.append(folder.path.name) or [])
    assert status.Look(tmp_path).collect() == found
    assert looked == []
    changed = store.run(made.cells[3].run_id)
    changed.append_metrics([{"step": 20, "loss_nats": 4.0}])
    status.Look(tmp_path).collect()
    assert looked == [changed.path.name]
    (tmp_path / "cache" / "looked.json").write_text('{"a": 3}')
    status.Look(tmp_path).collect()
    assert len(looked) == 13, "what is no record of looks is as none"


def test_a_damaged_study_or_no_store_is_one_line(tmp_path, study_file, made):
    with pytest.raises(InputError, match="no study here"):
        status.Look(tmp_path).collect()
    Store(tmp_path).write_study(made, study_file.read_text())
    (tmp_path / "studies" / "small.json").write_text("{")
    with pytest.raises(InputError, match=r"small\.json: is damaged"):
        status.Look(tmp_path).collect()
    Store(tmp_path).write_study(made, study_file.read_text())
    assert status.Look(tmp_path).collect()["studies"][0]["cells"] == 12


def test_five_hundred_folders_are_one_table_and_none_is_read_twice(tmp_path):
    spec = importlib.util.spec_from_file_location("crowd", Path(__file__).with_name("crowd.py"))
    crowd = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(crowd)
    crowd.fill(tmp_path / "s", 500, studies=3)
    columns, _, notes = read_store(tmp_path / "s")
    assert len(set(columns["run_id"])) == len(columns["run_id"]) == 500
    assert Counter(columns["status"]) == {"ok": 450, "unfinished": 50}
    assert notes == []
    shutil.rmtree(tmp_path / "s" / "runs" / f"{7:012x}")
    again, _, _ = read_store(tmp_path / "s")
    assert Counter(again["status"]) == {"ok": 449, "unfinished": 51}, "the folders are the truth"


SMALL = {
    "grid": """grids.language.sizes=[{ width = 8, heads = 2 }]
        grids.language.tokens=[8_000, 16_000]
        grids.language.held_out=1""",
    "isoflop": """grids.valleys.flops=[1e8]
        grids.valleys.valley.sizes=2
        grids.valleys.valley.tokens_per_param=10""",
    "ladder": """grids.ladder.params=[1_500]
        grids.ladder.multiples=[0.1, 0.2]
        grids.ladder.held_out=1""",
    "trunk_branch": """grids.branches.sizes=[{ width = 8 }]
        grids.branches.tokens=[8_000, 16_000]
        grids.branches.held_out_where=[{ tokens = "largest" }]
        model.heads=1""",
    "factorial": """grids.rates.factors={ optimizer.learning_rate = [0.01, 0.02] }
        grids.rates.tokens=[8_000]
        grids.schedules.tokens=[8_000, 16_000]
        grids.schedules.sizes=[{ width = 8 }]
        model.heads=1
        model.width=8""",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "design",  # what the other tests train is a grid
    [pytest.param(name, marks=[pytest.mark.weekly] if name == "grid" else []) for name in SMALL],
)
def test_the_example_of_each_design_runs(tmp_path, design):
    """At a few steps of tiny shapes, from the copy that the store keeps for workers."""
    from lab.machine import devices
    from sweeps.work.worker import Worker

    devices.enable_compilation_cache()
    file, store = tmp_path / "s.toml", Store(tmp_path / "store")
    planning.init([str(file), "--design", design])
    # the shape of other tests' runs, of which programs are there
    sets = ["data.source=synthetic", "data.context=32", "data.val_windows=64"]
    sets += [
        "model.layers=1",
        "optimizer.warmup_tokens=2_000",
        *(line.strip() for line in SMALL[design].splitlines()),
    ]
    made = plan.make(loader.load(file, sets), load)
    store.write_study(made, loader.text_of(file, sets))
    (copy,) = (store.root / "studies").glob("*.toml")
    copied = plan.make(loader.load(copy), load)
    assert [c.run_id for c in copied.cells] == [c.run_id for c in made.cells]
    assert Worker(copied, store, lambda event: None).work() == 0
    found = status.Look(store.root).collect()["studies"][0]
    assert found["states"] == {"done": len(made.cells)}
    assert found["actual_device_seconds"] > 0
    assert found["next"] is None
