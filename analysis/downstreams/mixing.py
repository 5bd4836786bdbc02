"""Ways mixed by their earlier forecasts, and the interval of what they say together.

No way is chosen: which one wins among four forecasts of a few runs is luck, and where the ways part at the
next scale their distance is part of what is not known. Everything happens in log-odds, where a score near its
floor or at its top has as far to go as one in the middle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.audits.misses import Misses, widening
from analysis.downstreams.fitting import Fitted, draws_of, fit_way, losses_of
from analysis.errors import InputError
from analysis.tables.sample import Sample

# The fitted runs' own last stretches of compute that play the future, beside their largest size.
FACTORS = (5.0, 3.0, 2.0)
# Fewer runs than this determine no loss law with room to spare.
FEWEST = 5
# Errors below this, in units of the score, are chance among a few cells, and prefer no way.
LUCK = 0.002
# Ways that would weigh less are left out, and the draws spent on the others.
LIGHT = 0.02
# A window of the largest size alone may reach no further in compute than the runs below it.
NEAREST = 1.35
EDGE = 1e-3


def log_odds(score) -> np.ndarray:
    score = np.clip(score, EDGE, 1 - EDGE)
    return np.log(score / (1 - score))


def share(odds) -> np.ndarray:
    return 1 / (1 + np.exp(-np.asarray(odds, float)))


@dataclass(frozen=True, eq=False)
class Part:
    """A way in the mixture, its weight, and its draws (empty without a bootstrap)."""

    fitted: Fitted
    weight: float
    draws: Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Mixture:
    """The parts by falling weight; misses: of its earlier forecasts, in standard deviations as `_spread` has
    them; top: the largest fitted params x tokens."""

    parts: tuple[Part, ...]
    misses: Misses
    top: float

    def predict(self, params, tokens) -> np.ndarray:
        """The weighted mean of the ways' log-odds, as a score."""
        return share(_middle([(p.fitted, p.weight) for p in self.parts], params, tokens)[0])

    def interval(self, params, tokens, level: float, new_run: bool = True, seed: int = 0):
        """(low, high): the draws of all ways in proportion to their weights, stretched to what was missed.

        Each way's draws stand about its own prediction, so that the ways' distance from each other is in the
        interval. Earlier misses are taken to each run's distance as those of losses are (`misses`).
        """
        middle, apart = _middle([(p.fitted, p.weight) for p in self.parts], params, tokens)
        rng = np.random.default_rng(seed)
        total = len(next(iter(self.parts[0].draws.values())))
        values = []
        for part in self.parts:
            count = max(1, round(part.weight * total))
            draws = {k: v[:count].reshape(-1, *(1,) * middle.ndim) for k, v in part.draws.items()}
            drawn = part.fitted.scores(draws, params, tokens)
            if new_run:
                drawn = drawn + rng.choice(part.fitted.noise, size=drawn.shape)
            values.append(log_odds(drawn))
        tails = [50 * (1 - level), 50 * (1 + level)]
        low, high = np.nanpercentile(np.concatenate(values), tails, axis=0)
        if self.misses.distances:
            noise = sum(p.weight * _size(p.fitted.noise) for p in self.parts)
            unit = _spread(middle, apart, noise if new_run else 0.0)
            distance = np.asarray(params, float) * np.asarray(tokens, float) / self.top
            factor = np.vectorize(lambda far: widening(self.misses, level, far), otypes=[float])(distance)
            low, high = np.minimum(low, middle - factor * unit), np.maximum(high, middle + factor * unit)
        return share(low), share(high)


def _middle(parts: Sequence[tuple[Fitted, float]], params, tokens) -> tuple[np.ndarray, np.ndarray]:
    """(weighted mean, standard deviation among the ways) of the log-odds."""
    odds = np.stack([log_odds(fitted.scores(fitted.params, params, tokens)) for fitted, _ in parts])
    weights = np.array([weight for _, weight in parts]).reshape(-1, *(1,) * (odds.ndim - 1))
    middle = (weights * odds).sum(axis=0)
    return middle, np.sqrt((weights * (odds - middle) ** 2).sum(axis=0))


def _size(noise: np.ndarray) -> float:
    return float(np.sqrt(np.mean(noise**2)))


def _spread(middle, apart, noise: float) -> np.ndarray:
    """One standard deviation of a run in log-odds: its noise, and what the ways differ by."""
    score = share(middle)
    return np.sqrt((noise / np.maximum(score * (1 - score), 0.02)) ** 2 + apart**2)


@dataclass(frozen=True, eq=False)
class Window:
    """Ways fitted to the runs below a limit, and their errors beyond it, in units of the score."""

    fitted: Mapping[str, Fitted]
    later: Sample
    measured: np.ndarray
    reach: float

    def error(self, name: str) -> float:
        predicted = self.fitted[name]
        places = (self.later.inputs["params"], self.later.inputs["tokens"])
        return float(np.abs(predicted.scores(predicted.params, *places) - self.measured).mean())


def windows(rows: Sample, score: np.ndarray, names: Sequence[str], chance, source: str) -> list[Window]:
    """Forecasts within `rows`: of the last stretches of compute, and of the largest size, each mask once."""
    params, flops = rows.inputs["params"], rows.inputs["params"] * rows.inputs["tokens"]
    sizes = np.unique(params)
    masks = [flops > flops.max() / factor for factor in FACTORS]
    masks += [params > sizes[-2] * 1.001] if len(sizes) > 2 else []
    seen: set[bytes] = set()
    out = []
    for late in masks:
        if late.tobytes() in seen or (~late).sum() < FEWEST:
            continue
        seen.add(late.tobytes())
        early = rows.where(~late)
        try:
            losses = losses_of(early, source)
        except InputError:
            continue
        fitted = {}
        for name in names:
            try:
                fitted[name] = fit_way(name, early, score[~late], chance, source, losses)
            except InputError:
                continue
        if fitted:
            reach = max(float(flops[late].max() / flops[~late].max()), NEAREST)
            out.append(Window(fitted, rows.where(late), score[late], reach))
    return out


def earlier_errors(found: Sequence[Window], names: Sequence[str]) -> dict[str, float | None]:
    """Mean error of each way over the windows that it could be fitted to."""
    every = {name: [w.error(name) for w in found if name in w.fitted] for name in names}
    return {name: float(np.mean(errors)) if errors else None for name, errors in every.items()}


def weights_of(errors: Mapping[str, float | None]) -> dict[str, float]:
    """Weights by the inverse of earlier errors; alike without any.

    A way that could not be tried where others were counts as the worst of them. Weights closer to equal than
    those of Bates and Granger (1969, the inverse square) because the errors come from few runs: flat weights
    forecast better as a rule (Stock and Watson 2004).
    """
    known = [error for error in errors.values() if error is not None]
    worst = max(known, default=0.0)
    size = {name: (worst if error is None else error) + LUCK for name, error in errors.items()}
    raw = {name: 1 / one for name, one in size.items()}
    total = sum(raw.values())
    heavy = {name: value / total for name, value in raw.items() if value / total >= LIGHT}
    return {name: value / sum(heavy.values()) for name, value in heavy.items()}


def mixed(
    fitted: Mapping[str, Fitted],
    weights: Mapping[str, float],
    found: Sequence[Window],
    rows: Sample,
    draws: int,
    seed: int,
) -> Mixture:
    """The mixture with its draws (all of them for the heaviest way, whose parameters are shown)."""
    order = sorted(weights, key=weights.__getitem__, reverse=True)
    parts = []
    for place, name in enumerate(order):
        count = draws if place == 0 else max(1, round(weights[name] * draws)) if draws else 0
        parts.append(Part(fitted[name], weights[name], draws_of(fitted[name], rows, count, seed)))
    top = float((rows.inputs["params"] * rows.inputs["tokens"]).max())
    return Mixture(tuple(parts), _misses(found, weights), top)


def _misses(found: Sequence[Window], weights: Mapping[str, float]) -> Misses:
    scores, window, reach = [], [], []
    for one in found:
        parts = [(fitted, weights[name]) for name, fitted in one.fitted.items() if name in weights]
        total = sum(weight for _, weight in parts)
        if not parts:
            continue
        parts = [(fitted, weight / total) for fitted, weight in parts]
        middle, apart = _middle(parts, one.later.inputs["params"], one.later.inputs["tokens"])
        noise = sum(weight * _size(fitted.noise) for fitted, weight in parts)
        off = np.abs(log_odds(one.measured) - middle) / np.maximum(_spread(middle, apart, noise), 1e-12)
        scores += off.tolist()
        window += [len(reach)] * len(off)
        reach.append(one.reach)
    return Misses(np.array(scores), np.array(window, int), tuple(reach))
