"""How to spend a compute budget: the params and tokens at which a fitted law is lowest."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from analysis.errors import InputError
from analysis.fits.reach import beyond
from analysis.fits.results import Allocation, Deviation, Fit
from analysis.intervals.bootstrap import Interval, interval, left_out
from analysis.laws.frontier import FACTOR, loss_along, optimum, spends_compute
from analysis.laws.law import Law
from analysis.notes import Note

DEVIATIONS = (0.25, 0.5, 2.0, 4.0)


def allocate(fit: Fit, flops: float) -> Allocation:
    """The compute-optimal run at `flops`, its intervals from the fit's draws, and what deviating costs.

    flops: the training compute, 6 params tokens (arXiv 2203.15556). The extra loss and the wasted compute are
    told at fixed multiples of the optimal params. Raises InputError when flops is not a positive number, when
    the law lacks params or tokens, or when it has no optimum (one of its terms has vanished).
    """
    law = fit.law
    if not (np.isfinite(flops) and flops > 0):
        raise InputError(f"flops: {flops} is not a positive number")
    if not spends_compute(law):
        raise InputError(f"the law {law.name} is not one of params and tokens alone; fit chinchilla")
    log_n = float(optimum(law, fit.params, flops))
    if not np.isfinite(log_n):
        raise InputError(
            f"the fitted {law.name} has no compute optimum: {'; '.join(fit.certificate.bound_hits)}"
        )
    params, tokens = np.exp(log_n), flops / FACTOR / np.exp(log_n)
    loss = float(loss_along(law, fit.params, log_n, flops))
    intervals: dict[str, Interval] = {}
    told: tuple[Note, ...] = ()
    if fit.draws:
        logs = optimum(law, fit.draws, flops)
        losses = loss_along(law, fit.draws, logs, flops)
        told = left_out("compute optimum", logs)
        drawn = {"params": np.exp(logs), "tokens": flops / FACTOR / np.exp(logs), "loss": losses}
        here = {"params": params, "tokens": tokens, "loss": loss}
        for name, values in drawn.items():
            intervals[name] = interval(here[name], values, fit.level, fit.spread, positive=True)
    deviations = tuple(_deviation(law, fit.params, flops, log_n, loss, factor) for factor in DEVIATIONS)
    return Allocation(
        float(flops), float(params), float(tokens), loss, intervals, fit.level, deviations, law.name,
        (*told, *beyond(fit, float(params), float(tokens), flops), *fit.warnings),
        "" if fit.leading is None else fit.leading.reason,
    )  # fmt: skip


def _deviation(
    law: Law, params: Mapping[str, float], flops: float, log_n: float, best: float, factor: float
) -> Deviation:
    there = log_n + np.log(factor)
    loss = float(loss_along(law, params, there, flops))
    # The budget whose optimum has this loss, by bisection on its logarithm: the optimum falls as flops rise.
    low, high = np.log(flops) - 30.0, np.log(flops)
    for _ in range(80):
        middle = 0.5 * (low + high)
        budget = float(np.exp(middle))
        value = float(loss_along(law, params, optimum(law, params, budget), budget))
        low, high = (middle, high) if value > loss else (low, middle)
    n = float(np.exp(there))
    wasted = 1.0 - float(np.exp(high - np.log(flops)))
    return Deviation(factor, n, flops / FACTOR / n, loss, loss - best, wasted)
