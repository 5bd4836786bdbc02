"""A user's law, in a dozen lines, gets everything: fit, intervals, allocation, audit, plot, command line."""

import json

import numpy as np
import pytest

import analysis as sl
from analysis.laws.terms import formula_of
from analysis.verbs import fit as verbs

FILE = """
import analysis as sl
from analysis.laws import jets

MINE = sl.FormulaLaw(
    "mine",
    lambda p, x: (
        p["E"] + p["A"] * jets.exp(-p["k"] * jets.log(x["params"])) + p["B"] * x["tokens"] ** -p["k"]
    ),
    ("params", "tokens"),
    (
        sl.coefficient("E", {"loss": 1}),
        sl.coefficient("A", {"loss": 1, "params": "k"}),
        sl.coefficient("B", {"loss": 1, "tokens": "k"}),
        sl.Parameter("k"),
    ),
    "loss = E + A/params^k + B/tokens^k",
    "a note of mine",
)
"""
TRUTH = {"E": 1.8, "A": 480.0, "B": 1500.0, "k": 0.35}


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """(the law, its file, a table that follows it)."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "mine.py").write_text(FILE)
    law = sl.find_law(f"{folder / 'mine.py'}:MINE")
    flops = np.repeat(np.geomspace(1e18, 1e21, 6), 8)
    params = np.sqrt(flops / 120) * np.tile(np.geomspace(0.2, 5, 8), 6)
    table = {"params": params, "tokens": flops / 6 / params}
    noise = 0.002 * np.random.default_rng(0).standard_normal(48)
    table["loss"] = law.loss(TRUTH, table) * np.exp(noise)
    lines = [f"{n!r},{d!r},{v!r}" for n, d, v in zip(*(c.tolist() for c in table.values()), strict=True)]
    (folder / "runs.csv").write_text("\n".join(["params,tokens,loss", *lines]))
    return law, folder, table


def test_it_is_fitted_with_intervals_and_a_certificate(mine):
    law, _, table = mine
    fit = sl.fit(table, law=law, bootstrap=200, level=0.99)
    assert fit.certificate.converged
    assert abs(fit.certificate.invariance["units"]) < 1e-9
    for name, value in TRUTH.items():
        low, high = fit.intervals[name]
        assert low < value < high
    low, high = fit.profile_interval("k")
    assert low < 0.35 < high
    low, high = fit.predict_interval(params=1e10, tokens=1e11)
    assert low < law.loss(TRUTH, {"params": 1e10, "tokens": 1e11}) < high
    tied = sl.fit(table, law="chinchilla-tied", bootstrap=0)
    assert fit.objective.value == pytest.approx(tied.objective.value, rel=1e-9), "the same law by other means"


def test_it_is_allocated_audited_and_drawn(mine):
    law, _, table = mine
    fit = sl.fit(table, law=law, bootstrap=100)
    assert sl.allocate(fit, 1e23).params > 0
    assert fit.exponents.params_exponent == pytest.approx(0.5, abs=1e-3)
    forecast = sl.forecast(table, law=law, bootstrap=100)
    assert forecast.fit.law.name == "mine"
    assert forecast.score.mean_abs_error_percent < 1
    assert sl.rollout(table, "flops", law=law).steps
    assert len(fit.plot().data) > 48


def test_it_is_named_on_the_command_line(mine, capsys):
    _, folder, _ = mine
    asked = [str(folder / "runs.csv"), "--law", f"{folder / 'mine.py'}:MINE", "--json", "--bootstrap", "50"]
    assert verbs.fit([*asked, "--calibrate", "10"]) == 0
    said = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert said["law"] == "mine"
    assert said["calibration"]["simulations"] == 10
    assert verbs.allocate([*asked, "--flops", "1e22"]) == 0


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mine.py:YOURS", "no law 'YOURS'.*MINE"),
        ("none.py:X", "no such file"),
        ("bad.py:X", "ValueError: no"),
    ],
)
def test_a_bad_file_is_one_line(mine, name, said):
    folder = mine[1]
    (folder / "bad.py").write_text("raise ValueError('no')")
    with pytest.raises(sl.InputError, match=said):
        sl.find_law(f"{folder / name}")


def test_what_no_row_depends_on_is_said():
    """Without a run larger than its unique tokens can use, the worth of excess params is not seen."""
    rng = np.random.default_rng(0)
    law = sl.LAWS["data-constrained"]
    table = {"params": 10 ** rng.uniform(6, 7, 60), "tokens": 10 ** rng.uniform(9.5, 10.5, 60)}
    table["unique_tokens"] = table["tokens"] / rng.choice([1, 4, 16], 60)
    truth = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.366, "R_D": 8.0, "R_N": 5.0}
    table["loss"] = law.loss(truth, table) * np.exp(0.001 * rng.standard_normal(60))
    fit = sl.fit(table, law=law, bootstrap=0)
    assert fit.params["R_D"] == pytest.approx(8.0, rel=0.3)
    assert any(note.code == "no_effect" and "R_N" in note.text for note in fit.warnings)


def test_terms_nest():
    """A base law with its new term switched off is the base law."""
    rng = np.random.default_rng(0)
    x = {"params": 10 ** rng.uniform(7, 9, 9), "tokens": 10 ** rng.uniform(8, 10, 9)}
    base = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.366}
    plain = sl.LAWS["chinchilla"].loss(base, x)
    off = {
        "chinchilla-rate": ({"k": 0.0, "c": 1.0, "a": 0.0, "b": 0.0}, {"learning_rate": np.full(9, 1e-3)}),
        "chinchilla-precision": ({"gamma": 0.01}, {"bits": np.full(9, 16.0)}),
        "chinchilla-quantised": (
            {"C_after": 0.0, "d": 0.5, "n": 0.3, "gamma_after": 1.0},
            {"bits_after": 4.0},
        ),
        "data-constrained": ({"R_D": 15.0, "R_N": 1e4}, {"unique_tokens": x["tokens"]}),
        "product": ({"K": 0.0}, {}),
        "coupled": ({"gamma": 1.0}, {}),
    }
    for name, (more, inputs) in off.items():
        np.testing.assert_allclose(sl.LAWS[name].loss({**base, **more}, {**x, **inputs}), plain, rtol=2e-3)
    again = formula_of(sl.LAWS["chinchilla"])(base, x)
    np.testing.assert_allclose(again, plain, rtol=1e-12)


WITH = {
    "chinchilla-rate": {"k": 0.01, "c": 5.0, "a": -0.7, "b": 0.3},
    "chinchilla-precision": {"gamma": 2.5},
    "chinchilla-quantised": {"C_after": 0.1, "d": 0.5, "n": 0.35, "gamma_after": 0.6},
    "data-constrained": {"R_D": 15.4, "R_N": 5.3},
    "broken1-params": {"a": 1.5, "b": 20.0, "c0": 0.1, "c1": 0.3, "d1": 2e8, "f1": 0.3},
    "learning-rate": {"c": 1.79, "a": -0.713, "b": 0.307},
    "sigmoid": {"floor": 0.25, "ceiling": 0.9, "steepness": 3.0, "middle": 2.0},
    "logit": {"floor": 0.25, "ceiling": 0.95, "steepness": 6.0, "middle": 1.8},
    "exponential": {"floor": 0.2, "ceiling": 0.98, "rate": 0.9},
}


@pytest.mark.parametrize("name", WITH)
def test_planted_terms_are_found_again(name):
    """From no start but the law's own: the objective is no higher than the truth's, the numbers are near."""
    law = sl.LAWS[name]
    rng = np.random.default_rng(3)
    count = 150
    table = {"params": 10 ** rng.uniform(7, 9.5, count), "tokens": 10 ** rng.uniform(8.3, 10.8, count)}
    table["learning_rate"] = 10 ** rng.uniform(-4, -2, count)
    table["bits"], table["bits_after"] = rng.choice([3.0, 4, 6, 8, 16], (2, count))
    table["unique_tokens"] = table["tokens"] / rng.choice([1.0, 2, 4, 16, 40], count)
    table["task_loss"] = rng.uniform(0.5, 4, count)
    base = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.366}
    truth = {key: value for key, value in {**base, **WITH[name]}.items() if key in law.names}
    table["loss"] = law.loss(truth, table) * np.exp(1e-4 * rng.standard_normal(count))
    fit = sl.fit(table, law=law, objective="squared", bootstrap=0)
    residual = np.log(table["loss"]) - np.log(law.loss(truth, table))
    assert fit.objective.value <= (residual**2).sum()
    assert fit.certificate.converged
    for key, value in WITH[name].items():
        assert fit.params[key] == pytest.approx(value, rel=0.1)
