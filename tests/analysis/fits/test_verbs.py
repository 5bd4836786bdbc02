"""The verbs: one JSON object and nothing else, texts that say what matters, exit codes."""

import json
import subprocess
import sys

import numpy as np
import pytest

import analysis as sl
from analysis.verbs import fit as verbs
from lab.__main__ import main

LAW = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """6 IsoFLOP levels of 9 runs, one of them diverged, one far off, names as papers have them."""
    flops = np.repeat(np.geomspace(1e18, 1e21, 6), 9)
    params = np.sqrt(flops / 120) * np.tile(np.geomspace(0.2, 5, 9), 6)
    at = {"params": params, "tokens": flops / 6 / params}
    loss = sl.LAWS["chinchilla"].loss(LAW, at) * np.exp(0.003 * np.random.default_rng(0).standard_normal(54))
    loss[7] *= 1.2
    lines = [f"{c:.6g},{n:.6g},{v:.6g},ok" for c, n, v in zip(flops, params, loss, strict=True)]
    lines[3] = lines[3].replace("ok", "diverged")
    path = tmp_path_factory.mktemp("verbs") / "runs.csv"
    path.write_text("\n".join(["C,Model Size,val_loss,status", *lines]))
    return path


@pytest.mark.parametrize(
    ("verb", "more", "keys"),
    [
        ("fit", [], {"law", "params", "intervals", "objective", "certificate", "excluded", "warnings"}),
        ("isoflop", [], {"curves", "params", "tokens", "excluded", "warnings"}),
        ("allocate", ["--flops", "1e22"], {"params", "tokens", "loss", "intervals", "deviations"}),
        ("forecast", ["--rollout", "flops"], {"score", "cells", "fit", "rule", "rollout"}),
        ("table", [], {"columns", "rows"}),
    ],
)
def test_json_is_one_object(table, capsys, verb, more, keys):
    options = [] if verb == "table" else ["--bootstrap", "50"]
    assert main([verb, str(table), "--json", *options, *more]) == 0
    printed = capsys.readouterr().out
    assert keys <= set(json.loads(printed, parse_constant=pytest.fail))
    assert printed.count("\n") == 1


def test_the_text_shows_what_was_left_out_and_what_is_odd(table, capsys):
    assert verbs.fit([str(table), "--bootstrap", "50"]) == 0
    printed = capsys.readouterr().out
    assert "status is 'diverged'" in printed
    assert "outliers" in printed
    assert "row 7" in printed
    assert "params is the column 'Model Size'" in printed
    assert "tokens is flops / (6 params)" in printed


def test_forecast_of_a_run_that_is_not_there(table, capsys):
    asked = ["--params", "7e10", "--tokens", "1.4e12", "--bootstrap", "100"]
    assert verbs.forecast([str(table), *asked, "--json"]) == 0
    out = json.loads(capsys.readouterr().out)
    cell = out["cells"][0]
    assert cell["measured"] is None
    truth = float(sl.LAWS["chinchilla"].loss(LAW, {"params": 7e10, "tokens": 1.4e12}))
    assert cell["low"] < truth < cell["high"]
    with pytest.raises(sl.InputError, match="go together"):
        verbs.forecast([str(table), "--params", "7e10"])


def test_a_forecast_takes_noise_and_is_calibrated(table, tmp_path, capsys):
    lines = table.read_text().splitlines()
    noisy = [f"{line},{0.012 if i % 2 else 0.006}" for i, line in enumerate(lines[1:])]
    path = tmp_path / "noisy.csv"
    path.write_text("\n".join([lines[0] + ",se", *noisy]))
    options = ["--law", "chinchilla", "--bootstrap", "60", "--noise", "se", "--calibrate", "12", "--json"]
    assert verbs.forecast([str(path), *options]) == 0
    out = json.loads(capsys.readouterr().out)
    assert out["fit"]["calibration"]["simulations"] == 12
    assert out["fit"]["level"] == 0.9
    plain = sl.forecast(path, law="chinchilla", bootstrap=60)
    assert out["cells"][0]["predicted"] != plain.cells[0].predicted
    with pytest.raises(sl.InputError, match="nearest: 'se'"):
        verbs.forecast([str(path), "--noise", "sd"])
    with pytest.raises(sl.InputError, match="calibrate"):
        verbs.forecast([str(path), "--calibrate", "12", "--method", "profile"])


def test_a_budget_is_needed(table):
    with pytest.raises(sl.InputError, match="--flops"):
        verbs.allocate([str(table)])


def test_groups_that_follow_different_laws_are_noticed():
    rng = np.random.default_rng(0)
    n, d = np.meshgrid(np.geomspace(1e7, 3e9, 6), np.geomspace(2e8, 6e10, 6), indexing="ij")
    at = {"params": np.tile(n.ravel(), 2), "tokens": np.tile(d.ravel(), 2)}
    data = np.repeat(["c4", "code"], 36).astype(object)
    loss = sl.LAWS["chinchilla"].loss(LAW, at) * np.exp(0.003 * rng.standard_normal(72))
    mixed = {**at, "data": data, "loss": loss * np.where(data == "code", 0.8, 1.0)}
    assert "mixed_groups" in {note.code for note in sl.fit(mixed, bootstrap=0).warnings}
    alike = {**at, "data": data, "loss": loss}
    assert "mixed_groups" not in {note.code for note in sl.fit(alike, bootstrap=0).warnings}


def test_importing_costs_neither_pandas_nor_jax(table):
    code = (
        "import sys, analysis as sl; from analysis.verbs import fit as verbs; "
        f"verbs.fit([{str(table)!r}, '--bootstrap', '20', '--json']); "
        "bad = {'pandas', 'jax', 'lab', 'sweeps', 'matplotlib', 'scipy.optimize'} & set(sys.modules); "
        "print(sorted(bad), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
