"""Intervals of a law's predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from analysis.errors import InputError
from analysis.fits.profile import profiles_of, student_quantile
from analysis.fits.results import Fit
from analysis.intervals.bootstrap import widened
from analysis.laws.repeated import loss_at

# Points whose ends are looked for together: each of them is a row more in the fits of all.
AT_ONCE = 16


def prediction_interval(
    fit: Fit, inputs: Mapping[str, Any], level: float, new_run: bool, noise: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """(low, high) of the loss at `inputs`; new_run adds the scatter of one run to the law's own uncertainty.

    Each draw of the law is joined with one residual of the fit, drawn at random and the same at all inputs: a
    run is predicted alike alone and among others. Of few rows the law's part is by profile likelihood, and
    the run's is Student's. noise: the new run's standard error, of a table that states its rows'
    (`fits.noise`). Raises InputError when the fit has no draws, or the table states no noise.
    """
    if not fit.draws:
        raise InputError("this fit has no bootstrap draws; fit with bootstrap > 0 for intervals")
    if noise is not None and fit.stated is None:
        raise InputError("noise: the table that was fitted states none; fit with noise=COLUMN")
    middle = loss_at(fit.law, fit.params, inputs)
    size = 1.0 if noise is None else fit.stated.factor(np.asarray(noise, float), middle)
    if fit.few:
        return _student(fit, inputs, np.log(middle), level, size if new_run else 0.0)
    count = len(next(iter(fit.draws.values())))
    shape = (count,) + (1,) * middle.ndim
    draws = {name: values.reshape(shape) for name, values in fit.draws.items()}
    logs = np.log(loss_at(fit.law, draws, inputs))
    if new_run:
        rng = np.random.default_rng(0)
        logs = logs + size * rng.choice(fit.noise, size=count).reshape(shape)
    low, high = widened(np.log(middle), logs, level, fit.spread, False)
    return np.exp(low), np.exp(high)


def _student(fit: Fit, inputs: Mapping[str, Any], middle: np.ndarray, level: float, size):
    """The ends by profile likelihood; arms of law and run add as their squares do. size: of the run's noise,
    over the typical row's."""
    flat = {
        name: np.broadcast_to(np.asarray(each, float), middle.shape).ravel() for name, each in inputs.items()
    }
    factor = 1.0 if fit.calibration is None else fit.calibration.widest
    run = student_quantile(fit, level) * fit.scatter * np.broadcast_to(size, middle.shape).ravel()
    law = np.empty((2, middle.size))
    for first in range(0, middle.size, AT_ONCE):
        some = slice(first, first + AT_ONCE)
        here = {name: values[some] for name, values in flat.items()}

        def log_losses(at, here=here):
            shaped = {name: values[:, None] for name, values in at.items()}
            return np.log(loss_at(fit.law, shaped, here))

        law[:, some] = profiles_of(fit, log_losses, level, ["loss"] * len(middle.ravel()[some]))
    arms = np.hypot(np.maximum([[-1.0], [1.0]] * (law - middle.ravel()), 0.0), run)
    with np.errstate(over="ignore"):
        low, high = np.exp(middle.ravel() + factor * np.array([[-1.0], [1.0]]) * arms).reshape(
            2, *middle.shape
        )
    return low, high
