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
# Of the search for a wasted budget: parts of a bracket, and rounds; 30 nats / 32^11 are less than rounding.
PARTS, ROUNDS = 32, 11


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
    deviations = _deviations(law, fit.params, flops, log_n, loss)
    return Allocation(
        float(flops), float(params), float(tokens), loss, intervals, fit.level, deviations, law.name,
        (*told, *beyond(fit, float(params), float(tokens), flops), *fit.warnings),
        "" if fit.leading is None else fit.leading.reason,
    )  # fmt: skip


def _deviations(
    law: Law, params: Mapping[str, float], flops: float, log_n: float, best: float
) -> tuple[Deviation, ...]:
    there = log_n + np.log(DEVIATIONS)
    losses = loss_along(law, params, there, flops)
    # The budgets whose optimum has these losses. The optimum falls as flops rise, so of a bracket cut into
    # parts the root lies beyond the last point above the loss.
    low, high = np.full(len(DEVIATIONS), np.log(flops) - 30.0), np.full(len(DEVIATIONS), np.log(flops))
    shares = np.linspace(0, 1, PARTS + 1)[:, None]
    for _ in range(ROUNDS):
        points = low + shares * (high - low)
        budgets = np.exp(points)
        above = loss_along(law, params, optimum(law, params, budgets), budgets) > losses
        after = np.where(above.any(axis=0), PARTS + 1 - np.argmax(above[::-1], axis=0), 0)
        low, high = (
            np.take_along_axis(points, np.clip(at, 0, PARTS)[None], axis=0)[0] for at in (after - 1, after)
        )
    wasted = 1.0 - np.exp(high - np.log(flops))
    sizes = np.exp(there)
    return tuple(
        Deviation(factor, float(n), float(flops / FACTOR / n), float(loss), float(loss - best), float(waste))
        for factor, n, loss, waste in zip(DEVIATIONS, sizes, losses, wasted, strict=True)
    )
