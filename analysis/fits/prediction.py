"""Intervals of a law's predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from analysis.errors import InputError
from analysis.fits.results import Fit
from analysis.intervals.bootstrap import widened
from analysis.laws.repeated import loss_at


def prediction_interval(
    fit: Fit, inputs: Mapping[str, Any], level: float, new_run: bool, noise: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """(low, high) of the loss at `inputs`; new_run adds the scatter of one run to the law's own uncertainty.

    Each draw of the law is joined with one residual of the fit, drawn at random and the same at all inputs: a
    run is predicted alike alone and among others. noise: the new run's standard error, of a table that states
    its rows' (`fits.noise`). Raises InputError when the fit has no draws, or the table states no noise.
    """
    if not fit.draws:
        raise InputError("this fit has no bootstrap draws; fit with bootstrap > 0 for intervals")
    if noise is not None and fit.stated is None:
        raise InputError("noise: the table that was fitted states none; fit with noise=COLUMN")
    middle = loss_at(fit.law, fit.params, inputs)
    count = len(next(iter(fit.draws.values())))
    shape = (count,) + (1,) * middle.ndim
    draws = {name: values.reshape(shape) for name, values in fit.draws.items()}
    logs = np.log(loss_at(fit.law, draws, inputs))
    if new_run:
        rng = np.random.default_rng(0)
        size = 1.0 if noise is None else fit.stated.factor(np.asarray(noise, float), middle)
        logs = logs + size * rng.choice(fit.noise, size=count).reshape(shape)
    low, high = widened(np.log(middle), logs, level, fit.spread, False)
    return np.exp(low), np.exp(high)
