"""Forecasts sealed before their runs are trained, scored after: what is refused, and that edits show."""

import hashlib
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

import analysis as sl
from analysis.report.findings import _foretold
from analysis.verbs.fit import forecast as verb
from benchmarks.planted_losses import chinchilla


def write(path, rows):
    path.write_text(
        "params,tokens,loss\n" + "".join(f"{n:.17g},{d:.17g},{loss:.17g}\n" for n, d, loss in rows)
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """(the folder, rows of a table, the target's params and tokens), with a forecast registered."""
    folder = tmp_path_factory.mktemp("register")
    n, d = (v.ravel() for v in np.meshgrid(np.geomspace(1e7, 3e8, 5), np.geomspace(1e9, 3e10, 5)))
    noise = 0.003 * np.random.default_rng(0).standard_normal(25)
    rows = list(zip(n, d, chinchilla(n, d) * np.exp(noise), strict=True))
    write(folder / "runs.csv", rows)
    asked = ["--params", "6e8", "--tokens", "6e10", "--law", "chinchilla", "--bootstrap", "40"]
    assert verb([str(folder / "runs.csv"), *asked, "--register", str(folder / "ahead.json")]) == 0
    return folder, rows, asked


def test_a_registered_forecast_is_scored_by_the_run_that_came(store, capsys):
    folder, rows, _ = store
    record = json.loads((folder / "ahead.json").read_text())
    assert {"format", "version", "registered", "inputs", "law", "params", "level", "targets", "seal"} <= set(
        record
    )
    (target,) = record["targets"]
    assert target["low"] < target["predicted"] < target["high"]
    with pytest.raises(sl.InputError, match="none of the 1 registered targets is trained yet"):
        verb([str(folder / "runs.csv"), "--score", str(folder / "ahead.json")])
    # A budget is whole steps: the run has a few tokens more.
    came = float(chinchilla(np.array(6e8), np.array(6e10)))
    write(folder / "later.csv", [*rows, (6e8, 6.003e10, came)])
    capsys.readouterr()
    assert verb([str(folder / "later.csv"), "--score", str(folder / "ahead.json"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["inside"] == 1
    assert said["cells"][0]["error"] == pytest.approx(target["predicted"] - came)
    assert said["registered"] == record["registered"]
    assert verb([str(folder / "later.csv"), "--score", str(folder / "ahead.json")]) == 0
    assert "1 of 1 inside" in capsys.readouterr().out


def test_what_has_been_trained_is_not_foretold(store):
    folder, rows, asked = store
    write(folder / "trained.csv", [*rows, (6e8, 6e10, 2.3)])
    with pytest.raises(sl.InputError, match=r"row 25 is a run of .* tokens already"):
        verb([str(folder / "trained.csv"), *asked, "--register", str(folder / "late.json")])
    assert not (folder / "late.json").exists()


def test_a_record_is_never_replaced_and_edits_show(store):
    folder, _, asked = store
    with pytest.raises(sl.InputError, match="is there already"):
        verb([str(folder / "runs.csv"), *asked, "--register", str(folder / "ahead.json")])
    record = json.loads((folder / "ahead.json").read_text())
    record["targets"][0]["predicted"] *= 1.01
    (folder / "edited.json").write_text(json.dumps(record))
    with pytest.raises(sl.InputError, match="its seal does not fit"):
        verb([str(folder / "runs.csv"), "--score", str(folder / "edited.json")])
    (folder / "other.json").write_text("[1]")
    with pytest.raises(sl.InputError, match="no registered forecast"):
        verb([str(folder / "runs.csv"), "--score", str(folder / "other.json")])
    with pytest.raises(sl.InputError, match="no such file"):
        verb([str(folder / "runs.csv"), "--score", str(folder / "none.json")])


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    """A store of 25 planted runs with two forecasts in its ledger: one of its targets came, and missed."""
    folder = tmp_path_factory.mktemp("ledger") / "store"
    n, d = (v.ravel() for v in np.meshgrid(np.geomspace(1e7, 3e8, 5), np.geomspace(1e9, 3e10, 5)))
    loss = chinchilla(n, d) * np.exp(0.003 * np.random.default_rng(0).standard_normal(25))
    for index in range(25):
        keep(folder, f"run{index:02d}", n[index], d[index], loss[index])
    asked = [str(folder), "--law", "chinchilla", "--bootstrap", "40", "--tokens", "6e10", "--params"]
    assert verb([*asked, "6e8", "--register", "next-scale"]) == 0
    assert verb([*asked, "9e8", "--register", "further"]) == 0
    keep(folder, "came", 6e8, 6e10, 2 * float(chinchilla(np.array(6e8), np.array(6e10))))
    return folder


def keep(store, name, params, tokens, loss, status="ok"):
    row = {"run_id": name, "status": status, "seed": 0, "params_total": int(params), "params_embedding": 0}
    row |= {"tokens": int(tokens), "flops_6nd": 6 * params * tokens, "loss_nats": loss}
    place = store / "runs" / name
    place.mkdir(parents=True)
    (place / "result.json").write_text(json.dumps({"schema": 1, "row": row, "abilities": []}))


def test_the_ledger_shows_every_forecast_also_those_that_missed(ledger, capsys):
    capsys.readouterr()
    assert verb([str(ledger), "--ledger", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["inside"], said["came"], said["waiting"]) == (0, 1, 1)
    found = {one["name"]: one for one in said["forecasts"]}
    assert set(found) == {"next-scale", "further"}
    assert found["further"]["outcome"] is None
    record = found["next-scale"]["record"]
    assert record["inputs"]["rows"] == 25
    assert len(record["inputs"]["sha256"]) == 64
    assert verb([str(ledger), "--ledger"]) == 0
    text = capsys.readouterr().out
    assert "0 of 1 runs that came lie inside; 1 are not trained yet" in text
    assert verb([str(ledger), "--score", "next-scale"]) == 0
    asked = [str(ledger), "--tokens", "6e10", "--bootstrap", "40", "--law", "chinchilla", "--params"]
    with pytest.raises(sl.InputError, match=r"is a run of .* tokens already"):
        verb([*asked, "6e8", "--register", "late"])
    with pytest.raises(sl.InputError, match="is there already, and a record is never replaced"):
        verb([*asked, "9e8", "--register", "further"])


def test_an_edited_record_is_shown_as_one(ledger, tmp_path, capsys):
    copy = tmp_path / "store"
    shutil.copytree(ledger, copy)
    path = copy / "forecasts" / "next-scale.json"
    path.write_text(path.read_text().replace('"level": 0.9', '"level": 0.5'))
    (copy / "forecasts" / "torn.json").write_text('{"format": "sca')
    assert verb([str(copy), "--ledger"]) == 0
    text = capsys.readouterr().out
    assert "next-scale: next-scale.json: was changed after it was registered" in text
    assert "torn.json: is not whole JSON" in text
    assert "0 of 0 runs that came lie inside; 1 are not trained yet" in text


def test_the_report_shows_the_ledger(ledger):
    card = _foretold(SimpleNamespace(path=ledger, runs=sl.read(ledger)))
    assert "0 of 1 runs inside their interval" in card
    assert "missed, -" in card
    assert "not trained yet" in card


def test_a_target_that_diverged_is_an_outcome_and_no_run_to_come(ledger, tmp_path, capsys):
    copy = tmp_path / "store"
    shutil.copytree(ledger, copy)
    keep(copy, "lost", 9e8, 6e10, None, status="diverged")
    assert verb([str(copy), "--ledger"]) == 0
    text = capsys.readouterr().out
    assert "0 of 1 runs that came lie inside; 0 are not trained yet; 1 diverged" in text
    assert "not yet" not in text
    assert verb([str(copy), "--score", "further"]) == 0
    assert "0 of 0 inside" in capsys.readouterr().out
    card = _foretold(SimpleNamespace(path=copy, runs=sl.read(copy)))
    assert "0 of 1 runs inside their interval; 1 diverged" in card
    assert "not trained yet" not in card
    asked = [str(copy), "--tokens", "6e10", "--bootstrap", "40", "--law", "chinchilla", "--params"]
    with pytest.raises(sl.InputError, match=r"is a run of .* tokens already"):
        verb([*asked, "9e8", "--register", "late"])


@pytest.mark.parametrize(
    "change",
    [
        {"targets": None},
        {"targets": []},
        {"targets": [{"params": 1.0}]},
        {"targets": [{"params": 1.0, "tokens": 1.0, "predicted": 2.0, "low": None, "high": 3.0}]},
        {"targets": [{"params": 1.0, "tokens": 1.0, "predicted": float("nan"), "low": 1.0, "high": 3.0}]},
        {"registered": 7},
        {"law": None},
    ],
)
def test_a_record_that_lacks_something_is_named_whoever_sealed_it(ledger, tmp_path, capsys, change):
    copy = tmp_path / "store"
    shutil.copytree(ledger, copy)
    path = copy / "forecasts" / "further.json"
    record = json.loads(path.read_text()) | change
    bare = {name: value for name, value in record.items() if name != "seal"}
    seal = hashlib.sha256(json.dumps(bare, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({**bare, "seal": seal}))
    capsys.readouterr()
    assert verb([str(copy), "--ledger"]) == 0
    assert "  further: further.json: " in capsys.readouterr().out
    with pytest.raises(sl.InputError, match=r"further\.json: (is no whole forecast|was changed|.*not JSON)"):
        verb([str(copy), "--score", "further"])


def test_a_plain_name_needs_a_store(store):
    folder, _, asked = store
    with pytest.raises(sl.InputError, match="is kept in the ledger of a store"):
        verb([str(folder / "runs.csv"), *asked, "--register", "ahead"])


def test_merged_stores_keep_their_forecasts(ledger, tmp_path):
    from sweeps.store.merging import Report, _forecasts
    from sweeps.store.store import Store

    into = tmp_path / "into"
    (into / "forecasts").mkdir(parents=True)
    (into / "forecasts" / "further.json").write_text("{}")
    _forecasts(Store(into), Store(ledger), Report())
    names = sorted(path.name for path in (into / "forecasts").glob("*.json"))
    assert len(names) == 3
    assert (into / "forecasts" / "further.json").read_text() == "{}"
    _forecasts(Store(into), Store(ledger), Report())
    assert sorted(path.name for path in (into / "forecasts").glob("*.json")) == names
