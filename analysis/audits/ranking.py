"""Which laws to forecast with: those whose earlier forecasts came true, not those that fit best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.audits.blend import weights_of
from analysis.audits.predictions import cells_of, flops_of
from analysis.audits.results import Rival
from analysis.errors import InputError
from analysis.fits.fitting import Settings, fit_sample, without_draws
from analysis.laws.law import Law
from analysis.laws.named import LAWS
from analysis.tables.sample import Sample
from analysis.tables.table import Runs

CANDIDATES = ("chinchilla", "chinchilla-tied", "kaplan", "coupled")
# The fitted runs' own last third and half of log compute play the future.
SPLITS = (3.0, 2.0)


def rank(
    fitted: Sample, held: Sample, runs: Runs, settings: Settings, names: Sequence[str] = CANDIDATES
) -> tuple[Rival, ...]:
    """The laws by their mean error one step earlier; those that could not be tried so come last.

    Errors on `held` are reported and play no part in the order. Raises InputError when no law can be fitted.
    """
    tried = []
    problems: list[str] = []
    flops = flops_of(fitted)
    for name in names:
        law = LAWS[name]
        try:
            whole = fit_sample(fitted, law, runs.source, without_draws(settings))
        except InputError as error:
            problems += error.problems
            continue
        earlier = []
        for split in SPLITS:
            late = flops > flops.max() / split
            if late.any():
                earlier += _errors(fitted.where(~late), fitted.where(late), law, runs, settings)
        beyond = [cell.error_percent for cell in cells_of(whole, held, runs, 0.9)]
        tried.append((name, len(law.names), whole.objective.value, _mean(earlier), _mean(beyond)))
    if not tried:
        raise InputError(*dict.fromkeys(problems))
    tried.sort(key=lambda one: float("inf") if one[3] is None else one[3])
    weights = weights_of([one[3] for one in tried])
    return tuple(Rival(*one, weight) for one, weight in zip(tried, weights, strict=True))


def _mean(errors: list[float]) -> float | None:
    """Mean size, or None without errors or where a prediction is no finite number."""
    mean = float(np.mean(np.abs(errors))) if errors else float("nan")
    return mean if np.isfinite(mean) else None


def _errors(early: Sample, late: Sample, law: Law, runs: Runs, settings: Settings) -> list[float]:
    """Errors in percent on `late` of the law fitted to `early`; none where it cannot be fitted."""
    try:
        fitted = fit_sample(early, law, runs.source, without_draws(settings))
    except InputError:
        return []
    return [cell.error_percent for cell in cells_of(fitted, late, runs, 0.9)]
