"""The quick search: few starts and what is known from a part of the rows, without walks across kinks.

For fits that are only scored, never shown: what a search of every valley may gain there is a part in a
thousand of the objective, and moves a prediction by a fraction of the runs' scatter.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from analysis.laws.law import Law
from analysis.solve.estimator import Optimum, minimise
from analysis.solve.objectives import Rho
from analysis.solve.search import distinct_optima
from analysis.solve.starts import starts

STARTS, STEPS, KEPT = 6, 40, 2
# Of the typical residual: a corner there is smooth, and loses nothing of what the rows tell.
CORNER = 0.5


def nearby(law: Law, x: np.ndarray, target: np.ndarray, rho: Rho, known: np.ndarray) -> Optimum:
    """Optima from few starts and from `known` (K, P). x (inputs, n), target (n,): see `estimator.minimise`.

    A robust objective is taken at a corner of half the typical residual or at its own, whichever is wider:
    its valleys without its kinks.
    """
    begin = np.concatenate([known, starts(law, x, target, rho, keep=STARTS)])
    smooth = rho
    if rho.name in ("huber", "l1"):
        with np.errstate(all="ignore"):
            sizes = np.median(np.abs(rho.residual(target, law.log_loss(begin, x))), axis=1)
        typical = float(np.nanmin(np.where(np.isfinite(sizes), sizes, np.nan), initial=np.inf))
        corner = CORNER * typical if np.isfinite(typical) else 0.0
        smooth = replace(rho, name="huber", delta=max(corner, rho.delta if rho.name == "huber" else 1e-9))
    pool = minimise(law, x, target, smooth, begin, steps=STEPS, tolerance=1e-9)
    leading = distinct_optima(pool, KEPT) or [0]
    return minimise(law, x, target, smooth, pool.theta[leading], steps=2 * STEPS, direct=True, tolerance=1e-9)
