"""The best learning rate of a size as a target: what runs at several rates and sizes say of it, and what more
of them would.

Near the bottom of a valley log loss = level + curvature (log rate - best)^2, with a level of its own for
each size, budget and seed, one curvature, and a best rate that is a power of size, and of tokens where
budgets vary. That is linear in levels, curvature and curvature times best, so the best rate is a ratio of two
numbers that least squares gives, and its interval is Fieller's (1954), exact for scatter that is normal. The
scatter is estimated, misfit included, so that few rows have wide intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import fdtrc, stdtrit

from analysis.designs.outlook import Outlook, known_after
from analysis.errors import InputError
from analysis.rates import NEAR, bottom

_SIGMAS = 1.959963984540054
_LOOSE = 10.0  # what is believed before any run, in logs
# By how much levels of log loss part from a power of size and tokens: how little a first run at a size tells.
_LEVELS = 0.05
_VARIES = 0.1  # by how much the logs of sizes, or budgets, must scatter to say anything of a power
_PLACES = ("size", "tokens", "rate", "seed")
_SAME = 0.01  # logs of sizes, budgets and rates that differ by less are one


@dataclass(frozen=True, eq=False)
class RateRuns:
    """Runs, each (n,): size, tokens, learning rate, seed and log loss; names of the sizes, for words."""

    size: np.ndarray
    tokens: np.ndarray
    rate: np.ndarray
    seed: np.ndarray
    log_loss: np.ndarray
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.size)

    def where(self, keep: np.ndarray) -> RateRuns:
        some = (getattr(self, name)[keep] for name in (*_PLACES, "log_loss"))
        return RateRuns(*some, [name for name, keeps in zip(self.names, keep, strict=True) if keeps])


@dataclass(frozen=True, eq=False)
class BestRate:
    """The best rate at a size, and how it came.

    value, interval: natural logs of the best rate and its ends at `level`; curvature: of log loss over the
    square of log rate; power, tokens_power: of the best rate, None where one size or budget says nothing of
    it; scatter: of a run, in log loss, by `freedom` degrees. at: (size, tokens) it is of; used: the runs near
    the bottom of their valleys; by_seed: each seed has a level of its own; said: what else should be known.
    """

    value: float
    interval: tuple[float, float]
    level: float
    curvature: float
    power: float | None
    tokens_power: float | None
    scatter: float
    freedom: int
    at: tuple[float, float]
    used: RateRuns
    by_seed: bool
    said: tuple[str, ...] = ()

    def of(self, size: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Logs of the best rates of other sizes and budgets."""
        away = (self.power or 0.0) * np.log(np.asarray(size, float) / self.at[0])
        return self.value + away + (self.tokens_power or 0.0) * np.log(np.asarray(tokens, float) / self.at[1])

    def valleys(self, runs: RateRuns) -> np.ndarray:
        """(n,): the number of the valley of each run, of one level."""
        return numbered(runs.size, runs.tokens, *([runs.seed] if self.by_seed else []))

    @property
    def reach(self) -> float:
        """By how much the log of a rate may be off where the parabola still holds."""
        return float(np.sqrt(np.log1p(NEAR) / self.curvature))


def best_rate(runs: RateRuns, at: tuple[float, float], level: float = 0.95) -> BestRate:
    """The best rate of a size and budget, which need not have runs.

    at: (size, tokens); the tokens count only where budgets vary apart from the sizes. Raises InputError where
    none can be stated.
    """
    used, said = _near_the_bottom(runs)
    each = numbered(used.size, used.tokens, used.seed)
    # Where a seed has one run it has no valley of its own, and what seeds differ by counts as scatter.
    by_seed = bool((np.bincount(each) >= 2).all())
    group = each if by_seed else numbered(used.size, used.tokens)
    middle = float(np.log(used.rate).mean())
    x = np.log(used.rate) - middle
    basis = np.column_stack([np.eye(group.max() + 1)[group], x, np.square(x)])
    slope, bend = basis.shape[1] - 2, basis.shape[1] - 1
    powers: list[int | None] = []
    for values, place in zip((used.size, used.tokens), at, strict=True):
        column = x * np.log(values / place)
        varies = np.linalg.norm(_left(basis, column)) > _VARIES * np.linalg.norm(_left(basis[:, :slope], x))
        powers.append(basis.shape[1] if varies else None)
        basis = np.column_stack([basis, column]) if varies else basis
    if powers[0] is None and not np.allclose(np.log(used.size / at[0]), 0, atol=_SAME):
        raise InputError(
            f"the runs are of one size, {used.names[0]}, which says nothing of the best rate of another"
        )
    usual, off = usual_tokens(runs)
    if powers[1] is None and abs(np.log(at[1] / usual(at[0]))) > max(_VARIES, off):
        raise InputError(
            f"the runs' budgets do not vary apart from their sizes, which says nothing of the best rate at "
            f"{at[1]:.4g} tokens; theirs at that size are {float(usual(at[0])):.4g}"
        )
    left = _left(basis, used.log_loss)
    freedom = len(used) - int(np.linalg.matrix_rank(basis))
    if freedom < 1:
        raise InputError(
            f"{len(used)} runs near the bottom of their valleys leave no degree of freedom to tell their "
            "scatter; add a rate at one of the sizes"
        )
    scatter = max(float(np.sqrt(left @ left / freedom)), 1e-6)
    found = np.linalg.lstsq(basis, used.log_loss, rcond=None)[0]
    spread = scatter**2 * np.linalg.pinv(basis.T @ basis)
    if found[bend] <= 0:
        raise InputError(
            "the losses open downward over the log of the rate: rates on both sides of the best lack"
        )
    reach = float(stdtrit(freedom, (1 + level) / 2))
    ends = _fieller(found[slope], found[bend], spread[np.ix_([slope, bend], [slope, bend])], reach)
    if ends is None:
        raise InputError(
            f"the valleys are flatter than a scatter of {scatter:.2%} lets tell: rates further apart, or "
            "more of them, are needed at one of the sizes"
        )
    best = middle - found[slope] / (2 * found[bend])
    of_size, of_tokens = (None if one is None else float(-found[one] / (2 * found[bend])) for one in powers)
    return BestRate(
        float(best),
        (middle + ends[0], middle + ends[1]),
        level,
        float(found[bend]),
        of_size,
        of_tokens,
        scatter,
        freedom,
        at,
        used,
        by_seed,
        (*said, *_parting(used, basis, x), *_beyond(runs, at, float(np.exp(best)))),
    )


def usual_tokens(runs: RateRuns) -> tuple[Callable[[ArrayLike], np.ndarray], float]:
    """The tokens that go with a size: a power of it where budgets follow sizes, as those of a ladder, and the
    one budget where there is but one; else the most of any run. And how far off that is in logs, at most."""
    size, tokens = np.log(runs.size), np.log(runs.tokens)
    most = float(runs.tokens.max())
    if np.ptp(size) > _SAME and np.ptp(tokens) > _SAME:  # else whole steps of one budget, or of one size
        power, level = (float(one) for one in np.polyfit(size, tokens, 1))
        off = float(np.abs(tokens - level - power * size).max())
        if off <= _VARIES:
            return lambda size: _own(runs, np.exp(level + power * np.log(np.asarray(size, float)))), off
    return lambda size: np.full(np.shape(size), most), float(np.ptp(tokens))


def _own(runs: RateRuns, tokens: np.ndarray) -> np.ndarray:
    """Each budget, or the nearest one of a run where that is the same but for whole steps."""
    every = np.unique(runs.tokens)
    nearest = every[np.abs(np.log(every / tokens[..., None])).argmin(axis=-1)]
    return np.where(np.abs(np.log(nearest / tokens)) <= _VARIES, nearest, tokens)


def rate_outlook(found: BestRate, ahead: RateRuns) -> Outlook:
    """What the runs `ahead`, whose losses nobody knows, would tell of the log of the best rate."""
    parts = [np.concatenate([getattr(found.used, name), getattr(ahead, name)]) for name in _PLACES]
    size, tokens, rate, seed = parts
    away = np.log(size / found.at[0]), np.log(tokens / found.at[1])
    off = np.log(rate) - found.of(size, tokens)
    columns = [np.ones_like(off), *away, np.square(off), -2 * found.curvature * off]
    known = (found.power is not None, found.tokens_power is not None)
    columns += [columns[4] * one for one, varies in zip(away, known, strict=True) if varies]
    group = numbered(size, tokens, *([seed] if found.by_seed else []))
    spread = found.scatter**2 * np.eye(len(off)) + _LEVELS**2 * (group[:, None] == group)
    gradient = np.zeros(len(columns))
    gradient[4] = 1.0
    slopes = np.stack(columns, axis=1)
    seen = known_after(_LOOSE * slopes, _LOOSE * gradient, spread, len(found.used))
    # The interval now is Fieller's, which knows how few rows there are: its width is the measure.
    scale = (found.interval[1] - found.interval[0]) / (2 * _SIGMAS) / float(np.sqrt(seen[0, 0]))
    return Outlook(seen, found.value / scale, float(seen[0, 0]), 0.0).scaled(scale)


def numbered(*columns: np.ndarray) -> np.ndarray:
    """The number of each row's place."""
    return np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)[1].ravel()


def _near_the_bottom(runs: RateRuns) -> tuple[RateRuns, list[str]]:
    """The runs that a parabola holds for, and what is to be said of single sizes. Raises InputError."""
    keep, said, most = np.zeros(len(runs), bool), [], 0
    place = numbered(runs.size, runs.tokens)
    for number in range(place.max() + 1):
        rows = np.flatnonzero(place == number)
        _, at = np.unique(runs.rate[rows], return_inverse=True)
        mean = np.bincount(at, np.exp(runs.log_loss[rows])) / np.bincount(at)
        keep[rows] = np.isin(at, bottom(mean))
        most = max(most, len(mean))
        name = runs.names[rows[0]]
        if len(mean) < 3:
            said.append(
                f"{name}: {len(mean)} {'rate' if len(mean) == 1 else 'rates'}, a valley of its own needs 3"
            )
        elif np.argmin(mean) in (0, len(mean) - 1):
            side = "smallest" if np.argmin(mean) == 0 else "largest"
            said.append(f"{name}: the lowest loss is at the {side} rate")
    if most < 3:
        raise InputError(f"no size has three learning rates, which a valley needs; the most is {most}")
    return runs.where(keep), said


def _left(basis: np.ndarray, values: np.ndarray) -> np.ndarray:
    return values - basis @ np.linalg.lstsq(basis, values, rcond=None)[0]


def _fieller(slope: float, bend: float, spread: np.ndarray, reach: float) -> tuple[float, float] | None:
    """All z at which slope + 2 bend z may be 0, from their covariance (2, 2); None where that has no end."""
    a = 4 * (bend**2 - reach**2 * spread[1, 1])
    b = 4 * (slope * bend - reach**2 * spread[0, 1])
    c = slope**2 - reach**2 * spread[0, 0]
    inner = b * b - 4 * a * c
    if a <= 0 or inner < 0:
        return None
    half = float(np.sqrt(inner))
    return (-b - half) / (2 * a), (-b + half) / (2 * a)


def _parting(used: RateRuns, basis: np.ndarray, x: np.ndarray) -> list[str]:
    """Whether best rates of the sizes lie off their power by more than runs scatter, by an F test at 1 %."""
    sizes = numbered(used.size)
    free = np.column_stack([basis, np.eye(sizes.max() + 1)[sizes] * x[:, None]])
    ranks = [int(np.linalg.matrix_rank(one)) for one in (basis, free)]
    more, freedom = ranks[1] - ranks[0], len(x) - ranks[1]
    if more < 1 or freedom < 1:
        return []
    rest, better = (float(np.square(_left(one, used.log_loss)).sum()) for one in (basis, free))
    excess = max(rest - better, 0.0) / more / max(better / freedom, 1e-12)
    if fdtrc(more, freedom, excess) > 0.01:
        return []
    return [
        "the best rates of the sizes part from a power of size by more than runs scatter: the interval is "
        "too narrow"
    ]


def _beyond(runs: RateRuns, at: tuple[float, float], best: float) -> list[str]:
    """What stands against a best rate at a place that has runs beside it, or none."""
    there = np.abs(np.log(runs.size / at[0])) < _SAME
    if not there.any():
        return ["no run is of this size: its best rate is by the power of size alone"]
    low, high = runs.rate[there].min(), runs.rate[there].max()
    if low <= best <= high:
        return []
    side = "below" if best < low else "above"
    name = runs.names[int(np.argmax(there))]
    return [f"{name}: the best rate lies {side} all that were tried, {low:.3g} to {high:.3g}"]
