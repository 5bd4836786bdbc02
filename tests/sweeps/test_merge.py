"""Stores merged: by rule, verified, nothing lost and nothing doubled."""

import json
import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.tables.store import read_store
from lab.errors import InputError
from lab.runs import claims
from lab.runs.folder import Reading, RunFolder
from sweeps.store import merging
from sweeps.store.merging import Report, into_one, merge
from sweeps.store.store import Store


def run(store: Store, run_id: str, loss=None, steps=(), log="", status="ok", **row):
    folder = store.run(run_id)
    folder.path.mkdir(parents=True, exist_ok=True)
    (folder.path / "spec.json").write_text(json.dumps({"kind": "run", "run_id": run_id}))
    for step in steps:
        (folder.checkpoints / str(step)).mkdir(parents=True)
        (folder.checkpoints / str(step) / "state").write_bytes(bytes([step]) * 100)
    if log:
        (folder.path / "metrics.jsonl").write_text(log)
    if loss is not None or status == "diverged":
        row = {"run_id": run_id, "status": status, "loss_nats": loss, "device_seconds": 1.0, **row}
        folder.commit({"schema": 1, "row": row, "abilities": []})
    return folder


def study(store: Store, name: str, ids, **extra):
    folder = store.root / "studies"
    folder.mkdir(parents=True, exist_ok=True)
    cells = [{"run_id": i, "grid": "g", "held_out": False, "trunk": None, **extra} for i in ids]
    (folder / f"{name}.json").write_text(json.dumps({"schema": 1, "study": name, "cells": cells}))
    (folder / f"{name}.toml").write_text(f"name = '{name}'")


def files(store: Store) -> dict:
    return {str(p.relative_to(store.root)): p.read_bytes() for p in store.root.rglob("*") if p.is_file()}


@pytest.fixture
def two(tmp_path):
    return Store(tmp_path / "into"), Store(tmp_path / "from")


def merged(into, source) -> Report:
    report = Report()
    into_one(into, source, report)
    return report


def test_what_only_one_has_is_copied_whole_and_the_source_stays(two):
    into, source = two
    run(into, "a", 1.0)
    run(source, "b", 2.0, steps=(3,), log='{"step": 3}\n')
    (source.run("b").path / "claim").write_text("{}")
    (source.run("b").path / ".half.tmp").write_text("x")
    before = files(source)
    report = merged(into, source)
    assert report.copied == ["b"]
    assert files(source) == before
    here = {k: v for k, v in files(into).items() if "/b/" in k}
    wanted = {k: v for k, v in before.items() if "claim" not in k and ".half" not in k}
    assert here == wanted
    assert merged(into, source).same == ["b"], "a second merge changes nothing"


def test_a_result_beats_anything_unfinished_and_a_failure(two):
    into, source = two
    run(into, "a", steps=(1, 2), log='{"step": 2}\n')
    run(into, "b")
    into.fail("b", 2, "out of luck", "")
    run(into, "c", 3.0)
    run(source, "a", 1.0, log='{"step": 9}\n')
    run(source, "b", 2.0)
    run(source, "c", steps=(5,))
    source.fail("c", 1, "too", "")
    report = merged(into, source)
    assert (report.finished, report.same) == (["a", "b"], ["c"])
    assert into.run("a").result()["row"]["loss_nats"] == 1.0
    assert into.run("a").metrics() == [{"step": 9}]
    assert into.failure("b") is None
    assert into.failure("c") is None
    assert not list((into.root / "runs").glob("*/claim"))


def test_results_that_differ_are_both_kept_and_reported_and_circumstances_are_no_difference(two):
    into, source = two
    run(into, "a", 1.0, device="cpu")
    run(source, "a", 1.0, device="gpu", device_seconds=9.0)
    run(into, "b", 1.0)
    run(source, "b", 1.0000001)
    run(into, "c", 1.0)
    run(source, "c", status="diverged")
    report = merged(into, source)
    assert report.same == ["a"]
    assert [c["run_id"] for c in report.conflicts] == ["b", "c"]
    assert into.run("b").result()["row"]["loss_nats"] == 1.0
    kept = json.loads(Path(report.conflicts[0]["kept"]).read_text())
    assert kept["row"]["loss_nats"] == 1.0000001
    rows, _, _ = read_store(into.root)
    assert sorted(rows["run_id"]) == ["a", "b", "c"], "what is kept beside is no row"


def test_a_column_that_an_older_version_did_not_write_is_no_difference(two):
    into, source = two
    run(into, "a", 1.0, tokenizer="bytes", width=8)
    run(source, "a", 1.0, width=8)
    run(into, "b", 1.0, width=8)
    run(source, "b", 1.0, tokenizer="bytes", width=16)
    report = merged(into, source)
    assert report.same == ["a"]
    assert [one["run_id"] for one in report.conflicts] == ["b"]


def test_a_result_that_the_system_refuses_now_is_not_replaced(two, monkeypatch):
    """Before: one error of input and output made this store's result the other's, unsaid."""
    into, source = two
    run(into, "a", 1.0)
    run(source, "a", 2.0)
    real = RunFolder.read
    unread = Reading("unread", why="Input/output error")
    monkeypatch.setattr(RunFolder, "read", lambda s, n: unread if s.root == into.root else real(s, n))
    assert merged(into, source).busy == ["a"]
    monkeypatch.undo()
    assert into.run("a").result()["row"]["loss_nats"] == 1.0
    assert [found["run_id"] for found in merged(into, source).conflicts] == ["a"]


def test_unfinished_runs_get_the_checkpoints_that_they_lack(two):
    into, source = two
    run(into, "a", steps=(1, 2), log="old")
    run(source, "a", steps=(2, 3), log='{"step": 3}\n')
    run(into, "b", steps=(7,), log='{"step": 7}\n')
    run(source, "b", steps=(4,), log='{"step": 4}\n')
    report = merged(into, source)
    assert report.extended == ["a", "b"]
    assert sorted(p.name for p in into.run("a").checkpoints.iterdir()) == ["1", "2", "3"]
    assert into.run("a").metrics() == [{"step": 3}]
    assert into.run("b").metrics() == [{"step": 7}], "the log goes with the newest checkpoint"


def test_a_run_that_is_held_here_is_left_out(two, capsys):
    into, source = two
    run(into, "a")
    run(source, "a", 1.0)
    elsewhere = replace(claims.Owner.me(), host="elsewhere")
    assert claims.take(into.claim_path("a"), elsewhere)
    assert merge([str(into.root), str(source.root)]) == 1
    assert "1 runs left out: a worker holds them here" in capsys.readouterr().out
    assert into.run("a").result() is None
    os.utime(into.claim_path("a"), (0, 0))
    assert merged(into, source).finished == ["a"], "a silent one does not hold it"


def test_a_copy_that_differs_is_no_run(two, monkeypatch):
    into, source = two
    run(source, "a", 1.0)
    real = merging._stream

    def torn(source, root, to):
        digest = real(source, root, to)
        if to is not None:
            to.write(b"x")
        return digest

    monkeypatch.setattr(merging, "_stream", torn)
    with pytest.raises(OSError, match="the copy differs"):
        merged(into, source)
    assert into.run("a").result() is None
    monkeypatch.undo()
    assert merged(into, source).copied == ["a"] or merged(into, source).same == ["a"]
    assert into.run("a").result()["row"]["loss_nats"] == 1.0
    assert not list(into.root.rglob(".*merge*"))


def test_a_result_that_cannot_be_read_is_left_out_and_told(two, capsys):
    into, source = two
    run(source, "a")
    (source.run("a").path / "result.json").write_text('{"row": {')
    assert merge([str(into.root), str(source.root), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["damaged"] == ["a"]
    assert not (into.run("a").path / "result.json").exists()


def test_studies_of_one_name_and_other_cells_are_both_kept(two):
    into, source = two
    run(into, "a", 1.0)
    run(source, "b", 2.0)
    study(into, "s", ["a"], predicted_seconds=1.0)
    study(source, "s", ["a"], predicted_seconds=2.0)
    assert merged(into, source).studies == [], "what was predicted for a machine is no difference"
    study(source, "s", ["a", "b"])
    (name,) = merged(into, source).studies
    assert name.startswith("s-")
    assert merged(into, source).studies == []
    rows, _, _ = read_store(into.root)
    of = dict(zip(rows["run_id"], rows["study"], strict=True))
    assert (set(of["a"].split("+")), of["b"]) == ({"s", name}, name)


@pytest.mark.parametrize("seed", range(4))
def test_any_two_stores_end_with_every_result_once_in_either_order(tmp_path, seed):
    rng = random.Random(seed)
    stores = [Store(tmp_path / name) for name in "ab"]
    wanted = set()
    for i in range(20):
        run_id = f"{i:012x}"
        for store in stores:
            kind = rng.choice(("none", "empty", "half", "done"))
            if kind != "none":
                run(
                    store,
                    run_id,
                    loss=float(i) if kind == "done" else None,
                    steps=sorted(rng.sample(range(9), 2)) if kind == "half" else (),
                )
            if kind == "done":
                wanted.add(run_id)
    for store in stores:
        study(store, "s", [f"{i:012x}" for i in range(20)])
    both = []
    for order in (stores, stores[::-1]):
        into = Store(tmp_path / f"into{len(both)}")
        for store in order:
            merged(into, store)
        columns, _, notes = read_store(into.root)
        ok = columns["run_id"][columns["status"] == "ok"]
        assert len(set(columns["run_id"])) == len(columns["run_id"]) == 20
        assert set(ok) == wanted
        assert not notes
        both.append({k: v for k, v in files(into).items() if k.endswith("result.json")})
    assert both[0] == both[1]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["into"], "name one store or more"),
        (["into", "nothing"], "nothing: not a store folder"),
        (["from", "from"], "is the store to merge into"),
        (["other", "from"], "holds other files and is no store"),
    ],
)
def test_folders_that_cannot_be_merged(tmp_path, monkeypatch, args, words):
    monkeypatch.chdir(tmp_path)
    run(Store(tmp_path / "from"), "a", 1.0)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")
    with pytest.raises(InputError, match=words):
        merge(args)
