"""Stores of somebody else's making: read, reported on and merged, and nothing outside is read or written."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.errors import InputError as TableError
from analysis.files import Refused
from analysis.plots.learning import learning_curves
from analysis.report.build import Drawn
from analysis.report.provenance import provenance
from analysis.tables.table import read
from lab.errors import InputError
from lab.runs.folder import DIVERGED, FAILURE, METRICS, RESULT, SPEC, RunFolder
from sweeps.store import merging
from sweeps.store.store import Store, check_writable
from sweeps.verbs import status

SECRET = "aws_secret_access_key"


def row(run_id, **more):
    return {"run_id": run_id, "status": "ok", "loss_nats": 2.0, "tokens": 1000, "params_total": 100, **more}


def write(folder: Path, run_id: str, host: str = "here", **more) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    result = {"schema": 1, "row": row(run_id, device=host, **more), "abilities": []}
    (folder / "result.json").write_text(json.dumps(result))
    spec = {"kind": "run", "run_id": run_id, "config": {"tokens": 1000}, "data_digest": "0"}
    (folder / "spec.json").write_text(json.dumps({**spec, "provenance": {"host": host}}))
    lines = [{"step": s, "tokens": 100 * s, "loss_nats": 3.0 + 1 / s} for s in range(1, 9)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def outside(tmp_path) -> Path:
    """What is none of a store's business: a file, and a run folder of another store."""
    write(tmp_path / "outside" / "runs" / "mine", "mine", SECRET)
    (tmp_path / "outside" / "credentials").write_text(SECRET)
    return tmp_path / "outside"


@pytest.fixture
def store(tmp_path) -> Store:
    """A store of one sound run and its study."""
    write(tmp_path / "store" / "runs" / "aaa", "aaa")
    store = Store(tmp_path / "store")
    study(store, ["aaa"])
    return store


def study(store: Store, ids) -> None:
    (store.root / "studies").mkdir(exist_ok=True)
    cells = [{"run_id": i, "grid": "g", "held_out": False, "trunk": None, "tokens": 1000} for i in ids]
    listed = {"schema": 1, "study": "s", "cells": cells}
    (store.root / "studies" / "s.json").write_text(json.dumps(listed))
    (store.root / "studies" / "s.toml").write_text('name = "s"\n')


def snapshot(folder: Path) -> dict:
    return {path: (path.lstat().st_mode, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def told(store: Store) -> str:
    """All that table, report and status take from the run folders and studies."""
    runs = read(store.root)
    found = provenance(runs, store.root)
    curves = [curve.run_id for curve in learning_curves(runs)]
    said = status.Look(store.root).collect()
    columns = {name: values.tolist() for name, values in runs.columns.items()}
    return repr((columns, runs.notes, found, curves)) + json.dumps(said)


def test_a_linked_study_file_does_not_stand_in_the_report(store, outside):
    (store.root / "studies" / "zz.toml").symlink_to(outside / "credentials")
    (store.root / "studies" / "zz.json").symlink_to(outside / "credentials")
    found = provenance(read(store.root), store.root)
    assert list(found.studies) == ["s.toml"]
    assert SECRET not in told(store)


@pytest.mark.parametrize("run_id", ["../../outside/runs/mine", "mine/../aaa", "/etc", "..", "a b", "\x1b[2J"])
def test_an_id_that_is_no_folder_of_the_store_leads_nowhere(store, outside, run_id):
    write(store.root / "runs" / "bbb", run_id)
    write(store.root / "runs" / "ccc", "ccc", trunk=run_id)
    study(store, ["aaa", "bbb", "ccc"])
    runs = read(store.root)
    states = dict(zip(runs.columns["run_id"], runs.columns["status"], strict=True))
    assert states == {"aaa": "ok", "bbb": "unfinished", "ccc": "unfinished"}
    assert "2 files could not be read" in repr(runs.notes)
    assert SECRET not in told(store)
    with pytest.raises(InputError, match="is no run id"):
        store.run(run_id)
    study(store, ["aaa", run_id])
    assert list(read(store.root).columns["run_id"]) == ["aaa", "bbb", "ccc"], "the study's list is torn"


@pytest.mark.parametrize("name", [SPEC, RESULT, METRICS, FAILURE, DIVERGED])
@pytest.mark.parametrize("kind", ["link", "fifo", "zero"])
def test_no_file_of_a_run_folder_leads_out_or_holds_up(store, outside, name, kind):
    (store.root / "runs" / "bbb").mkdir()
    study(store, ["aaa", "bbb"])
    path = store.root / "runs" / "bbb" / name
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(outside / "runs" / "mine" / name if kind == "link" else Path("/dev/zero"))
    assert SECRET not in told(store)
    folder = store.run("bbb")
    if name != METRICS:
        assert folder.read(name).state == "torn"
    else:
        assert folder.metrics() == []


def test_a_linked_run_folder_is_no_run(store, outside):
    (store.root / "runs" / "mine").symlink_to(outside / "runs" / "mine")
    study(store, ["aaa", "mine"])
    before = snapshot(outside)
    runs = read(store.root)
    assert dict(zip(runs.columns["run_id"], runs.columns["status"], strict=True))["mine"] == "unfinished"
    assert SECRET not in told(store)
    assert store.names() == {"aaa"}
    for write_it in (
        lambda: store.fail("mine", 1, "error", ""),
        lambda: store.run("mine").append_metrics([{"step": 1}]),
        lambda: store.run("mine").commit({"row": {}}),
        lambda: store.run("mine").cut_metrics(0),
    ):
        with pytest.raises(InputError, match="mine: is a link"):
            write_it()
    assert snapshot(outside) == before


@pytest.mark.parametrize("name", ["runs", "studies"])
def test_linked_folders_of_a_store_are_refused_in_a_line(store, outside, name):
    folder = store.root / name
    folder.rename(outside / name) if name == "studies" else folder.rename(outside / "taken")
    folder.symlink_to(outside / name)
    before = snapshot(outside)
    with pytest.raises(InputError, match=f"{name}: is a link"):
        check_writable(store.root)
    with pytest.raises(TableError, match=f"{name}: is a link"):
        read(store.root)
    assert store.names() <= {"aaa"}
    assert snapshot(outside) == before


class _Plot:
    """As much of a figure as is written."""

    name = "figure"

    def svg(self):
        return "svg"

    def csv(self):
        return "csv"


def test_figures_are_not_written_through_links(store, outside):
    (store.root / "figures").mkdir()
    (store.root / "figures" / "figure.svg").symlink_to(outside / "credentials")
    assert Drawn.save(_Plot(), store.root).svg == "svg"
    assert (store.root / "figures" / "figure.svg").read_text() == "svg"
    assert (outside / "credentials").read_text() == SECRET
    for path in (store.root / "figures").iterdir():
        path.unlink()
    (store.root / "figures").rmdir()
    (store.root / "figures").symlink_to(outside)
    before = snapshot(outside)
    with pytest.raises(Refused, match="figures: is a link"):
        Drawn.save(_Plot(), store.root)
    assert snapshot(outside) == before


def test_merging_takes_regular_files_of_known_names_with_modes_of_its_own(store, outside, tmp_path, capsys):
    source, into = store.root / "runs" / "aaa", tmp_path / "into"
    checkpoint = source / "checkpoints" / "5"
    checkpoint.mkdir(parents=True)
    (checkpoint / "state").write_bytes(b"weights")
    (checkpoint / "state").chmod(0o4755)
    (checkpoint / "leak").symlink_to(outside / "credentials")
    (source / "final").symlink_to(outside / "runs")
    (source / "spec.json").chmod(0o6777)
    (source / "evil.pth").write_text("import os")
    (source / "claim").write_text("{}")
    (source / "items.parquet").symlink_to(outside / "credentials")
    os.mkfifo(source / "metrics.jsonl.fifo")
    (source / "failure.json").mkdir()
    (store.root / "runs" / "linked").symlink_to(outside / "runs" / "mine")
    (store.root / "studies" / "zz.toml").symlink_to(outside / "credentials")
    (store.root / "studies" / "zz.json").write_text((store.root / "studies" / "s.json").read_text())
    assert merging.merge([str(into), str(store.root)]) == 0
    said = capsys.readouterr().out
    files = {str(path.relative_to(into)) for path in into.rglob("*") if not path.is_dir()}
    run = {f"runs/aaa/{name}" for name in (RESULT, SPEC, METRICS, "checkpoints/5/state")}
    assert files == run | {"studies/s.json", "studies/s.toml", "studies/zz.json"}
    mask = os.umask(0)
    os.umask(mask)
    assert {stat.S_IMODE((into / name).lstat().st_mode) for name in files} == {0o666 & ~mask}
    for name in ("evil.pth", "leak", "items.parquet", "metrics.jsonl.fifo", "linked", "zz.toml"):
        assert name in said
    assert SECRET not in "".join(path.read_text() for path in into.rglob("*") if path.is_file())


def test_merging_does_not_write_through_links_either(store, outside, tmp_path):
    into = tmp_path / "into"
    (into / "studies").mkdir(parents=True)
    (into / "runs").mkdir()
    (into / "runs" / "aaa").symlink_to(outside / "runs" / "mine")
    before = snapshot(outside)
    with pytest.raises(InputError, match="aaa: is a link"):
        merging.merge([str(into), str(store.root)])
    assert snapshot(outside) == before


def test_a_log_is_not_appended_through_a_link(store, outside):
    folder = RunFolder(store.root / "runs" / "bbb", store.root)
    folder.path.mkdir()
    (folder.path / "metrics.jsonl").symlink_to(outside / "credentials")
    with pytest.raises(InputError, match=r"metrics\.jsonl: is a link"):
        folder.append_metrics([{"step": 1}])
    folder.cut_metrics(3)
    folder.append_metrics([{"step": 1}])
    assert folder.metrics() == [{"step": 1}]
    assert (outside / "credentials").read_text() == SECRET


def test_a_table_replaces_a_link_and_not_what_it_leads_to(store, outside):
    out = store.root / "table.csv"
    out.symlink_to(outside / "credentials")
    command = [sys.executable, "-m", "lab", "table", str(store.root), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert out.read_text().startswith("run_id,")
    assert (outside / "credentials").read_text() == SECRET
