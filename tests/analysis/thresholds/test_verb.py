"""The command line: JSON in its contract, a foreign table mapped, errors in lines."""

import json

import numpy as np
import pandas
import pytest

from analysis.errors import InputError
from analysis.thresholds.result import SHAPES, VERDICTS
from analysis.verbs.thresholds import thresholds
from benchmarks import planted
from benchmarks.planted import Plan


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    rng = np.random.default_rng(0)
    rows = (
        planted.hinge(Plan(), rng) + planted.flat(Plan(chance=0.25), rng) + planted.metric_only(Plan(), rng)
    )
    file = tmp_path_factory.mktemp("t") / "abilities.csv"
    pandas.DataFrame(rows).to_csv(file, index=False)
    return file


def test_json_is_one_object_in_the_contracts_shape(path, capsys):
    assert thresholds([str(path), "--draws", "99", "--no-calibrate", "--json"]) == 0
    out = json.loads(capsys.readouterr().out)
    keys = {
        "task",
        "metric",
        "axis",
        "verdict",
        "leading",
        "seed_sd",
        "p_value",
        "q_value",
        "thresholds",
        "models",
    }
    keys |= {"calibration", "gates", "warnings"}
    for one in out["series"]:
        assert set(one) == keys
        assert one["verdict"] in VERDICTS
        assert one["leading"] in SHAPES
        assert set(one["thresholds"]) == {"elbow", "half", "detectable"}
        assert set(one["seed_sd"]) == {"value", "source"}
        assert set(one["gates"]) == {"valid", "above_chance", "continuous_break", "metric_explains"}
        assert sum(model["weight"] for model in one["models"]) == pytest.approx(1.0)
        assert one["calibration"] is None
    assert [one["verdict"] for one in out["series"]] == ["emergent", "flat", "metric_artifact", "smooth"]


def test_calibration_card_belongs_to_the_tables_own_design(path, tmp_path, capsys):
    """The planted design sees a strong break; two seeds of 20 items at four sizes do not."""
    small = pandas.DataFrame(
        planted.smooth(
            Plan(params=(1e4, 1e5, 1e6, 1e7), seeds=2, items=20, seed_sd=0.8), np.random.default_rng(0)
        )
    )
    pandas.read_csv(path).query("task == 'hinge'").to_csv(tmp_path / "good.csv", index=False)
    small.to_csv(tmp_path / "small.csv", index=False)
    cards = []
    for name in ("good", "small"):
        thresholds([str(tmp_path / f"{name}.csv"), "--draws", "99", "--json"])
        cards.append(json.loads(capsys.readouterr().out)["series"][0]["calibration"])
    assert cards[0]["power"] >= 0.9
    assert cards[1]["power"] < 0.6
    assert max(card["false_positive_rate"] for card in cards) <= 0.1
    assert 1 <= cards[0]["elbow_factor"] <= 1.5 < cards[1]["elbow_factor"]


def test_text_names_the_verdict_the_thresholds_the_card_and_the_forecast(path, tmp_path, capsys):
    pandas.read_csv(path).query("task == 'hinge'").to_csv(tmp_path / "hinge.csv", index=False)
    thresholds([str(tmp_path / "hinge.csv"), "--draws", "99"])
    pandas.read_csv(path).query("task == 'metric_only'").to_csv(tmp_path / "nats.csv", index=False)
    thresholds([str(tmp_path / "nats.csv"), "--draws", "99", "--no-calibrate", "--forecast"])
    out = capsys.readouterr().out
    assert "hinge / exact_match: EMERGENT" in out
    assert "elbow" in out
    assert "this design: false positives" in out
    assert "its elbow within a factor" in out
    assert "metric_only / exact_match: FORESEEN" in out
    assert "inside" in out


def test_a_grid_of_budgets_says_whether_one_loss_serves_and_where_the_frontier_is(tmp_path, capsys):
    frame = pandas.DataFrame(planted.of_loss(planted.Grid(), np.random.default_rng(0)))
    frame.to_csv(tmp_path / "grid.csv", index=False)
    options = [str(tmp_path / "grid.csv"), "--draws", "99", "--no-calibrate"]
    thresholds([*options, "--json"])
    out = json.loads(capsys.readouterr().out)
    assert out["collapse"][0]["verdict"] == "collapses"
    low, high = out["collapse"][0]["elbow"]["interval"]
    assert low < 1.75 < high
    assert out["frontier"][0]["kind"] == "elbow"
    assert out["frontier"][0]["exponent"]["value"] < 0
    assert out["forecast"] is None
    one_budget = frame[frame["tokens"] == frame["tokens"].max()]
    one_budget.to_csv(tmp_path / "grid.csv", index=False)
    thresholds(options)
    assert "cannot tell: one token budget at each size" in capsys.readouterr().out


def test_foreign_names_are_mapped(path, tmp_path, capsys):
    names = {"task": "benchmark", "params": "N", "correct": "hits", "items": "n", "chance": "guess"}
    frame = pandas.read_csv(path).query("task == 'hinge'").rename(columns=names).drop(columns="score")
    frame.to_csv(tmp_path / "foreign.csv", index=False)
    columns = ",".join(f"{role}={name}" for role, name in names.items())
    assert (
        thresholds(
            [str(tmp_path / "foreign.csv"), "--columns", columns, "--draws", "99", "--no-calibrate", "--json"]
        )
        == 0
    )
    assert json.loads(capsys.readouterr().out)["series"][0]["verdict"] == "emergent"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--columns", "scor=x"], "nearest: 'score'"),
        (["--columns", "score=scores"], "nearest: 'score'"),
        (["--chance", "hinge"], "is not task=level"),
        (["--chance", "hing=0.2"], "nearest: 'hinge'"),
        (["--axis", "tokens"], "no column 'tokens'"),
    ],
)
def test_bad_options_name_what_would_be_right(path, options, said):
    with pytest.raises(InputError) as caught:
        thresholds([str(path), *options])
    assert said in str(caught.value)
