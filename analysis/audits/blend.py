"""Laws blended by their earlier forecasts, and how far they part: what a single law cannot say of itself.

A bootstrap knows how far a law's parameters may be off if its form is right. Laws that fit the runs alike and
part beyond them show how much the form matters, before any run is there to tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.laws.law import Law
from analysis.laws.repeated import loss_at

# Percent added to earlier errors, so that one which happens to be 0 does not take all the weight. On planted
# tables a millionth of it or four times as much makes the same errors
# (`python -m benchmarks.forecast_rules luck`).
LUCK = 0.1


@dataclass(frozen=True, eq=False)
class Blend:
    """Laws with their values and weights (of sum 1), the leading one first."""

    laws: tuple[tuple[Law, Mapping[str, float]], ...]
    weights: tuple[float, ...]

    def predict(self, inputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """(log loss, standard deviation of it among the laws), each (points,).

        A law whose prediction is no finite number somewhere says nothing there.
        """
        with np.errstate(all="ignore"):
            logs = np.stack([np.log(loss_at(law, values, inputs)) for law, values in self.laws])
        finite = np.isfinite(logs)
        weights = np.where(finite, np.array(self.weights)[:, None], 0.0)
        weights = weights / np.maximum(weights.sum(axis=0), 1e-300)
        logs = np.where(finite, logs, 0.0)
        middle = (weights * logs).sum(axis=0)
        apart = np.sqrt((weights * (logs - middle) ** 2).sum(axis=0))
        return np.where(finite.any(axis=0), middle, np.nan), apart


def weights_of(errors: Sequence[float | None]) -> tuple[float, ...]:
    """Weights by the inverse fourth power of earlier errors in percent.

    The inverse square (Bates and Granger 1969, for errors without a common bias) leaves laws that plainly
    failed a say in the point, and where they fail they tend to fail on one side.

    A law that could not be tried counts as the worst of those that were; all weigh alike without any.
    """
    known = [error for error in errors if error is not None]
    worst = max(known, default=0.0)
    raw = [((worst if error is None else error) + LUCK) ** -4.0 for error in errors]
    return tuple(one / sum(raw) for one in raw)


def about(
    blend: Blend, inputs: Mapping[str, np.ndarray], low: np.ndarray, high: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(loss, low, high): the interval of the leading law moved to the blend, and the laws' distance added.

    low, high: of the leading law, about its own prediction. The two sources are independent: their halves are
    added as squares, in logs.
    """
    from scipy.special import ndtri

    middle, apart = blend.predict(inputs)
    law, values = blend.laws[0]
    own = np.log(loss_at(law, values, inputs))
    form = float(ndtri(0.5 + level / 2)) * apart
    # An interval of skewed draws need not hold the estimate; an arm on the other side of it has no length.
    # An end that the table does not bound is 0 or infinite, and stays so.
    with np.errstate(divide="ignore"):
        arms = np.maximum([own - np.log(low), np.log(high) - own], 0.0)
    down, up = np.hypot(arms, form)
    return np.exp(middle), np.exp(middle - down), np.exp(middle + up)
