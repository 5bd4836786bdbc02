"""Derivatives against finite differences; a law that a user adds."""

import numpy as np
import pytest
from scipy.stats import qmc

import analysis as sl
from analysis.laws import jets
from analysis.laws.named import LAWS, FormulaLaw, Parameter, coefficient
from analysis.laws.projection import halton
from analysis.solve.objectives import Rho

MIXED = FormulaLaw(
    "saturating",
    lambda p, x: (
        p["E"] + p["A"] * jets.exp(-p["k"] * jets.log(x["params"] + 1.0)) / (x["tokens"] ** p["beta"] + 1.0)
    ),
    ("params", "tokens"),
    (coefficient("E", {"loss": 1}), coefficient("A", {"loss": 1}), Parameter("k"), Parameter("beta")),
    "loss = E + A (params + 1)^-k / (tokens^beta + 1)",
    "none",
)


# Terms on any law, and on each other: parameters of the same name keep apart.
NESTED = [
    sl.mistuned(sl.low_precision(LAWS["coupled"])),
    sl.mistuned(sl.mistuned(LAWS["chinchilla"]), "batch_tokens"),
    sl.low_precision(sl.mistuned(LAWS["data-constrained"])),
    sl.mistuned(LAWS["kaplan"], "batch_tokens"),
]
PLAIN = [law for law in LAWS.values() if not law.absolute]


def test_terms_are_named_by_plus_signs():
    law = sl.find_law("coupled+precision+rate")
    assert (law.name, law.names, law.formula) == (NESTED[0].name, NESTED[0].names, NESTED[0].formula)
    assert sl.find_law("chinchilla+rate").formula == LAWS["chinchilla-rate"].formula
    for wrong, said in (
        ("chinchila+rate", "chinchilla"),
        ("chinchilla+rates", "nearest: 'rate'"),
        ("chinchilla+rate+rate", "once"),
        ("power-params+batch", "on a law of params and tokens"),
    ):
        with pytest.raises(sl.InputError, match=said):
            sl.find_law(wrong)


@pytest.mark.parametrize("law", NESTED, ids=lambda law: law.name)
def test_nested_terms_keep_their_names_and_their_base(law):
    assert len(set(law.names)) == len(law.names)
    assert law.names[: len(law.under.names)] == law.under.names


@pytest.mark.parametrize("law", [*LAWS.values(), *NESTED, MIXED], ids=lambda law: law.name)
def test_gradient_and_hessian_are_exact(law):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(len(law.inputs), 7))
    counted = [law.inputs.index(name) for name in law.unscaled]
    x[counted] = np.abs(x[counted])  # counts are 1 or more
    theta = np.array([rng.uniform(0.2, 0.9) for _ in law.parameters])
    step = 1e-5
    outer, inner = np.zeros((1, 7)), rng.normal(size=(1, 7))
    here = law.evaluate(theta[None], x)
    for index in range(len(theta)):
        moved = np.repeat(theta[None], 2, axis=0)
        moved[:, index] += [step, -step]
        around = law.evaluate(moved, x)
        slope = (around.value[0] - around.value[1]) / (2 * step)
        np.testing.assert_allclose(here.jacobian[0, index], slope, rtol=1e-6, atol=1e-8)
        bend = (around.jacobian[0] - around.jacobian[1]) / (2 * step)
        np.testing.assert_allclose(
            here.hessian(outer, inner)[0, index], bend @ inner[0], rtol=1e-5, atol=1e-7
        )


@pytest.mark.parametrize("law", [*PLAIN, *NESTED], ids=lambda law: law.name)
def test_public_and_inner_parameters_agree(law):
    """The law in the table's units is the law in the fit's units, whatever the centre."""
    rng = np.random.default_rng(1)
    centre = {name: rng.uniform(10, 20) for name in law.inputs} | {"loss": 1.1}
    centre |= {name: centre[other] for name, other in law.alike.items()}
    centre |= dict.fromkeys(law.unscaled, 0.0)
    theta = np.array([rng.uniform(0.2, 0.9) for _ in law.parameters])
    x = rng.normal(size=(len(law.inputs), 5))
    counted = [law.inputs.index(name) for name in law.unscaled]
    x[counted] = np.abs(x[counted])  # counts are 1 or more
    public = {name: values[0] for name, values in law.to_public(theta[None], centre).items()}
    inputs = {name: np.exp(row + centre[name]) for name, row in zip(law.inputs, x, strict=True)}
    np.testing.assert_allclose(
        np.log(law.loss(public, inputs)) - 1.1, law.evaluate(theta[None], x).value[0], rtol=1e-9
    )
    np.testing.assert_allclose(law.to_inner(public, centre), theta, rtol=1e-9)


@pytest.mark.parametrize(
    "rho", [Rho("huber", 0.1, False), Rho("squared", 1, False, 3.0), Rho("huber", 0.1, True, 2.0)]
)
def test_objective_derivatives(rho):
    target = np.linspace(-0.5, 0.6, 9)[None]
    log_loss = np.linspace(0.3, -0.31, 9)[None]
    step = 1e-6
    _, slope, bend = rho.in_log_loss(target, log_loss)
    up, down = rho.in_log_loss(target, log_loss + step), rho.in_log_loss(target, log_loss - step)
    np.testing.assert_allclose(slope, (up[0] - down[0]) / (2 * step), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(bend, (up[1] - down[1]) / (2 * step), rtol=1e-5, atol=1e-6)


def test_a_users_law_gets_everything():
    """A dozen lines: Chinchilla with a term in the learning rate's distance from its optimum."""
    mine = FormulaLaw(
        "chinchilla-with-rate",
        lambda p, x: (
            (p["E"] + p["A"] / x["params"] ** p["alpha"] + p["B"] / x["tokens"] ** p["beta"])
            * (1 + p["k"] * (jets.log(x["rate"]) - p["best"]) ** 2)
        ),
        ("params", "tokens", "rate"),
        (
            coefficient("E", {"loss": 1}),
            coefficient("A", {"loss": 1, "params": "alpha"}),
            coefficient("B", {"loss": 1, "tokens": "beta"}),
            Parameter("alpha"),
            Parameter("beta"),
            Parameter("k", high=2.0, start=(0.0, 0.3)),
            Parameter("best", low=-5.0, high=5.0, start=(-2.0, 2.0)),
        ),
        "loss = (E + A/params^alpha + B/tokens^beta) (1 + k log(rate/best)^2)",
        "none",
    )
    rng = np.random.default_rng(0)
    table = {"params": 10 ** rng.uniform(7, 9.5, 80), "tokens": 10 ** rng.uniform(8.3, 10.8, 80)}
    table["rate"] = np.exp(rng.uniform(-1.5, 1.5, 80))
    truth = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37, "k": 0.05, "best": 0.4}
    table["loss"] = mine.loss(truth, table) * np.exp(0.001 * rng.standard_normal(80))
    law = sl.fit(table, law=mine, bootstrap=100)
    assert law.certificate.converged
    assert law.params["k"] == pytest.approx(0.05, abs=0.003)
    assert law.intervals["alpha"][0] < 0.35 < law.intervals["alpha"][1]
    low, high = law.predict_interval(params=1e10, tokens=1e11, rate=1.5)
    assert low < law.predict(params=1e10, tokens=1e11, rate=1.5) < high


def test_exponents_of_either_sign_have_intervals():
    """Draws of an exponent near 0 fall on both sides of it, and have no logarithm."""
    rng = np.random.default_rng(0)
    table = {"params": 10 ** rng.uniform(7, 9.5, 14), "tokens": 10 ** rng.uniform(8.3, 10.8, 14)}
    truth = {"c": 1e-3, "a": 0.01, "b": -0.2}
    table["loss"] = LAWS["learning-rate"].loss(truth, table) * np.exp(0.3 * rng.standard_normal(14))
    fit = sl.fit(table, law="learning-rate", bootstrap=50)
    low, high = fit.intervals["a"]
    assert low < 0 < high
    assert low < fit.params["a"] < high


@pytest.mark.parametrize("width", [1, 4, 9])
def test_points_of_the_search_are_the_halton_sequence(width):
    theirs = qmc.Halton(width, scramble=False).random(301)[1:]
    np.testing.assert_array_equal(halton(300, width), theirs)
