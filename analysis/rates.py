"""The best learning rate of each size, from runs over a grid of rates, and how it follows params and tokens.

A valley of loss over the logarithm of the rate is nearly a parabola at its bottom and far steeper on the
side of instability, so only the rates next to the lowest mean loss are fitted, and a minimum at the edge of
the grid is refused: a study that has not seen both sides of the valley knows no best rate. Published laws
disagree by more than an order of magnitude at small sizes (2503.04715, 2406.19146, 2401.02954, 2001.08361),
which is why the study's own is fitted.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from analysis.errors import InputError
from analysis.intervals.bootstrap import Interval
from analysis.notes import Excluded
from analysis.tables.table import Runs, as_runs

# Rates taken into the parabola on each side of the lowest: one, and another if its loss is this near to it.
NEIGHBOURS, NEAR = 2, 0.05
_SIZE = ("params", "tokens", "width", "layers", "batch_tokens")

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, eq=False)
class RateCurve:
    """One size and budget. rate, loss, runs (n,): by rising rate, the mean loss over seeds of how many runs.

    Exactly one of `best` and `refusal` is set. parabola: (c0, c1, c2) of loss in log2(rate / centre).
    """

    params: float
    tokens: float
    rate: np.ndarray
    loss: np.ndarray
    runs: np.ndarray
    lowest: float
    best: float | None
    best_loss: float | None
    interval: Interval | None
    refusal: str | None
    parabola: tuple[float, float, float] | None = None
    centre: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in vars(self).items()}


@dataclass(frozen=True)
class RateLaw:
    """rate = coefficient * params^params_exponent * tokens^tokens_exponent, by least squares in logarithms.

    The exponents' intervals are Student's t on the residuals, so they cover noise and misfit alike; None
    without a degree of freedom. tokens_exponent is None where the budgets do not vary apart from the sizes.
    """

    coefficient: float
    params_exponent: float
    tokens_exponent: float | None
    params_interval: Interval | None
    tokens_interval: Interval | None
    points: int

    def __call__(self, params: ArrayLike, tokens: ArrayLike = 1.0) -> np.ndarray:
        rate: np.ndarray = self.coefficient * np.asarray(params, float) ** self.params_exponent
        if self.tokens_exponent is not None:
            rate = rate * np.asarray(tokens, float) ** self.tokens_exponent
        return rate


@dataclass(frozen=True, eq=False)
class Rates:
    """Valleys of one grid and the law through their minima (None with fewer than two).

    drift_octaves: log2 of the largest best rate over the smallest: how many steps of a factor of two a rate
    tuned at one size would be wrong at another; None with fewer than two minima.
    """

    curves: tuple[RateCurve, ...]
    law: RateLaw | None
    drift_octaves: float | None
    level: float
    excluded: tuple[Excluded, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "law": None if self.law is None else asdict(self.law),
            "drift_octaves": self.drift_octaves,
            "level": self.level,
            "curves": [curve.to_dict() for curve in self.curves],
            "excluded": [row.to_dict() for row in self.excluded],
        }

    def to_frame(self) -> pandas.DataFrame:
        """A row for each valley, with the fields of `RateCurve` that are single values."""
        import pandas

        skipped = ("rate", "loss", "runs", "parabola")
        rows = [{k: v for k, v in vars(one).items() if k not in skipped} for one in self.curves]
        return pandas.DataFrame(rows)


def best_rates(runs: Any, level: float = 0.95, bootstrap: int = 2000, seed: int = 0) -> Rates:
    """Best learning rates of the sizes of one grid, with intervals at `level`, and their power law in params.

    runs: a table with columns `learning_rate`, `params`, `tokens` and `loss`; rows that are not ok are left
    out. bootstrap: draws of the scatter of seeds, what all rates of a seed have in common taken off, from
    which a best rate has its interval; without repeated seeds there is none. Raises InputError without rates
    or usable rows.
    """
    runs = as_runs(runs)
    rate, keep, excluded = usable(runs)
    if not keep.any():
        raise InputError(f"{runs.source}: no finished run with a learning rate above 0")
    loss, seeds = np.asarray(runs.columns["loss"], float), runs.columns.get("seed")
    params, tokens = (np.asarray(runs.columns[name], float) for name in ("params", "tokens"))
    rows = np.flatnonzero(keep)  # draws are dealt out in an order that is not the table's
    groups = [
        _Group(runs, own, rate, loss, None if seeds is None else np.asarray(seeds))
        for own in _by_size(runs, rows[np.lexsort((loss[rows], rate[rows], tokens[rows], params[rows]))])
    ]
    scatter = [group.residuals() for group in groups]
    freedom = sum(f for _, f in scatter)
    sd = float(np.sqrt(sum(s for s, _ in scatter) / freedom)) if freedom else None
    rng = np.random.default_rng(seed)
    curves = [group.curve(sd, level, bootstrap, rng) for group in groups]
    curves.sort(key=lambda curve: (curve.params, curve.tokens))
    best = np.array([curve.best for curve in curves if curve.best is not None])
    drift = float(np.log2(best.max() / best.min())) if len(best) > 1 else None
    return Rates(tuple(curves), _law(curves, level), drift, level, excluded)


def by_grid(runs: Any, **options: Any) -> dict[str, Rates]:
    """:func:`best_rates` of each grid that has at least three rates of a size; in order of appearance."""
    runs = as_runs(runs)
    names = runs.columns.get("grid")
    parts = (
        {"": runs} if names is None else {str(n): runs.where(grid=n) for n in dict.fromkeys(names.tolist())}
    )
    found = {}
    for name, part in parts.items():
        rate, keep, _ = usable(part, strict=False)
        if any(len(np.unique(rate[rows])) >= 3 for rows in _by_size(part, np.flatnonzero(keep))):
            found[name] = best_rates(part, **options)
    return found


def bottom(mean: np.ndarray) -> np.ndarray:
    """Which rates, of mean losses (n,) by rising rate, lie where a valley is nearly a parabola: indices."""
    low = int(np.argmin(mean))
    away = np.abs(np.arange(len(mean)) - low)
    near = mean <= (1 + NEAR) * mean[low]
    return np.flatnonzero((away <= 1) | (near & (away <= NEIGHBOURS)))


def usable(runs: Runs, strict: bool = True) -> tuple[np.ndarray, np.ndarray, tuple[Excluded, ...]]:
    """(rates (rows,), which rows count, the others with their reasons). Raises InputError without rates."""
    if "learning_rate" not in runs.columns:
        if not strict:
            return np.zeros(len(runs)), np.zeros(len(runs), bool), ()
        there = ", ".join(list(runs.columns)[:20]) or "none"
        raise InputError(f"{runs.source}: no column learning_rate; its columns are {there}")
    rate = np.asarray(runs.columns["learning_rate"], float)
    loss, status = np.asarray(runs.columns["loss"], float), runs.role("status")
    fine = np.full(len(runs), True) if status is None else np.asarray(status) == "ok"
    keep = fine & np.isfinite(loss) & (rate > 0) & np.isfinite(rate)
    reasons = [
        Excluded(
            int(row),
            "no loss or no rate"
            if status is None or fine[row]
            else f"status is {str(status[row])!r}, not 'ok'",
        )
        for row in np.flatnonzero(~keep)
    ]
    return rate, keep, tuple(reasons)


def _by_size(runs: Runs, rows: np.ndarray) -> list[np.ndarray]:
    names = [name for name in _SIZE if name in runs.columns]
    keys: dict[tuple, list[int]] = {}
    for row in rows.tolist():
        keys.setdefault(tuple(str(runs.columns[name][row]) for name in names), []).append(row)
    return [np.array(found) for found in keys.values()]


class _Group:
    """Runs of one size: mean losses by rate, their scatter, and the bottom of the valley."""

    def __init__(
        self,
        runs: Runs,
        rows: np.ndarray,
        rate: np.ndarray,
        loss: np.ndarray,
        seeds: np.ndarray | None,
    ):
        self.params, self.tokens = (float(runs.columns[name][rows[0]]) for name in ("params", "tokens"))
        self.rate, at = np.unique(rate[rows], return_inverse=True)
        self.count = np.bincount(at)
        self.mean = np.bincount(at, loss[rows]) / self.count
        self.at, self.loss = at, loss[rows]
        self.seed = None if seeds is None else np.unique(seeds[rows], return_inverse=True)[1]
        self.low = int(np.argmin(self.mean))
        self.window = bottom(self.mean)

    def residuals(self) -> tuple[float, int]:
        """(sum of squares, degrees of freedom) near the bottom, after means of rates and effects of seeds."""
        if self.seed is None:
            return 0.0, 0
        near = np.isin(self.at, self.window)
        at, seed, loss = self.at[near], self.seed[near], self.loss[near]
        basis = np.concatenate([np.eye(at.max() + 1)[at], np.eye(seed.max() + 1)[seed]], axis=1)
        rank = np.linalg.matrix_rank(basis)
        left = loss - basis @ np.linalg.lstsq(basis, loss, rcond=None)[0]
        return float(left @ left), len(loss) - int(rank)

    def curve(self, sd: float | None, level: float, draws: int, rng: np.random.Generator) -> RateCurve:
        fixed = (self.params, self.tokens, self.rate, self.mean, self.count, float(self.rate[self.low]))
        if len(self.rate) < 3:
            return RateCurve(*fixed, None, None, None, f"{len(self.rate)} rates, a valley needs 3")
        for at, side in ((0, "smallest"), (len(self.rate) - 1, "largest")):
            if self.low == at:
                return RateCurve(*fixed, None, None, None, f"the lowest loss is at the {side} rate")
        centre = self.rate[self.low]
        x = np.log2(self.rate[self.window] / centre)
        c = _parabola(x, self.mean[self.window], self.count[self.window])
        vertex = _vertex(c[None], x)[0]
        if not np.isfinite(vertex):
            return RateCurve(*fixed, None, None, None, "the losses near the lowest have no valley")
        interval = None
        if sd:
            noise = rng.standard_normal((draws, len(x))) * sd / np.sqrt(self.count[self.window])
            drawn = _vertex(_parabola(x, self.mean[self.window] + noise, self.count[self.window]), x)
            # a draw without a valley inside lies beyond one of the ends, and which one is not known
            low = np.quantile(np.where(np.isfinite(drawn), drawn, x.min()), (1 - level) / 2)
            high = np.quantile(np.where(np.isfinite(drawn), drawn, x.max()), (1 + level) / 2)
            interval = (float(centre * 2**low), float(centre * 2**high))
        best_loss = float(np.polynomial.polynomial.polyval(vertex, c))
        return RateCurve(
            *fixed, float(centre * 2**vertex), best_loss, interval, None, tuple(c.tolist()), float(centre)
        )


def _parabola(x: np.ndarray, y: np.ndarray, count: np.ndarray) -> np.ndarray:
    """(..., 3) of losses (..., n), each weighted by its number of runs; lowest order first."""
    root = np.sqrt(count)[:, None]
    solve = np.linalg.pinv(root * x[:, None] ** np.arange(3)) * root.T
    return y @ solve.T


def _vertex(c: np.ndarray, x: np.ndarray) -> np.ndarray:
    """x of the minimum of parabolas (B, 3); NaN where there is none within the fitted x."""
    with np.errstate(all="ignore"):
        at = np.where(c[:, 2] > 0, -c[:, 1] / (2 * c[:, 2]), np.nan)
    return np.where((at > x.min()) & (at < x.max()), at, np.nan)


def _law(curves: list[RateCurve], level: float) -> RateLaw | None:
    found = [curve for curve in curves if curve.best is not None]
    params, tokens, best = (
        np.log([getattr(curve, name) for curve in found]) for name in ("params", "tokens", "best")
    )
    if len(np.unique(params)) < 2:
        return None
    basis = np.stack([np.ones_like(params), params, tokens], axis=1)
    if np.linalg.matrix_rank(basis - [0, params.mean(), tokens.mean()], tol=1e-8) < 3:
        basis = basis[:, :2]
    theta = np.linalg.lstsq(basis, best, rcond=None)[0]
    freedom = len(best) - basis.shape[1]
    intervals: list[Interval | None] = [None, None, None]
    if freedom > 0:
        from scipy.special import stdtrit

        left = best - basis @ theta
        spread = np.sqrt(np.diag(np.linalg.inv(basis.T @ basis)) * (left @ left) / freedom)
        reach = spread * stdtrit(freedom, (1 + level) / 2)
        intervals = [(float(a - r), float(a + r)) for a, r in zip(theta, reach, strict=True)]
    both = len(theta) == 3
    return RateLaw(
        float(np.exp(theta[0])),
        float(theta[1]),
        float(theta[2]) if both else None,
        intervals[1],
        intervals[2] if both else None,
        len(best),
    )
