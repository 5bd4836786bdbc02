"""The order of a table's rows is no information: each verb says the same of a file that was sorted."""

import json
import re
from pathlib import Path

import numpy as np
import pandas
import pytest

from analysis.audits.leading import leading_fit
from analysis.isoflops.minima import envelope
from analysis.tables.sample import sample
from analysis.tables.table import as_runs
from analysis.verbs import audit, downstream, fit, thresholds

GUESSED = "--columns task=task,score=accuracy --chance copy=0.25 --chance coin=0.5 --draws 99 --no-calibrate"
VERBS = {
    "fit": (fit.fit, "--law chinchilla-tied --bootstrap 20 --calibrate 2"),
    "fit by clusters": (fit.fit, "--law chinchilla --method clusters --bootstrap 40"),
    "fit by rows": (fit.fit, "--law chinchilla --method rows --bootstrap 40"),
    "fit with stated noise": (fit.fit, "--law chinchilla-tied --noise loss_se --bootstrap 20"),
    "allocate": (fit.allocate, "--law chinchilla --method wild --flops 1e20 --bootstrap 40"),
    "forecast": (fit.forecast, "--bootstrap 20"),
    "forecast by rollout": (fit.forecast, "--law chinchilla-tied --rollout flops --bootstrap 20"),
    "isoflop": (fit.isoflop, "--law chinchilla --bootstrap 20"),
    "audit": (audit.audit, "--laws chinchilla-tied --bootstrap 10"),
    "downstream": (downstream.downstream, "--score accuracy --ways sigmoid --bootstrap 5"),
    "thresholds": (thresholds.thresholds, f"--axis flops --forecast {GUESSED}"),
}


def table() -> pandas.DataFrame:
    """Five sizes at four budgets, two seeds of a cell, losses to three digits so that some may be equal."""
    rng = np.random.default_rng(7)
    rows = []
    for n in np.geomspace(1e7, 1e9, 5):
        for c in np.geomspace(1e18, 1e20, 4):
            for seed in (0, 1):
                d = c / 6 / n
                loss = round(1.7 + 400 * n**-0.34 + 400 * d**-0.28 + 0.01 * rng.standard_normal(), 3)
                task = ("copy", "coin")[seed]
                share = 0.25 + 0.7 / (1 + np.exp(6 * (loss - 3.0))) if task == "copy" else 0.5
                correct = rng.binomial(400, share)
                rows.append(
                    [n, d, loss, 0.004 + 0.004 * seed, f"w{len(rows) // 4}", task, correct / 400, 400]
                )
    names = ["params", "tokens", "loss", "loss_se", "cluster", "task", "accuracy", "items"]
    return pandas.DataFrame(rows, columns=names)


def placed(value, place):
    """The JSON with the rows' numbers turned into those of the other file."""
    if isinstance(value, dict):
        out = {key: placed(item, place) for key, item in value.items()}
        if out.get("row") is not None:
            out["row"] = place[out["row"]]
        if "rows" in out:
            out["rows"] = [place[row] for row in out["rows"]]
        if "excluded" in out:
            # Listed as the file has them.
            out["excluded"] = sorted(out["excluded"], key=lambda one: one["row"])
        for listed in {"series", "collapse", "frontier", "forecast"} & out.keys():
            if isinstance(out[listed], list):
                out[listed] = sorted(out[listed], key=lambda one: one["task"])
        return out
    if isinstance(value, list):
        return [placed(item, place) for item in value]
    if isinstance(value, str):
        return re.sub(r"\brow (\d+)", lambda found: f"row {place[int(found[1])]}", value)
    return value


@pytest.mark.parametrize("verb", VERBS)
def test_a_shuffled_file_says_the_same(verb, tmp_path, capsys):
    run, options = VERBS[verb]
    whole = table()
    if verb in ("fit with stated noise", "isoflop"):
        whole = whole.drop(columns="cluster")
    shuffled = whole.sample(frac=1, random_state=3)
    told = []
    for frame in (whole, shuffled):
        path = tmp_path / "runs.csv"
        frame.to_csv(path, index=False)
        assert run([str(path), *options.split(), "--json"]) == 0
        told.append(json.loads(capsys.readouterr().out))
    assert placed(told[0], whole.index.tolist()) == placed(told[1], shuffled.index.tolist())


def test_a_store_s_table_is_its_store_in_any_order(tmp_path, capsys):
    """The quick start's own runs, among them those that are held out and those of another grid."""
    whole = pandas.read_csv(Path(__file__).parents[2] / "docs" / "quickstart" / "runs.csv")
    told = []
    for frame in (whole, whole.sample(frac=1, random_state=1)):
        frame.to_csv(tmp_path / "runs.csv", index=False)
        assert (
            fit.fit([str(tmp_path / "runs.csv"), "--law", "chinchilla", "--bootstrap", "30", "--json"]) == 0
        )
        told.append(placed(json.loads(capsys.readouterr().out), frame.index.tolist()))
    assert told[0] == told[1]


def test_runs_that_only_the_file_tells_apart_may_stand_in_any_order():
    """Checkpoints of two seeds of three sizes, run after run: which run comes first says nothing."""
    rng = np.random.default_rng(0)
    tokens = 1e9 * np.arange(1, 13)
    parts = []
    for size in (1e7, 1e8, 1e9):
        for _ in range(2):
            loss = 1.7 + 400 * size**-0.34 + 400 * tokens**-0.28
            loss *= np.exp(0.01 * rng.standard_normal() + 0.001 * rng.standard_normal(12))
            parts.append(pandas.DataFrame({"params": size, "tokens": tokens, "loss": loss}))
    one, other = (
        sample(as_runs(pandas.concat([parts[i] for i in order]))) for order in (range(6), (3, 0, 5, 2, 4, 1))
    )
    assert one.clustered_by == "checkpoints of one run"
    assert one.clusters.max() == 5
    assert np.array_equal(one.clusters, other.clusters)
    assert np.array_equal(one.loss, other.loss)


def test_the_last_bits_of_losses_decide_nothing():
    """Who is on the envelope of equal losses, at compute equal but for rounding; who leads exactly."""
    rng = np.random.default_rng(0)
    params = np.repeat(np.geomspace(1e7, 1e9, 5), 5)
    tokens = np.tile(np.geomspace(1e18, 1e20, 5), 5) / 6 / params
    exact = 1.7 + 400 * params**-0.34 + 400 * tokens**-0.28
    told = []
    for shaken in (0.0, 1e-13, -1e-13):
        loss = np.round(exact, 1) * (1 + shaken * rng.standard_normal(25))
        told.append(envelope({"params": params, "tokens": tokens, "loss": loss}).rows.tolist())
    assert told[1:] == told[:1] * 2
    table = {"params": params, "tokens": tokens, "loss": exact}
    assert leading_fit(table, bootstrap=0).law.name == "chinchilla"
