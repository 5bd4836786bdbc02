"""Forecasts sealed before their runs are trained, scored after: what is refused, and that edits show."""

import json

import numpy as np
import pytest

import analysis as sl
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
