"""The compute-optimal frontier of any law over many budgets, with the band of its bootstrap draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.fits.results import Fit
from analysis.intervals.bootstrap import widened
from analysis.laws.frontier import FACTOR, optimum

# A band is a smooth curve: its ends are computed at so many budgets, and drawn straight in logs between them.
PLACES = 13


@dataclass(frozen=True, eq=False)
class FrontierBand:
    """Compute-optimal params, tokens and loss at each of flops (n,); *_band are (low, high) or None."""

    flops: np.ndarray
    params: np.ndarray
    tokens: np.ndarray
    loss: np.ndarray
    params_band: tuple[np.ndarray, np.ndarray] | None
    tokens_band: tuple[np.ndarray, np.ndarray] | None


def frontier_band(fit: Fit, flops: np.ndarray, band: bool = True) -> FrontierBand | None:
    """The law's optimum at each budget; None for laws that have none, or do not split compute at all.

    band: also what the draws make of it, where the fit has any.
    """
    if not {"params", "tokens"} <= set(fit.law.inputs) or set(fit.law.inputs) - {"params", "tokens", "flops"}:
        return None
    flops = np.asarray(flops, float)
    params = np.exp(optimum(fit.law, fit.params, flops))
    if not np.isfinite(params).all():
        return None
    tokens = flops / (FACTOR * params)
    of_params = of_tokens = None
    if band and fit.draws:
        draws = {name: np.asarray(values, float)[:, None] for name, values in fit.draws.items()}
        chosen = np.unique(np.linspace(0, len(flops) - 1, min(len(flops), PLACES)).round().astype(int))
        drawn = np.exp(optimum(fit.law, draws, flops[None, chosen]))
        if np.isfinite(drawn).any(axis=0).all():
            ends = widened(params[chosen], drawn, fit.level, fit.spread, positive=True)
            low, high = (np.exp(np.interp(np.log(flops), np.log(flops[chosen]), np.log(end))) for end in ends)
            of_params, of_tokens = (low, high), (flops / (FACTOR * high), flops / (FACTOR * low))
    return FrontierBand(flops, params, tokens, fit.predict(params, tokens), of_params, of_tokens)
