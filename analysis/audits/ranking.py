"""Which laws to forecast with: those whose earlier forecasts came true, not those that fit best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.audits.blend import Blend, weights_of
from analysis.audits.predictions import cells_of
from analysis.audits.results import Rival
from analysis.audits.windows import Past, past_of
from analysis.errors import InputError
from analysis.fits.fitting import Settings, fit_sample, without_draws
from analysis.laws.law import Law
from analysis.laws.named import LAWS
from analysis.tables.sample import Sample
from analysis.tables.table import Runs

CANDIDATES = ("chinchilla", "chinchilla-tied", "kaplan", "coupled")
# An error in percent that is none: which of the laws that foretell an exact table is luckier in rounding says
# nothing, and the first of them leads.
NONE = 1e-6


@dataclass(frozen=True, eq=False)
class Ranked:
    """The laws by their mean error in the windows before, and what was said from these; both are of the same
    laws, those that the rows determine. rivals and blend: the leading law first."""

    rivals: tuple[Rival, ...]
    blend: Blend
    past: Past


def candidates() -> tuple[Law, ...]:
    return tuple(LAWS[name] for name in CANDIDATES)


def rank(fitted: Sample, held: Sample, runs: Runs, settings: Settings, laws: Sequence[Law]) -> Ranked:
    """The laws by their mean error one step earlier; those that could not be tried so come last.

    Errors on `held` are reported and play no part in the order. Raises InputError when no law can be fitted.
    """
    whole = {}
    problems: list[str] = []
    for law in laws:
        try:
            whole[law] = fit_sample(fitted, law, runs.source, without_draws(settings))
        except InputError as error:
            problems += error.problems
    if not whole:
        raise InputError(*dict.fromkeys(problems))
    past = past_of(fitted, tuple(whole), settings, runs.source)
    errors = past.errors(-1)
    weights = dict(zip(whole, weights_of(errors), strict=True))
    earlier = dict(zip(whole, errors, strict=True))
    order = sorted(whole, key=lambda law: np.inf if earlier[law] is None else max(earlier[law], NONE))
    rivals = []
    for law in order:
        beyond = [
            abs(cell.error_percent)
            for cell in cells_of(whole[law], held, runs, 0.9)
            if cell.error_percent is not None
        ]
        mean = float(np.mean(beyond)) if beyond and np.isfinite(beyond).all() else None
        rivals.append(
            Rival(law.name, len(law.names), whole[law].objective.value, earlier[law], mean, weights[law])
        )
    blend = Blend(tuple((law, whole[law].params) for law in order), tuple(weights[law] for law in order))
    return Ranked(tuple(rivals), blend, past)
