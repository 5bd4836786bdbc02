"""Intervals of a law's predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from analysis.errors import InputError
from analysis.fits.profile import profile_of, student_quantile
from analysis.fits.results import Fit
from analysis.intervals.bootstrap import widened
from analysis.laws.repeated import loss_at


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
    """The ends by profile likelihood, point after point; arms of law and run add as their squares do. size: of the
    run's noise, over the typical row's."""
    names = list(inputs)
    flat = [np.broadcast_to(np.asarray(inputs[name], float), middle.shape).ravel() for name in names]
    factor = 1.0 if fit.calibration is None else fit.calibration.widest
    run = student_quantile(fit, level) * fit.scatter * np.broadcast_to(size, middle.shape).ravel()
    ends = np.empty((2, middle.size))
    for index, value in enumerate(middle.ravel()):
        here = {name: values[index : index + 1] for name, values in zip(names, flat, strict=True)}

        def log_loss(at, here=here):
            shaped = {name: values[:, None] for name, values in at.items()}
            return np.log(loss_at(fit.law, shaped, here))[:, 0]

        low, high = profile_of(fit, log_loss, level, "loss")
        ends[0, index] = value - factor * np.hypot(max(value - low, 0.0), run[index])
        ends[1, index] = value + factor * np.hypot(max(high - value, 0.0), run[index])
    low, high = np.exp(ends).reshape(2, *middle.shape)
    return low, high
