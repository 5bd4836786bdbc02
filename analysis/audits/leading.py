"""The one rule for which law leads on a table: fits, forecasts, allocations, report and plan ask here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from analysis.audits.ranking import Ranked, candidates, rank
from analysis.audits.results import Rival
from analysis.errors import InputError
from analysis.fits.calibration import calibrated
from analysis.fits.fitting import Settings, fit_sample
from analysis.fits.kept import beside
from analysis.fits.leading import Leading
from analysis.fits.results import Fit
from analysis.intervals.bootstrap import Interval
from analysis.laws.named import LAWS
from analysis.solve.objectives import objective as make_objective
from analysis.tables.sample import Sample, sample
from analysis.tables.table import Runs, as_runs

# An exponent is determined by a table when its interval reaches no further than this part of it to a side.
WIDE = 0.3
# Draws for the intervals of Chinchilla's exponents, where another law leads.
DRAWS = 200


def leading_fit(
    runs: Any,
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
    """`fit` by the law that leads on the table; `Fit.leading` says why. Arguments as `fit` takes them.

    Raises InputError when no candidate can be fitted.
    """
    runs = as_runs(runs)
    rho = make_objective(objective, delta, residual, over_weight)
    settings = Settings(rho, bootstrap, method, level, seed, beside(runs)).checked()
    rows = sample(runs, LAWS["chinchilla"].inputs, noise).without_held_out(exclude_held_out)
    made, _ = lead(rows, runs, settings)
    return calibrated(made, calibrate, bootstrap, method, seed) if calibrate else made


def lead(rows: Sample, runs: Runs, settings: Settings, held: Sample | None = None) -> tuple[Fit, Ranked]:
    """The fit of `rows` by the law that leads on them, and the ranks and earlier forecasts by which it was
    chosen. `held`: rows that the rivals' held-out errors are reported on; they play no part in the choice."""
    nothing = rows.where(np.zeros(len(rows), bool))
    ranked = rank(rows, nothing if held is None else held, runs, settings, candidates())
    made = fit_sample(rows, ranked.blend.laws[0][0], runs.source, settings)
    chinchilla = _chinchilla(made, rows, runs, settings)
    return replace(made, leading=_leading(ranked.rivals, chinchilla)), ranked


def _chinchilla(made: Fit, rows: Sample, runs: Runs, settings: Settings) -> Fit | None:
    """Chinchilla's fit of the same rows with intervals, None where there are none."""
    if not settings.bootstrap or made.law.name == "chinchilla":
        return made if settings.bootstrap else None
    few = replace(settings, bootstrap=min(settings.bootstrap, DRAWS), level=0.95)
    try:
        return fit_sample(rows, LAWS["chinchilla"], runs.source, few)
    except InputError:
        return None


def _leading(rivals: Sequence[Rival], chinchilla: Fit | None) -> Leading:
    first, others = rivals[0], {one.law: one for one in rivals[1:]}
    if first.earlier_error_percent is None:
        reason = (
            f"{first.law} speaks because it is the first of the laws tried: the runs are too few to score "
            "any law on an earlier part of them"
        )
    else:
        beside = others.get("chinchilla") or next(iter(others.values()), None)
        known = None if beside is None else beside.earlier_error_percent
        versus = "" if known is None else f", {beside.law} within {known:.2g} %"
        reason = (
            f"{first.law} leads because, fitted to the runs of less compute, it foretold the later ones "
            f"within {first.earlier_error_percent:.2g} % on average{versus}"
        )
    wide = {} if chinchilla is None else undetermined(chinchilla.params, chinchilla.intervals)
    if wide:
        shown = " and ".join(
            f"{name} {chinchilla.params[name]:.2g} [{low:.2g}, {high:.2g}]"
            for name, (low, high) in wide.items()
        )
        reason += f"; the runs do not determine Chinchilla's {shown} to {WIDE:.0%}"
    return Leading(first.law, reason, tuple(rivals), wide)


def undetermined(values: Mapping[str, float], intervals: Mapping[str, Interval]) -> dict[str, Interval]:
    """Those of Chinchilla's exponents whose interval reaches further than WIDE of them to either side."""
    return {
        name: intervals[name]
        for name in ("alpha", "beta")
        if name in intervals
        and max(values[name] - intervals[name][0], intervals[name][1] - values[name]) > WIDE * values[name]
    }
