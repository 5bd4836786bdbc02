"""Weights from stated noise: what an evaluation's standard error says, and what it leaves out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from analysis.laws.law import Law
from analysis.notes import Note
from analysis.solve.objectives import Rho
from analysis.tables.sample import Sample

# The median of the absolute value of a standard normal.
MEDIAN = 0.6744897501960817


@dataclass(frozen=True)
class Stated:
    """What stated noise comes to, all relative to the loss. typical: the median row's, with what was added;
    added: the standard deviation that was added to every row's."""

    typical: float
    added: float

    def factor(self, error: np.ndarray, loss: np.ndarray) -> np.ndarray:
        """The noise of runs at `loss` with standard errors `error`, over the typical row's."""
        return np.hypot(error / loss, self.added) / self.typical


def weighted(rho: Rho, rows: Sample, law: Law, residual: np.ndarray) -> tuple[Rho, Stated, tuple[Note, ...]]:
    """The objective with each residual in units of its own noise (times the typical noise, so that Huber's
    corner keeps its meaning), what the noise is, and what to say about it.

    residual (n,) of the log loss, of an unweighted fit. A stated error rarely holds all noise: an evaluation
    error knows nothing of seeds. So one variance is added to all rows, the one with which the standardised
    residuals have the spread of a standard normal (Paule and Mandel 1982, with the median for outliers).
    """
    stated = rows.noise / rows.loss
    freedom = np.sqrt(len(rows) / max(len(rows) - len(law.names), 1))
    size = np.abs(residual) * freedom

    def spread(extra: float) -> float:
        return float(np.median(size / np.sqrt(stated**2 + extra)) / MEDIAN)

    extra = 0.0
    if spread(0.0) > 1:
        from scipy.optimize import brentq

        high = float((size.max() + stated.max()) ** 2)
        extra = float(brentq(lambda variance: spread(variance) - 1, 0.0, high, xtol=1e-300))
    total = np.sqrt(stated**2 + extra)
    typical = float(np.median(total))
    said = []
    if extra > np.median(stated) ** 2:
        text = (
            f"the residuals scatter by {100 * typical:.2g} % of the loss, the stated noise is "
            f"{100 * float(np.median(stated)):.2g} %: {100 * np.sqrt(extra):.2g} % was added to every row's"
        )
        said.append(Note("noise_understated", text))
    elif spread(0.0) < 0.5:
        text = f"the residuals scatter by {spread(0.0):.2g} of the stated noise only"
        said.append(Note("noise_overstated", text))
    unit = rows.loss if rho.raw else 1.0
    scale = total * unit
    noise = Stated(typical, float(np.sqrt(extra)))
    return replace(rho, scale=np.median(scale) / scale), noise, tuple(said)
