"""The published energy of training and of inference, numbers of one's own, and what is refused."""

import json
import re

import pytest

from analysis.costs import carbon, energy, published
from analysis.errors import InputError
from lab.__main__ import main


@pytest.mark.parametrize("row", published.LLAMA, ids=lambda row: row.name)
def test_the_published_energy_and_carbon_of_training(row):
    """arXiv 2302.13971, table 15, whose MWh were rounded from other hours: within 1.5; tonnes exactly."""
    found = energy.footprint(row.gpu_hours, 400, 1.1, carbon.carbon(385))
    assert found.kwh / 1e3 == pytest.approx(row.mwh, abs=1.5)
    tonnes = found.grams / 1e6
    assert round(tonnes) == row.tonnes


@pytest.mark.parametrize("row", published.BLOOMZ, ids=lambda row: row.name)
def test_the_published_parity_of_training_and_inference(row):
    """arXiv 2311.16863, table 5; the 3B row was computed from an unrounded energy."""
    found = {again["name"]: again["computed"] for again in published.parity_table().rows}[row.name]
    assert found == pytest.approx(row.inferences, rel=1.1e-4 if row.name == "BLOOMz-3B" else 0)


@pytest.mark.parametrize(
    ("verb", "shown"),
    [
        ("llama", ("809,472", "356.2", "1,082,880", "36.3", "173.2", "173")),
        ("parity", ("592,570,000", "395,561,643", "395,602,740", "292,467,741", "204,592,592")),
        ("countries", ("FR", "France", "56", "2023", "Ember")),
    ],
)
def test_a_command_prints_the_table(verb, shown, capsys):
    assert main(["energy", verb]) == 0
    out = capsys.readouterr().out
    assert all(text in out for text in shown), out
    assert main(["energy", verb, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"]


def test_numbers_of_ones_own(capsys):
    own = ["--hours", "100", "--watts", "300", "--pue", "1.5", "--carbon", "FR", "--inference-kwh", "1e-3"]
    assert main(["energy", *own, "--price", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["footprint"]["device_kwh"] == pytest.approx(30)
    assert found["footprint"]["kwh"] == pytest.approx(45)
    assert found["footprint"]["co2eq_kg"] == pytest.approx(45 * 0.056)
    assert "France 2023" in found["footprint"]["carbon"]["source"]
    assert found["footprint"]["equivalents"]["km by car"] == pytest.approx(45 * 56 / (400 / 1.609344))
    assert found["footprint"]["equivalents"]["houses heated for a year"] == pytest.approx(45 / 12_000)
    assert found["parity"] == pytest.approx(45_000)
    assert found["money"] == 200


def test_three_watts_are_bounds_and_no_carbon_is_guessed(capsys):
    assert main(["energy", "--hours", "10", "--watts", "3", "9", "25"]) == 0
    out = capsys.readouterr().out
    assert "carbon: not stated" in out
    assert "kg CO2eq" not in out
    assert re.search(r"kWh at the meter.* 0\.03 +0\.09 +0\.25", out)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--hours", "-1", "--watts", "400"], "--hours: -1.0 is not a number of at least 0"),
        (["--hours", "nan", "--watts", "400"], "--hours"),
        (["--hours", "1"], "--watts"),
        (["--hours", "1", "--watts", "400", "200", "300"], "--watts"),
        (["--hours", "1", "--watts", "-4"], "--watts: -4.0 is not"),
        (["--hours", "1", "--watts", "4", "--pue", "0.9"], "--pue: 0.9"),
        (["--hours", "1", "--watts", "4", "--carbon", "Frence"], "did you mean FR"),
        (["--hours", "1", "--watts", "4", "--carbon", "XX"], "no country 'XX'"),
        (["--hours", "1", "--watts", "4", "--carbon", "0.385"], "385"),
        (["--hours", "1", "--watts", "4", "--carbon", "-1"], "--carbon: -1"),
        (["--kwh", "1", "--inference-kwh", "0"], "--inference-kwh"),
        (["--kwh", "1", "--hours", "2"], "--hours and --watts, or --kwh"),
        (["--kwh", "1", "--price", "2"], "--price"),
        ([], "llama"),
        (["lama"], "lama: no such store or file; tables are llama"),
        (["llama", "--hours", "3"], "--hours: `lab energy llama` takes none"),
        (["llama", "--pue", "0"], "--pue"),
    ],
)
def test_bad_input_is_one_clear_line(arguments, said, capsys):
    assert main(["energy", *arguments]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_every_country_is_found_by_code_and_by_name():
    for code, (name, grams, _) in carbon.COUNTRIES.items():
        assert carbon.carbon(code).grams == carbon.carbon(name).grams == grams
    with pytest.raises(InputError, match="inf"):
        carbon.carbon("inf")
