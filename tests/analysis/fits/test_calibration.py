"""Does calibration do what it says? Tables from a known law, calibrated by tables simulated from their fits.

`python tests/analysis/fits/test_calibration.py [TABLES [DESIGN ...]]` prints how often 95 % intervals held
the truth as they were, as they would be if only widened, and as calibrated (150 tables, 60
simulations of 100 draws each; a few minutes a design).
"""

import importlib.util
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

import analysis as sl
from analysis.fits.calibration import ratios
from analysis.intervals.bootstrap import bootstrap, widened
from analysis.laws.frontier import exponents
from analysis.solve.centre import centred
from analysis.solve.estimator import minimise
from analysis.solve.objectives import objective as make_objective
from analysis.tables.dependence import dependent
from analysis.tables.sample import sample
from analysis.tables.table import as_runs

_spec = importlib.util.spec_from_file_location("coverage", Path(__file__).with_name("test_coverage.py"))
designs = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(designs)
LAW = designs.LAW

NAMES = ("E", "alpha", "beta", "params_exponent", "loss")
SIMULATIONS, DRAWS = 60, 100


def one(name, simulations, seed):
    """(3, 5): whether plain, only widened, and calibrated intervals of one table hold the truth."""
    design = (designs.DESIGNS | designs.OTHERS)[name.split("+")[0]]
    truth, table, noise = (designs.dirty(design) if "+outliers" in name else design)(
        np.random.default_rng(seed)
    )
    table["loss"] = LAW.loss(truth, table) * np.exp(noise)
    rows, rho = sample(as_runs(table)), make_objective("huber", None, "log", None)
    x, target, centre = centred(rows, LAW, rho)
    start = LAW.to_inner(truth, centre)
    found = minimise(LAW, x, target, rho, start + 0.05 * np.random.default_rng(0).standard_normal((8, 5)))
    best = found.theta[np.argsort(found.value)[:2]]
    rows = dependent(rows, target - LAW.log_loss(best[:1], x)[0])[0]
    _, spread, drawn = bootstrap(LAW, x, target, rho, best, rows, 200, "auto", 0.95, seed)
    stretch = ratios(LAW, rows, x, target, centre, best[0], rho, "auto", 0.95, simulations, DRAWS, seed)
    far = {axis: 3 * table[axis].max() for axis in ("params", "tokens")}
    flops = 6 * (table["params"] * table["tokens"]).max()

    def quantities(public):
        logs = {each: np.log(public[each]) for each in ("E", "alpha", "beta")}
        logs["params_exponent"] = exponents(LAW, public, flops)
        return logs | {"loss": np.log(LAW.loss(public, far))}

    true = quantities(truth)
    here = {each: values[0] for each, values in quantities(LAW.to_public(best[:1], centre)).items()}
    draws = quantities(LAW.to_public(drawn.theta, centre))
    hits = np.zeros((3, len(NAMES)), bool)
    place = min(int(np.ceil((simulations + 1) * 0.95)), simulations) - 1
    for index, each in enumerate(NAMES):
        low, high = widened(np.asarray(here[each]), draws[each], 0.95, spread, False)
        both = float(np.sort(stretch[each])[place])
        away = true[each] - here[each]
        for row, factor in enumerate((1.0, max(both, 1.0), both)):
            hits[row, index] = factor * (low - here[each]) <= away <= factor * (high - here[each])
    return hits


def test_calibration_sees_that_rows_depend_on_each_other():
    """Intervals that take branches of one trunk for independent rows are too narrow for what runs share, and
    calibration on the same clusters says so; those by cluster need little."""
    truth, table, noise = designs.DESIGNS["trunks"](np.random.default_rng(1))
    table["loss"] = LAW.loss(truth, table) * np.exp(noise)
    factors = {}
    for method in ("auto", "rows"):
        fit = sl.fit(table, bootstrap=80, method=method, calibrate=40)
        factors[method] = fit.calibration.factor["alpha"]
        low, high = fit.intervals["alpha"]
        assert low < truth["alpha"] < high
    assert factors["rows"] > 1.5 > factors["auto"], factors


if __name__ == "__main__":
    tables = int(sys.argv[1]) if len(sys.argv) > 1 else 150
    print(f"{'95 % intervals cover':40}" + "".join(f"{name:>16}" for name in (*NAMES, "mean")))
    for name in sys.argv[2:] or ("trunks", "checkpoints+outliers"):
        started = time.perf_counter()
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            hits = np.mean(list(pool.map(partial(one, name, SIMULATIONS), range(tables))), axis=0)
        for words, shares in zip(("as they are", "only widened", "calibrated"), hits, strict=True):
            numbers = "".join(f"{100 * value:16.1f}" for value in (*shares, shares.mean()))
            print(f"{name + ', ' + words:40}{numbers}", flush=True)
        print(f"{tables} tables, {time.perf_counter() - started:.0f} s")
