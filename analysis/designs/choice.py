"""Which candidates to take: those that leave the least variance of the target for what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

from analysis.designs.outlook import Outlook

_ROUNDS = 20  # of exchanges; each round strictly narrows, and two or three are enough
_FEWEST = 1e-12


@dataclass(frozen=True, eq=False)
class Shared:
    """Stretches that some candidates need together, as of a trunk. number (m,): of what they share, -1 for
    nothing; end, begin (m,): up to where each needs it, and from where it is not there yet, in cost. Those of
    one number pay once, from the first beginning to the last end."""

    number: np.ndarray
    end: np.ndarray
    begin: np.ndarray | float = 0.0

    def of(self, chosen: Sequence[int]) -> float:
        low, high = self._span(chosen)
        return float(np.maximum(high - low, 0.0).sum())

    def more(self, chosen: Sequence[int]) -> np.ndarray:
        """(m,): what each candidate would add."""
        low, high = (one[self.number] for one in self._span(chosen))
        begin, end, needs = self._needs()
        longer = np.maximum(np.maximum(high, end) - np.minimum(low, begin), 0.0)
        return np.where(needs, longer - np.maximum(high - low, 0.0), 0.0)

    def _needs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        begin = np.broadcast_to(self.begin, self.end.shape)
        return begin, self.end, (self.number >= 0) & (self.end > begin)

    def _span(self, chosen: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """By number: the first beginning and the last end that the chosen need."""
        begin, end, needs = self._needs()
        some = np.asarray(chosen, int)
        some = some[needs[some]]
        count = int(self.number.max(initial=-1)) + 2  # the last is that of -1
        low, high = np.full(count, np.inf), np.full(count, -np.inf)
        np.minimum.at(low, self.number[some], begin[some])
        np.maximum.at(high, self.number[some], end[some])
        return low, high


@dataclass(frozen=True, eq=False)
class Costs:
    """What candidates cost, in one unit. own (m,): of each alone, as its cooldown and its evaluation; shared:
    trunks up to their furthest branch, programs that are compiled once."""

    own: np.ndarray
    shared: tuple[Shared, ...] = ()

    def of(self, chosen: Sequence[int]) -> float:
        return float(self.own[np.asarray(chosen, int)].sum()) + sum(one.of(chosen) for one in self.shared)

    def more(self, chosen: Sequence[int]) -> np.ndarray:
        """(m,): what each candidate adds to those chosen."""
        return self.own + sum(one.more(chosen) for one in self.shared)


@dataclass(frozen=True)
class Choice:
    """Candidates in the order in which they narrow most; variances: of the target before any, and after each;
    spent: the cost after each."""

    chosen: tuple[int, ...]
    variances: tuple[float, ...]
    spent: tuple[float, ...]

    @property
    def narrowing(self) -> float:
        """The part of the interval's width that goes."""
        return 1.0 - float(np.sqrt(self.variances[-1] / max(self.variances[0], _FEWEST)))


def choose(
    ahead: Outlook, costs: Costs, budget: float, most: int, together: np.ndarray | None = None
) -> Choice:
    """At most `most` candidates of at most `budget`: the variance they leave is what is minimised.

    together (m,): numbers of groups of which one candidate alone tells little and two much, as two rates of a
    size that has no run; the best two of a group are then another beginning.
    Greedy by narrowing for the cost and greedy by narrowing alone (Leskovec et al. 2007, KDD: the better of
    both is never far from the best), each then improved by exchanging one for another (Fedorov 1972) and by
    adding what still can be paid.
    """
    found: list[int] = []
    begun = [[]] if together is None or most < 2 else [[], *_pairs(ahead, costs, budget, together)]
    for start, by_cost in product(begun, (True, False)):
        trial = _exchanged(_greedy(ahead, costs, budget, most, start, by_cost), ahead, costs, budget, most)
        if not found or ahead.variance(trial) < ahead.variance(found) * (1 - 1e-9):
            found = trial
    return ordered(found, ahead, costs)


def ordered(chosen: Sequence[int], ahead: Outlook, costs: Costs) -> Choice:
    """The chosen, each next one that which narrows most for what it adds to the cost."""
    left, done = list(chosen), []
    variances, spent = [ahead.variance()], []
    while left:
        more = costs.more(done)
        gains = [(variances[-1] - ahead.variance([*done, one])) / more[one] for one in left]
        done.append(left.pop(int(np.argmax(gains))))
        variances.append(ahead.variance(done))
        spent.append(costs.of(done))
    return Choice(tuple(done), tuple(variances), tuple(spent))


def _greedy(ahead, costs, budget: float, most: int, chosen: Sequence[int], by_cost: bool) -> list[int]:
    found = list(chosen)
    matrix = _given(ahead.covariance, found)
    while len(found) < most:
        more = costs.more(found)
        gains = _gains(matrix)
        gains[found] = -1.0
        gains[costs.of(found) + more > budget * (1 + 1e-9)] = -1.0
        scores = gains / more if by_cost else gains
        best = int(np.argmax(scores))
        if gains[best] <= _FEWEST * matrix[0, 0]:
            break
        found.append(best)
        matrix = _without(matrix, best)
    return found


def _pairs(ahead: Outlook, costs: Costs, budget: float, together: np.ndarray) -> list[list[int]]:
    """The two of a group that narrow most for the cost, and that narrow most; of those that can be paid."""
    pairs = [
        pair
        for number in np.unique(together)
        for pair in combinations(np.flatnonzero(together == number).tolist(), 2)
        if costs.of(pair) <= budget * (1 + 1e-9)
    ]
    if not pairs:
        return []
    gains = ahead.variance() - np.array([ahead.variance(pair) for pair in pairs])
    best = gains / [costs.of(pair) for pair in pairs], gains
    return [list(pairs[int(np.argmax(one))]) for one in best]


def _exchanged(chosen: list[int], ahead, costs, budget: float, most: int) -> list[int]:
    found, now = list(chosen), ahead.variance(chosen)
    for _ in range(_ROUNDS):
        before = now
        for out in list(found):
            rest = [one for one in found if one != out]
            gains = _gains(_given(ahead.covariance, rest))
            gains[rest] = -1.0
            gains[costs.of(rest) + costs.more(rest) > budget * (1 + 1e-9)] = -1.0
            best = int(np.argmax(gains))
            trial = _greedy(ahead, costs, budget, most, [*rest, best], True) if gains[best] > 0 else rest
            after = ahead.variance(trial)
            if after < now * (1 - 1e-9):
                found, now = trial, after
        if now >= before * (1 - 1e-9):
            break
    return found


def _gains(matrix: np.ndarray) -> np.ndarray:
    """(m,): by how much each candidate lowers the variance of the target, given what is conditioned on."""
    own = np.maximum(np.diag(matrix)[1:], 1e-300)
    return matrix[0, 1:] ** 2 / own


def _given(matrix: np.ndarray, chosen: Sequence[int]) -> np.ndarray:
    """The covariance of all after the chosen are known."""
    for index in chosen:
        matrix = _without(matrix, index)
    return matrix


def _without(matrix: np.ndarray, index: int) -> np.ndarray:
    column = matrix[1 + index]
    left = matrix - np.outer(column, column) / max(column[1 + index], 1e-300)
    # What is known has no variance left; rounding may not give it some.
    left[1 + index] = left[:, 1 + index] = 0.0
    return left
