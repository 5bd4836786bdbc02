"""What is said of few rows is true: intervals, the noise that is printed, outliers, E at its bound.

`python -m benchmarks.interval_coverage` prints the sharp table; here a few tables of each kind are pooled.
"""

import numpy as np
import pytest

import analysis as sl
from analysis.audits.blend import Blend, about
from analysis.fits.profile import profile_interval, profiled
from analysis.fits.show import fit_text
from analysis.intervals.bootstrap import left_out
from analysis.solve.objectives import Rho
from analysis.solve.scale import few_factor, size_of
from benchmarks import few_rows
from benchmarks.interval_coverage import CELLS, LAW, one

QUANTITIES = ("E", "alpha", "beta", "exponent", "loss", "run")


@pytest.fixture(scope="module")
def told():
    """Six tables of each kind, and what was said of each: name -> (whether it held, width over the ideal)."""
    cells = ("rows-9", "rows-16+outlier", "offset-0")
    return {cell: [one(cell, 40, seed) for seed in range(6)] for cell in cells}


def test_intervals_of_few_rows_hold_the_truth(told):
    """108 intervals of 18 tables, which hit and miss together; l1 through five of nine rows held .78."""
    hits = np.array([[each[name][0] for name in QUANTITIES] for tables in told.values() for each in tables])
    assert hits.mean() >= 0.9, hits.mean(axis=0)
    widths = [each["alpha"][1] for tables in told.values() for each in tables]
    assert np.median(widths) < 2.5, widths


def test_the_noise_that_is_printed_is_the_noise(told):
    """With a corner far below the noise half the rows of a 3 x 3 table are fitted exactly."""
    for cell, tables in told.items():
        assert 0.6 < np.median([each["noise"][0] for each in tables]) < 1.5, cell


def test_clean_tables_have_no_outliers_and_dirty_ones_may(told):
    assert sum(each["outliers"][0] for each in told["rows-9"] + told["offset-0"]) <= 1
    assert sum(each["outliers"][0] for each in told["rows-16+outlier"]) >= 1


def test_an_offset_at_its_bound_has_an_interval(told):
    assert not any(each["empty"][0] for each in told["offset-0"])


def test_the_corner_follows_the_noise_only_where_nobody_chose_one():
    table = CELLS["rows-9"](np.random.default_rng(0)).columns
    codes = {
        delta: {note.code for note in sl.fit(table, law=LAW, delta=delta, bootstrap=0).warnings}
        for delta in (None, 1e-3)
    }
    kinds = {"corner_of_noise", "corner_below_noise"}
    assert codes[None] & kinds == {"corner_of_noise"}
    assert codes[1e-3] & kinds == {"corner_below_noise"}
    own = sl.fit(table, law=LAW, bootstrap=0)
    again = sl.fit(table, law=LAW, delta=own.objective.delta, bootstrap=0)
    assert again.params == pytest.approx(own.params, rel=1e-6)


def test_squared_errors_of_a_line_are_students():
    """A power law without an offset is a straight line in logs, whose ends stand in textbooks."""
    rng = np.random.default_rng(2)
    params = np.geomspace(1e6, 1e9, 7)
    loss = 40.0 * params**-0.12 * np.exp(0.02 * rng.standard_normal(7))
    fit = sl.fit({"params": params, "loss": loss}, law="power-params", objective="squared", bootstrap=50)
    logs = np.log(params) - np.log(params).mean()
    residual = fit.data["residual"]
    error = np.sqrt((residual**2).sum() / 5 / (logs**2).sum())
    slope = next(name for name in fit.params if name.startswith("alpha"))
    reach = 2.570582 * error
    expected = (fit.params[slope] - reach, fit.params[slope] + reach)
    assert profile_interval(fit, slope) == pytest.approx(expected, rel=0.01)


def test_the_scale_of_least_squares_is_the_usual_one():
    """Within a tenth, where few residuals reach the corner: nine rows less five parameters."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((9, 5)))[0]
    leverage = (basis**2).sum(axis=1)
    noise = rng.standard_normal((400, 9))
    sizes = [size_of(each - basis @ (basis.T @ each), leverage) for each in noise]
    assert np.sqrt(np.mean(np.square(sizes))) == pytest.approx(1.0, abs=0.1)


def test_a_fit_that_follows_the_rows_within_its_corner_is_less_sure():
    """Huber's factor: five parameters, 16 rows of which 82 % lie within 1.345; of least squares it is 1."""
    assert few_factor(np.ones(16), np.full(16, 5 / 16), Rho("squared", 1.0, False)) == 1.0
    rng = np.random.default_rng(0)
    leverage = np.full(16, 5 / 16)
    residual = np.sqrt(1 - leverage) * rng.standard_normal((400, 16))
    found = [few_factor(one, leverage, Rho("huber", 1.345, False)) for one in residual]
    assert np.mean(found) == pytest.approx(1 + 5 / 16 * 0.1787 / 0.8213, abs=0.01)
    held = few_rows.held(4, 4, False, 600)
    assert all(was < now for was, now in held.values())
    assert all(0.93 < now < 0.98 for _, now in held.values()), held


def test_draws_without_a_value_are_told():
    assert left_out("compute optimum", np.array([1.0, 2.0])) == ()
    (note,) = left_out("compute optimum", np.array([1.0, np.nan, np.inf, 2.0]))
    assert (note.code, "50.0%" in note.text) == ("draws_left_out", True)


def test_an_interval_beside_its_estimate_has_no_arm_on_the_other_side():
    """The lower end above the law's own prediction: squared, that negative arm counted as a long one."""
    blend = Blend(((LAW, {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.366}),), (1.0,))
    inputs = {"params": np.array([1e9]), "tokens": np.array([2e10])}
    own = blend.laws[0][0].loss(blend.laws[0][1], inputs)
    middle, low, high = about(blend, inputs, 1.1 * own, 1.2 * own, 0.9)
    assert np.concatenate([middle, low, high]) == pytest.approx(np.outer([1.0, 1.0, 1.2], own).ravel())


def test_an_interval_without_an_end_is_said():
    """Three sizes whose noise drowns what tells them apart."""
    table = CELLS["rows-9"](np.random.default_rng(1)).columns
    table["loss"] = table["loss"] * np.exp(0.4 * np.random.default_rng(2).standard_normal(9))
    fit = sl.fit(table, law=LAW, bootstrap=20)
    free = {name for name, ends in fit.intervals.items() if not np.isfinite(ends).all()}
    assert free
    (said,) = [note.text for note in fit.warnings if note.code == "unbounded"]
    assert all(name in said for name in free)
    assert "inf" in fit_text(fit)


def test_intervals_that_rest_on_two_degrees_of_freedom_say_so():
    """Five sizes of a trunk each: between them the law has three parameters. Seven trunks leave four."""
    said = {}
    for cell in ("staircase", "trunks-7"):
        table = CELLS[cell](np.random.default_rng(0)).columns
        notes = {note.code: note.text for note in sl.fit(table, law=LAW, bootstrap=60).warnings}
        said[cell] = notes.get("few_degrees", "")
    assert "alpha" in said["staircase"]
    assert "rest on 2 degrees of freedom: of such tables 11%" in said["staircase"]
    assert not said["trunks-7"]
    three = CELLS["rows-9"](np.random.default_rng(0)).columns
    seven = {name: values[:7] for name, values in three.items()}
    assert "few_degrees" in {note.code for note in sl.fit(seven, law=LAW, bootstrap=20).warnings}


@pytest.mark.parametrize(("name", "ends"), [("E", (1.3255, 1.7474)), ("alpha", (-np.inf, 0.3028))])
def test_ends_of_the_coupled_law_are_those_of_many_starts(name, ends):
    """Its valleys take hundreds of steps, and it is fitted in gamma alpha: E ended at 2.2 and alpha nowhere.

    From 74 starts with E or alpha held there the lowest objective is what the table just allows.
    """
    rng = np.random.default_rng(0)
    params = np.geomspace(1e7, 1e9, 12)
    drawn = [(rng.uniform(-0.7, 1), rng.standard_normal(), rng.random()) for _ in params]
    spread, noise, _ = np.transpose(drawn)
    tokens = 20 * params * 10**spread
    loss = (1.7 + 400 * params**-0.34 + 400 * tokens**-0.28) * np.exp(0.01 * noise)
    table = {"params": params, "tokens": tokens, "loss": loss}
    fit = sl.fit(table, law="coupled", objective="squared", bootstrap=0)
    assert profiled(fit, (name,))[name] == pytest.approx(ends, rel=0.01)
