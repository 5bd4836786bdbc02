"""How fast the fits are here, beside SciPy doing the same work one fit at a time.

    python -m benchmarks.fit_speed   4,000 Huber refits of 240 points; lab fit from a cold start
    python -m benchmarks.fit_speed --double   and 1,000 x 500 refits, as of a double bootstrap

The table is planted: 240 runs on IsoFLOP levels with half a percent of noise.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from analysis import second_python

LAW = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.366}
REFITS, SCIPY_REFITS = 4000, 60
OUTER, INNER = 1000, 500


@dataclass(frozen=True)
class SpeedOptions:
    """Time fits on this machine, beside SciPy one by one."""

    double: bool = False
    """Also 1,000 x 500 refits, as of a double bootstrap (about a minute)."""
    json: bool = False
    """Print one JSON object."""


def planted(seed: int = 0) -> dict[str, np.ndarray]:
    """240 runs: 12 levels of compute, 20 sizes each, normal noise of 0.5 %."""
    from analysis.laws.named import LAWS

    flops = np.repeat(np.geomspace(6e18, 3e21, 12), 20)
    params = np.sqrt(flops / 120) * np.tile(np.geomspace(0.2, 5, 20), 12)
    table = {"params": params, "tokens": flops / 6 / params}
    noise = 0.005 * np.random.default_rng(seed).standard_normal(240)
    return {**table, "loss": LAWS["chinchilla"].loss(LAW, table) * np.exp(noise)}


def speed(argv: list[str]) -> int:
    """The verb: arguments in, exit code out."""
    import tyro

    options = tyro.cli(SpeedOptions, args=argv, prog="python -m benchmarks.fit_speed")
    said = refits()
    said |= cold()
    if options.double:
        said |= double()
    if options.json:
        from analysis.text import dumps

        print(dumps(said))
        return 0
    for name, value in said.items():
        print(f"{name.replace('_', ' '):44}{value:.4g}")
    return 0


def _prepared():
    from analysis.fits.fitting import fit
    from analysis.laws.named import LAWS
    from analysis.solve.centre import centred
    from analysis.solve.objectives import objective
    from analysis.tables.sample import sample
    from analysis.tables.table import as_runs

    law, table = LAWS["chinchilla"], planted()
    rows = sample(as_runs(table))
    rho = objective("huber", None, "log", None)
    x, target, centre = centred(rows, law, rho)
    return law, x, target, rho, law.to_inner(fit(table, bootstrap=0).params, centre)


def refits() -> dict[str, Any]:
    """Seconds of 4,000 refits to resampled rows, of the same by SciPy, and how far from optimal they are."""
    from analysis.intervals.resample import pairs
    from analysis.solve.estimator import ENOUGH, minimise

    law, x, target, rho, best = _prepared()
    weights = pairs(np.arange(len(target)), REFITS, 1)
    begin = np.repeat(best[None], REFITS, axis=0)
    times = []
    for _ in range(3):
        started = time.perf_counter()
        found = minimise(law, x, target, rho, begin, weights, tolerance=ENOUGH)
        times.append(time.perf_counter() - started)
    again = minimise(law, x, target, rho, found.theta + 1e-4, weights)
    started = time.perf_counter()
    theirs = [_scipy(x, target, weight, best) for weight in weights[:SCIPY_REFITS]]
    scipy = (time.perf_counter() - started) * REFITS / SCIPY_REFITS
    return {
        "cores": os.cpu_count() or 1,
        f"refits_{REFITS}_seconds": min(times),
        "refits_converged_share": float(found.converged.mean()),
        "refits_worst_above_a_polished_restart": float((found.value / again.value - 1).max()),
        f"scipy_one_by_one_{REFITS}_seconds": scipy,
        "scipy_worst_above_ours": float(max(np.array(theirs) / found.value[:SCIPY_REFITS] - 1)),
        "times_faster": scipy / min(times),
    }


def _scipy(x, target, weight, begin) -> float:
    """One refit by BFGS with the exact gradient: the lowest sum of Huber's loss it reaches."""
    from scipy.optimize import minimize

    def objective(theta):
        e, a, b, alpha, beta = theta
        logs = np.stack([np.full(len(target), e), a - alpha * x[0], b - beta * x[1]])
        top = logs.max(axis=0)
        shares = np.exp(logs - top)
        total = shares.sum(axis=0)
        shares /= total
        residual = target - top - np.log(total)
        slope = np.clip(residual, -1e-3, 1e-3)
        jacobian = np.stack([*shares, -shares[1] * x[0], -shares[2] * x[1]])
        value = (weight * slope * (residual - 0.5 * slope)).sum()
        # In units in which the objective is about one: BFGS's tolerance is absolute.
        return 1e3 * value, -1e3 * jacobian @ (weight * slope)

    return float(minimize(objective, begin, jac=True, method="BFGS", options={"gtol": 1e-9}).fun) / 1e3


def double() -> dict[str, float]:
    """Seconds of 500 refits to each of 1,000 simulated tables."""
    from analysis.intervals.resample import draws_of_rows, pairs
    from analysis.solve.estimator import minimise

    law, x, target, rho, best = _prepared()
    fitted = law.log_loss(best[None], x)[0]
    residual = target - fitted
    rng = np.random.default_rng(2)
    clusters = np.arange(len(target))
    started = time.perf_counter()
    targets = fitted + rng.choice(residual, size=(OUTER, len(target)))
    outer = minimise(law, x, targets, rho, np.repeat(best[None], OUTER, axis=0))
    for index in range(OUTER):
        weights = pairs(clusters, INNER, index)
        draws_of_rows(law, x, targets[index], rho, outer.theta[index][None], weights)
    return {f"double_bootstrap_{OUTER}_x_{INNER}_seconds": time.perf_counter() - started}


def cold() -> dict[str, float]:
    """Seconds of `lab fit` of the 240 points with 1,000 draws, and of `import analysis`, in new processes."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "runs.csv"
        columns = planted()
        lines = [
            ",".join(columns),
            *(",".join(map(repr, row)) for row in np.array([*columns.values()]).T.tolist()),
        ]
        path.write_text("\n".join(lines))
        program = "import sys; from analysis.verbs.fit import fit; fit([sys.argv[1]])"
        fitting = _seconds(second_python.command("-c", program, str(path)))
    return {
        "lab_fit_cold_seconds": fitting,
        "import_analysis_seconds": _seconds(second_python.command("-c", "import analysis as sl; sl.fit")),
    }


def _seconds(command: list[str]) -> float:
    """The best of three."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env=second_python.environment())
        times.append(time.perf_counter() - started)
    return min(times)


if __name__ == "__main__":
    sys.exit(speed(sys.argv[1:]))
