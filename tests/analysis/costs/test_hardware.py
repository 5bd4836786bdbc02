"""Budgets in energy, hours and money, and a model that must be served, in each of them."""

import json

import numpy as np
import pytest

import analysis as sl
from analysis.allocations import serving
from analysis.costs.hardware import Hardware, hardware, measured
from analysis.errors import InputError
from analysis.laws.named import LAWS
from lab.__main__ import main

LAW = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.336, "beta": 0.283}
CHIP = ["--peak-flops", "1e15", "--utilisation", "0.5", "--watts", "700", "--pue", "1.2", "--price", "2"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Runs of Chinchilla's law without noise, whose devices did 2e14 FLOP/s."""
    flops = np.repeat(np.geomspace(1e19, 1e22, 5), 5)
    params = np.sqrt(flops / 120) * np.tile(np.geomspace(0.3, 3, 5), 5)
    out = {"params": params, "tokens": flops / 6 / params, "device_seconds": flops / 2e14}
    out["loss"] = LAWS["chinchilla"].loss(LAW, out)
    path = tmp_path_factory.mktemp("table") / "runs.json"
    path.write_text(json.dumps({name: values.tolist() for name, values in out.items()}))
    return path


def allocate(capsys, table, *options, code=0):
    assert main(["allocate", str(table), "--law", "chinchilla", "--bootstrap", "0", *options]) == code
    found = capsys.readouterr()
    return found.err if code else found.out


def test_the_published_examples_of_serving():
    """arXiv 2401.00448: 7B and 17 % saved, 13.6B and 28 %, beside 2404.10102's refit of the same runs."""
    rows = {(row["naive_params"], row["coefficients"]): row for row in serving.published()}
    first, second = rows[13e9, "unrounded exponents"], rows[30e9, "unrounded exponents"]
    assert first["params"] == pytest.approx(6.97e9, rel=1e-3)
    assert first["tokens"] == pytest.approx(1.248e12, rel=1e-3)
    assert first["saved"] == pytest.approx(0.174, abs=5e-4)
    assert first["naive_flops"] - first["flops"] == pytest.approx(1.69e22, rel=5e-3)
    assert second["params"] == pytest.approx(13.6e9, rel=2e-3)
    assert second["tokens"] / second["naive_tokens"] == pytest.approx(2.84, abs=0.005)
    assert second["saved"] == pytest.approx(0.28, abs=5e-4)
    others = {name: [rows[size, name]["saved"] for size in (13e9, 30e9)] for name in serving.COEFFICIENTS}
    assert others["rounded exponents"] == pytest.approx([0.101, 0.182], abs=1e-3)
    assert others["arXiv 2404.10102"] == pytest.approx([0.290, 0.427], abs=1e-3)


def test_the_examples_are_printed(capsys):
    assert main(["energy", "serving"]) == 0
    out = capsys.readouterr().out
    assert all(text in out for text in ("6.969e+09", "1.248e+12", "17.4 %", "1.361e+10", "28.0 %"))


def test_the_figure_of_demand_is_that_of_the_search(table):
    """Its own point: as much to serve as was trained on."""
    from analysis.plots import demand

    fitted = sl.fit(table, "chinchilla", bootstrap=0)
    plot = demand(fitted, 13e9)
    own = plot.data[np.isclose(plot.data["quality_of_params"], 13e9)]
    row = own[np.isclose(own["inference_tokens"], own["tokens"] / own["tokens_factor"])].iloc[0]
    law = serving.serving(fitted.law, fitted.params, 13e9, row["inference_tokens"])
    assert (row["params"], row["saved_percent"]) == pytest.approx((law.params, 100 * law.saved))
    assert (np.diff(own["size_factor"]) < 0).all()
    assert (np.diff(own["saved_percent"]) > 0).all()


def test_a_budget_is_the_same_in_every_currency():
    on = Hardware(5e14, "", watts=700.0, pue=1.2, price=2.0)
    cost = on.cost(1e21)
    assert cost["hours"] == pytest.approx(1e21 / 5e14 / 3600)
    assert cost["kwh"] == pytest.approx(cost["hours"] * 0.84)
    assert cost["money"] == pytest.approx(cost["hours"] * 2)
    assert cost["co2eq_kg"] is None
    for name in ("hours", "kwh", "money"):
        assert on.flops(**{name: cost[name]}) == pytest.approx(1e21)


def test_devices_are_as_fast_as_the_runs_were(table):
    assert measured(sl.read(table)) == pytest.approx(2e14)
    assert hardware(sl.read(table)).source.startswith("as measured")


def test_the_verb_takes_hours_energy_and_money(table, capsys):
    plain = json.loads(allocate(capsys, table, "--flops", "1e21", "--json"))
    hours = 1e21 / 5e14 / 3600
    for option, value in (("--hours", hours), ("--kwh", hours * 0.84), ("--money", hours * 2)):
        found = json.loads(allocate(capsys, table, option, repr(value), *CHIP, "--json"))
        assert found["params"] == pytest.approx(plain["params"])
        assert found["costs"]["training"]["money"] == pytest.approx(hours * 2)
    found = json.loads(allocate(capsys, table, "--hours", "100", "--json"))
    assert found["flops"] == pytest.approx(100 * 3600 * 2e14)
    text = allocate(capsys, table, "--kwh", "1000", *CHIP, "--carbon", "FR")
    assert "kWh at the meter" in text
    assert "France" in text


def test_serving_on_idle_devices_asks_for_a_smaller_model(table, capsys):
    """Utilisations apart: at a tenth of training's, each token served costs as much as ten."""
    options = ["--loss", "2.1", "--inference-tokens", "1e11", "--far", "--json", *CHIP]
    same = json.loads(allocate(capsys, table, *options))
    slow = json.loads(allocate(capsys, table, *options, "--serving-utilisation", "0.05"))
    plain = json.loads(
        allocate(capsys, table, "--loss", "2.1", "--inference-tokens", "1e12", "--far", "--json")
    )
    assert slow["params"] == pytest.approx(plain["params"], rel=1e-6)
    assert slow["params"] < same["params"]
    served = 2 * slow["params"] * 1e11 / (1e15 * 0.05) / 3600
    assert slow["costs"]["serving"]["hours"] == pytest.approx(served, rel=1e-6)
    trained = 6 * slow["params"] * slow["tokens"] / 5e14 / 3600
    assert slow["costs"]["together"]["hours"] == pytest.approx(served + trained, rel=1e-6)
    assert slow["inference_tokens"] == {"served": 1e11, "counted_as": pytest.approx(1e12)}
    tight = json.loads(allocate(capsys, table, *options, "--memory", repr(1.6 * same["params"])))
    assert tight["params"] == pytest.approx(0.8 * same["params"])
    assert tight["costs"]["together"]["money"] > same["costs"]["together"]["money"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--kwh", "1"], "--watts"),
        (["--money", "1"], "--price"),
        (["--hours", "-1"], "--hours: -1.0 is not a positive number"),
        (["--hours", "1", "--flops", "1e20"], "one budget"),
        (["--hours", "1", "--kwh", "2", "--watts", "3"], "one budget"),
        (["--hours", "1", "--peak-flops", "1e15"], "--utilisation"),
        (["--hours", "1", "--peak-flops", "1e15", "--utilisation", "1.5"], "--utilisation: 1.5"),
        (["--hours", "1", "--serving-utilisation", "0.1"], "--peak-flops"),
        (["--hours", "1", "--pue", "0.5"], "--pue"),
        (["--hours", "1", "--carbon", "Fr ance"], "--carbon"),
        (["--hours", "1", "--price", "0"], "--price"),
    ],
)
def test_bad_prices_are_one_line(table, options, said, capsys):
    err = allocate(capsys, table, *options, code=2)
    assert said in err
    assert err.count("\n") == 1


def test_without_a_speed_there_are_no_hours():
    with pytest.raises(InputError, match="no device_seconds"):
        hardware(sl.read({"params": [1e6, 2e6], "tokens": [1e8, 1e8], "loss": [3, 2]}))
