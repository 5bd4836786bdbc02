"""Fits a law to a table: global starts, polished optimum, certificate, intervals, and what must be said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from analysis.errors import InputError
from analysis.fits.calibration import calibrated
from analysis.fits.certify import certify, invariances
from analysis.fits.identify import refuse, remarks
from analysis.fits.kept import Kept, beside
from analysis.fits.noise import Stated, weighted
from analysis.fits.profile import by_profile, constant, profiled
from analysis.fits.results import Exponents, Fit, Objective
from analysis.intervals.bootstrap import bootstrap, interval, left_out, student_suits
from analysis.intervals.freedom import Freedom
from analysis.laws.frontier import exponents, spends_compute
from analysis.laws.law import Law
from analysis.laws.named import find
from analysis.notes import Note
from analysis.solve.centre import centred
from analysis.solve.estimator import Optimum
from analysis.solve.nearby import nearby
from analysis.solve.objectives import Rho
from analysis.solve.objectives import objective as make_objective
from analysis.solve.scale import A_PARAMETER, CORNER, Noise, are_few, noise_of, with_corner
from analysis.solve.search import distinct_optima, search
from analysis.tables.dependence import dependent
from analysis.tables.sample import Sample, sample
from analysis.tables.table import as_runs


def fit(
    runs: Any,
    law: str | Law = "chinchilla",
    objective: str = "huber",
    delta: float | None = None,
    residual: str = "log",
    over_weight: float | None = None,
    bootstrap: int = 1000,
    method: str = "auto",
    level: float = 0.95,
    seed: int = 0,
    exclude_held_out: bool = True,
    noise: str = "",
    calibrate: int = 0,
) -> Fit:
    """The law that minimises the summed objective over the usable rows of `runs` (Runs, path, DataFrame).

    objective: huber (corner `delta`, default 1e-3: arXiv 2203.15556, equation 10), l1 (what arXiv 2404.10102
    published), squared, or asymmetric (l1 with `over_weight`, default 10, on rows predicted too high).
    residual: `log` or `raw`. bootstrap: draws, 0 for none; its method: auto, clusters, wild, or
    rows (each row for itself, whatever depends on what).
    Rows marked as held out are left for `forecast` unless exclude_held_out is false. noise: the column of the
    loss's standard errors; rows then count by it, and by what they scatter beyond it. calibrate: tables to
    simulate from the fit, to see how often the intervals hold the truth and to stretch them to their level.
    Raises InputError for tables from which the law cannot be determined, naming why.
    """
    law = find(law)
    runs = as_runs(runs)
    rho = make_objective(objective, delta, residual, over_weight)
    settings = Settings(rho, bootstrap, method, level, seed, beside(runs)).checked()
    rows = sample(runs, law.inputs, noise).without_held_out(exclude_held_out)
    made = fit_sample(rows, law, runs.source, settings)
    if not calibrate:
        return made
    return calibrated(made, calibrate, bootstrap, method, seed)


# How many times too small the noise may look, and in which share of tables, before it is said.
TOO_SMALL, OFTEN = 3.0, 0.08
# What arXiv 2203.15556 minimised (equation 10), and what is minimised unless something else is asked for.
HOFFMANN = Rho("huber", 1e-3, False)


@dataclass(frozen=True)
class Settings:
    """How a law is fitted: what is minimised, and how intervals are drawn (see `fit`); none by default. kept:
    where fits of the same rows are looked up first."""

    rho: Rho = HOFFMANN
    bootstrap: int = 0
    method: str = "auto"
    level: float = 0.95
    seed: int = 0
    kept: Kept | None = field(default=None, compare=False, repr=False)

    def checked(self) -> Settings:
        """These settings; InputError where they are no level or no number of draws."""
        if not 0 < self.level < 1:
            raise InputError(f"level: {self.level} is not between 0 and 1")
        if self.bootstrap < 0:
            raise InputError(f"bootstrap: {self.bootstrap} is not a number of draws")
        return self


def without_draws(settings: Settings) -> Settings:
    """The same fit without intervals."""
    return replace(settings, bootstrap=0, method="auto", level=0.95, seed=0)


def fit_sample(rows: Sample, law: Law, source: str, settings: Settings | None = None) -> Fit:
    """`fit` on rows that are already chosen; source names the table in what is said about it."""
    settings = settings or Settings()
    if settings.kept is None:
        return _fitted(rows, law, source, settings)
    return settings.kept.fit(rows, law, source, settings, lambda: _fitted(rows, law, source, settings))


def fit_window(
    rows: Sample, law: Law, source: str, settings: Settings, known: Sequence[Mapping[str, float]] = ()
) -> Fit:
    """`fit_sample` for a fit that is only scored: searched from few starts and from `known` values of the
    parameters, at a corner without kinks, and not kept."""
    return _fitted(rows, law, source, replace(settings, kept=None), known)


def _fitted(
    rows: Sample,
    law: Law,
    source: str,
    settings: Settings,
    known: Sequence[Mapping[str, float]] | None = None,
) -> Fit:
    rho, draws, method, level = settings.rho, settings.bootstrap, settings.method, settings.level
    refuse(rows, law, source)
    x, target, centre = centred(rows, law, rho)
    asked = rho
    if known is None:
        rho = with_corner(law, x, target, rho)
        searched = search(law, x, target, rho)
    else:
        rho = replace(rho, scaled=False)
        held = [law.to_inner(values, centre) for values in known]
        searched = nearby(law, x, target, rho, np.reshape(held, (len(held), len(law.names))))
    found = _held(law, searched, centre)
    best = lowest(found)
    said: tuple[Note, ...] = ()
    stated: Stated | None = None
    if rows.noise is not None:
        weighed, stated, said = weighted(
            asked, rows, law, target - law.log_loss(found.theta[best][None], x)[0]
        )
        rho = with_corner(law, x, target, weighed)
        searched = search(law, x, target, rho)
        found = _held(law, searched, centre)
        best = lowest(found)
    lower = 1 - float(searched.value.min()) / max(float(found.value[best]), 1e-300)
    if np.isfinite(searched.value.min()) and lower > 1e-6:
        text = f"the objective is {lower:.1e} lower where factors exceed what numbers hold; that was left out"
        said = (*said, Note("beyond_numbers", text))
    theta, value = found.theta[best], float(found.value[best])
    invariance = invariances(law, x, target, rho, theta, value, centre) if known is None else {}
    certificate = certify(law, x, target, rho, found, best, centre, invariance)
    params = {name: float(values[0]) for name, values in _public(law, x, theta[None], centre)[0].items()}
    loss = law.loss(params, rows.inputs)
    if not (np.isfinite(loss).all() and (loss > 0).all() and np.isfinite(value)):
        big = [name for name, number in params.items() if not np.isfinite(number)]
        ends = "".join(f"; {hit}" for hit in certificate.bound_hits)
        where = f" ({', '.join(big)} beyond 1e308{ends})" if big else ""
        raise InputError(
            f"{source}: the table drives {law.name} out of what numbers can hold{where}: "
            f"it does not show all of this law's parameters; fit a law with fewer"
        )
    residual = np.log(rows.loss) - np.log(loss)
    if method != "rows":
        rows, dependence = dependent(rows, residual)
        said = (*said, *dependence)
    free = max(len(rows) - len(law.names), 1)
    scaled = residual * np.sqrt(len(rows) / free)
    if stated is not None and rows.noise is not None:
        # As a row of typical noise would have them.
        scaled = scaled / stated.factor(rows.noise, rows.loss)
    noise = noise_of(law, x, target, rho, theta)
    few = known is None and student_suits(rows, law, method) and draws > 0 and rho.name != "l1"
    if known is not None and asked.scaled and are_few(len(rows), len(law.names)):
        # What is only scored has draws as few rows have them, and no ends that are looked for one by one.
        rho = replace(rho, delta=max(rho.delta, CORNER * noise.size))
    near = [index for index in distinct_optima(found, 6) if found.value[index] <= 1.05 * value]
    begin = found.theta[near]
    resampled, spread, drawn = bootstrap(
        law, x, target, rho, begin, rows, draws, method, level, settings.seed
    )
    draw_values, gone = _public(law, x, drawn.theta, centre) if draws else ({}, np.zeros((1, len(theta))))
    lost = 1 - float(np.mean(drawn.converged)) if draws else 0.0
    # An exponent of either sign has draws on both sides of 0, and no logarithm.
    signed = {parameter.name for parameter in law.parameters if not parameter.positive and parameter.low < 0}
    intervals = {
        name: interval(params[name], values, level, spread, params[name] > 0 and name not in signed)
        for name, values in draw_values.items()
    }
    exponents, unbounded = _exponents(law, params, draw_values, rows, level, spread)
    data = {"row": rows.rows, **rows.inputs, "loss": rows.loss, "fitted": loss, "residual": residual}
    place = np.argsort(rows.rows)
    data = {name: values[place] for name, values in data.items()}
    result = Fit(
        law=law,
        params=params,
        intervals=intervals,
        level=level,
        objective=Objective(
            "asymmetric" if rho.name == "l1" and rho.over != 1 else rho.name,
            rho.delta if rho.name == "huber" else None,
            "raw" if rho.raw else "log",
            value,
            rho.over,
        ),
        certificate=certificate,
        exponents=exponents,
        points=len(rows),
        excluded=rows.excluded,
        warnings=(
            *said,
            *_clusters(rows, law),
            *_degrees(params, draw_values, spread, rows, few),
            *_unseen(law, x, theta),
            *unbounded,
            *_corner(asked, rho, rows, law, noise),
            *remarks(rows, law, certificate, residual, noise, value, lost, gone.mean(axis=0)),
        ),
        notes=rows.notes,
        data=data,
        draws=draw_values,
        resampled=resampled,
        spread=spread,
        noise=scaled,
        stated=stated,
        scatter=noise.size / (float(np.median(rows.loss)) if rho.raw else 1.0),
        few=few,
        source=source,
        rows=rows,
        rho=rho,
    )
    if method == "profile" or few:
        return _bounded(by_profile(result))
    # Draws of a factor that is 0 pile up there; what the table allows it to be is another question.
    empty = [name for name, pair in intervals.items() if params[name] == 0 and constant(law, name)]
    return _bounded(replace(result, intervals={**intervals, **profiled(result, empty)}))


def _bounded(fit: Fit) -> Fit:
    """The fit, having said which of its intervals have no end."""
    free = [name for name, pair in fit.intervals.items() if not np.isfinite(pair).all()]
    if not free:
        return fit
    text = (
        f"the table does not bound {', '.join(free)} at this level: no value is too large, or none too small"
    )
    return replace(fit, warnings=(*fit.warnings, Note("unbounded", text)))


def _corner(asked: Rho, rho: Rho, rows: Sample, law: Law, noise: Noise) -> tuple[Note, ...]:
    """What to say of the corner where rows are few."""
    if rho.name == "squared" or not are_few(len(rows), len(law.names)) or not noise.size > 0:
        return ()
    if rho.delta != asked.delta:
        text = (
            f"{len(rows)} rows are fewer than {A_PARAMETER} a parameter: huber's corner is {CORNER:g} times "
            f"their noise, {rho.delta:g}; with {asked.delta:g} the optimum would pass through "
            f"{len(law.names)} of them"
        )
        return (Note("corner_of_noise", text),)
    if rho.name == "huber" and rho.delta > 0.5 * noise.size:
        return ()
    text = (
        f"the corner is far below the noise: of {len(rows)} rows the fit passes through some, and "
        f"intervals hold the truth too seldom; without --delta and --objective the corner follows the noise"
    )
    return (Note("corner_below_noise", text),)


def _clusters(rows: Sample, law: Law) -> tuple[Note, ...]:
    count = int(rows.clusters.max()) + 1
    if not rows.clustered_by or count >= len(law.names):
        return ()
    text = (
        f"{count} clusters ({rows.clustered_by}) are fewer than the {len(law.names)} parameters of "
        f"{law.name}: what the law does between them cannot be told from their noise; no interval holds that"
    )
    return (Note("few_clusters", text),)


def _held(law: Law, found: Optimum, centre: Mapping[str, float]) -> Optimum:
    """Without the optima whose parameters no number can hold: steep terms that a row or two would pay for.

    Where there are no others all are kept, and refused by name.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.stack(list(law.to_public(found.theta, centre).values()))
    held = np.isfinite(values).all(axis=0)
    if not (held & np.isfinite(found.value)).any():
        return found
    return replace(found, value=np.where(held, found.value, np.inf), converged=found.converged & held)


def lowest(found: Optimum) -> int:
    """The index of the lowest finite objective; of those that differ by rounding, one that has converged."""
    value = np.where(np.isfinite(found.value), found.value, np.inf)
    same = value <= value.min() * (1 + 1e-12)
    return int(np.argmin(np.where(same & (found.converged | ~found.converged[same].any()), value, np.inf)))


def _degrees(
    params: Mapping[str, float],
    draws: Mapping[str, np.ndarray],
    spread: float | Freedom,
    rows: Sample,
    few: bool,
) -> tuple[Note, ...]:
    """What to say where the noise is known from so little that it often looks far too small."""
    from scipy.special import chdtr

    seen: dict[str, float] = {}
    if few:
        seen = dict.fromkeys(params, max(len(rows) - len(params), 1))
    elif isinstance(spread, Freedom):
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = {name: np.log(draws[name])[:, None] for name, value in params.items() if value > 0}
            seen = {name: float(spread.degrees(values)[0]) for name, values in logs.items()}
    chance = {name: float(chdtr(degrees, degrees / TOO_SMALL**2)) for name, degrees in seen.items()}
    loose = [name for name in chance if chance[name] > OFTEN]
    if not loose:
        return ()
    least = min(seen[name] for name in loose)
    text = (
        f"the intervals of {', '.join(loose)} rest on {least:.2g} degrees of freedom: of such tables "
        f"{max(chance[name] for name in loose):.0%} look {TOO_SMALL:g} times or more too quiet, and "
        f"their intervals come out as much narrower; more sizes or seeds tell"
    )
    return (Note("few_degrees", text),)


def _unseen(law: Law, x: np.ndarray, theta: np.ndarray) -> tuple[Note, ...]:
    """What of theta (P,) no row depends on, although it is not a factor that has become 0."""
    idle = law.idle(theta[None], x)[0] & ~law.gone(theta[None], x)[0]
    names = [name for name, silent in zip(law.names, idle, strict=True) if silent]
    if not names:
        return ()
    return (Note("no_effect", f"no row depends on {', '.join(names)}: the value given means nothing"),)


def _public(
    law: Law, x: np.ndarray, theta: np.ndarray, centre: Mapping[str, float]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """(values in the table's units, with 0 for factors that have vanished; which have, (B, P))."""
    gone = law.gone(theta, x)
    values = law.to_public(theta, centre)
    return {name: np.where(gone[:, i], 0.0, values[name]) for i, name in enumerate(law.names)}, gone


def _exponents(
    law: Law,
    params: Mapping[str, float],
    draws: Mapping[str, np.ndarray],
    rows: Sample,
    level: float,
    spread: float | Freedom,
) -> tuple[Exponents | None, tuple[Note, ...]]:
    if not spends_compute(law):
        return None, ()
    flops = float((6 * rows.inputs["params"] * rows.inputs["tokens"]).max())
    here = float(exponents(law, params, flops))
    if not np.isfinite(here):
        return None, ()
    if not draws:
        return Exponents(here, 1.0 - here, None), ()
    drawn = exponents(law, draws, flops)
    pair = interval(here, drawn, level, spread)
    return Exponents(here, 1.0 - here, pair), left_out("allocation exponent", drawn)
