"""Are intervals as wide as they say, on this very design? Simulate from the fit, and stretch accordingly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from analysis.errors import InputError
from analysis.fits.results import Calibration, Fit
from analysis.intervals.bootstrap import bootstrap, widened
from analysis.laws.frontier import exponents, spends_compute
from analysis.laws.law import Law
from analysis.solve.centre import centred
from analysis.solve.estimator import minimise
from analysis.solve.objectives import Rho
from analysis.tables.sample import Sample

# Predictions are calibrated where they are used: this many times beyond the table on each axis.
REACH = 3.0
# An interval this much wider is no interval; the factor says so and stays a number. And no simulation is so
# like the world that it could take more than half of an interval away.
WIDEST, NARROWEST = 100.0, 0.5


def calibrated(fit: Fit, simulations: int, draws: int, method: str, seed: int) -> Fit:
    """The fit with its intervals stretched to their level, by `simulations` tables like its own.

    Raises InputError where the intervals do not come from bootstrap draws.
    """
    if not draws or method == "profile":
        raise InputError("calibrate: only intervals from bootstrap draws can be calibrated")
    x, target, centre = centred(fit.rows, fit.law, fit.rho)
    return calibrate(fit, fit.rows, x, target, centre, fit.rho, method, simulations, min(draws, 200), seed)


def calibrate(
    fit: Fit, rows: Sample, x, target, centre, rho: Rho, method: str, simulations: int, draws: int, seed: int
) -> Fit:
    """The fit with its intervals stretched to their nominal level (prepivoting: Beran 1987, Biometrika 74).

    Stretched both ways: an interval that never misses has been asked for another level, and the same
    simulation that is believed when it widens must be believed when it narrows. The order statistic is the
    one that errs to the wide side.

    Noise is drawn from the residuals: whole clusters get one draw of the clusters' means, each row one of
    what is left. x, target, centre: see `fitting.centred`.
    """
    law = fit.law
    theta = law.to_inner(fit.params, centre)
    found = ratios(law, rows, x, target, centre, theta, rho, method, fit.level, simulations, draws, seed)
    place = min(int(np.ceil((simulations + 1) * fit.level)), simulations) - 1
    achieved = {name: float(np.mean(values <= 1)) for name, values in found.items()}
    factor = {
        name: float(np.clip(np.sort(values)[place], NARROWEST, WIDEST)) for name, values in found.items()
    }
    # What has vanished has no logarithm to stretch; its interval begins at zero already.
    factor |= {name: 1.0 for name in law.names if fit.params[name] == 0}
    return _stretched(fit, Calibration(simulations, draws, fit.level, achieved, factor))


def ratios(
    law: Law,
    rows: Sample,
    x,
    target,
    centre,
    theta: np.ndarray,
    rho: Rho,
    method: str,
    level: float,
    simulations: int,
    draws: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """By how much the intervals of tables simulated from theta (P,) had to be stretched to hold theta's
    quantities: name -> (simulations,), at most 1 where they did."""
    rng = np.random.default_rng(seed + 1)
    fitted = law.log_loss(theta[None], x)[0]
    targets = fitted + simulated_noise(target - fitted, rows, rho, len(theta), simulations, rng)
    found = minimise(law, x, targets, rho, np.repeat(theta[None], simulations, axis=0))
    far = {name: np.array([REACH * rows.inputs[name].max()]) for name in law.inputs}
    flops = float((6 * rows.inputs["params"] * rows.inputs["tokens"]).max()) if spends_compute(law) else 0.0

    def quantities(at: np.ndarray) -> dict[str, np.ndarray]:
        return _quantities(law, law.to_public(at, centre), far, flops)

    truth = {name: float(values[0]) for name, values in quantities(theta[None]).items()}
    estimates = quantities(found.theta)
    out: dict[str, list[float]] = {name: [] for name in truth}
    for index in range(simulations):
        near = found.theta[index][None]
        one = (law, x, targets[index], rho, near, rows, draws, method, level, seed + index)
        _, spread, drawn = bootstrap(*one)
        for name, values in quantities(drawn.theta).items():
            middle = float(estimates[name][index])
            low, high = widened(np.asarray(middle), values, level, spread, False)
            out[name].append(_ratio(truth[name], middle, float(low), float(high)))
    return {name: np.array(values) for name, values in out.items()}


def simulated_noise(residual, rows: Sample, rho: Rho, width: int, count: int, rng) -> np.ndarray:
    """(count, n) draws of noise like the residuals (n,), with the same dependence within clusters."""
    size = len(residual)
    # A quiet row never gets a loud one's residual: what is shuffled is in units of each row's stated noise.
    unit = np.ones(size) if rho.scale is None else rho.scale
    residual = residual * unit
    middle = residual.mean() if rho.name == "squared" else np.median(residual)
    scaled = (residual - middle) * np.sqrt(size / max(size - width, 1))
    if not rows.clustered_by:
        return scaled[rng.integers(size, size=(count, size))] / unit
    groups = rows.clusters
    means = np.bincount(groups, scaled) / np.bincount(groups)
    own = scaled - means[groups]
    shared = means[rng.integers(len(means), size=(count, len(means)))][:, groups]
    return (shared + own[rng.integers(size, size=(count, size))]) / unit


def _quantities(law: Law, params, far, flops: float) -> dict[str, np.ndarray]:
    """Name -> (B,); positive parameters as logarithms, in which their draws are more nearly symmetric."""
    out = {}
    with np.errstate(divide="ignore"):
        for parameter in law.parameters:
            values = params[parameter.name]
            out[parameter.name] = np.log(values) if parameter.positive else values
    if flops:
        out["params_exponent"] = exponents(law, params, flops)
    shaped = {name: np.asarray(values)[:, None] for name, values in params.items()}
    with np.errstate(divide="ignore", invalid="ignore"):
        out["loss"] = np.log(law.loss(shaped, far)[:, 0])
    return out


def _ratio(truth: float, middle: float, low: float, high: float) -> float:
    """The distance of the truth from the estimate, in units of the interval's arm on that side."""
    arm = high - middle if truth >= middle else middle - low
    away = abs(truth - middle)
    if not np.isfinite(away):
        return 0.0 if not np.isfinite(arm) else np.inf
    return float(away / max(arm, 1e-300)) if away > 0 else 0.0


def _stretched(fit: Fit, calibration: Calibration) -> Fit:
    factor = calibration.factor
    positive = {parameter.name for parameter in fit.law.parameters if parameter.positive}
    intervals = {
        name: _stretch(fit.params[name], pair, factor[name], name in positive and fit.params[name] > 0)
        for name, pair in fit.intervals.items()
    }
    exponents = fit.exponents
    if exponents is not None and exponents.interval is not None:
        pair = _stretch(exponents.params_exponent, exponents.interval, factor["params_exponent"], False)
        exponents = replace(exponents, interval=pair)
    return replace(
        fit,
        intervals=intervals,
        exponents=exponents,
        spread=fit.spread * calibration.widest,
        calibration=calibration,
    )


def _stretch(middle: float, pair, factor: float, logs: bool) -> tuple[float, float]:
    low, high = pair
    if not logs:
        return float(middle + factor * (low - middle)), float(middle + factor * (high - middle))
    with np.errstate(divide="ignore", over="ignore"):
        edges = [np.exp(np.log(middle) + factor * (np.log(edge) - np.log(middle))) for edge in (low, high)]
    return float(edges[0]), float(edges[1])
