"""The compute-optimal frontier of any law over many budgets, with the band of its bootstrap draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.fits.results import Fit
from analysis.intervals.bootstrap import widened
from analysis.laws.frontier import FACTOR, optimum


@dataclass(frozen=True, eq=False)
class FrontierBand:
    """Compute-optimal params, tokens and loss at each of flops (n,); *_band are (low, high) or None."""

    flops: np.ndarray
    params: np.ndarray
    tokens: np.ndarray
    loss: np.ndarray
    params_band: tuple[np.ndarray, np.ndarray] | None
    tokens_band: tuple[np.ndarray, np.ndarray] | None


def frontier_band(fit: Fit, flops: np.ndarray) -> FrontierBand | None:
    """The law's optimum at each budget; None for laws that have none, or do not split compute at all."""
    if not {"params", "tokens"} <= set(fit.law.inputs) or set(fit.law.inputs) - {"params", "tokens", "flops"}:
        return None
    flops = np.asarray(flops, float)
    params = np.exp(optimum(fit.law, fit.params, flops))
    if not np.isfinite(params).all():
        return None
    tokens = flops / (FACTOR * params)
    band = other = None
    if fit.draws:
        draws = {name: np.asarray(values, float)[:, None] for name, values in fit.draws.items()}
        drawn = np.exp(optimum(fit.law, draws, flops[None, :]))
        if np.isfinite(drawn).any(axis=0).all():
            band = widened(params, drawn, fit.level, fit.spread, positive=True)
            other = flops / (FACTOR * band[1]), flops / (FACTOR * band[0])
    return FrontierBand(flops, params, tokens, fit.predict(params, tokens), band, other)
