"""The elbow of an ability as a target: what runs of other sizes, seeds and items would tell of its place.

A fitted curve with an elbow is linear in its numbers about the fit, as a law is; each run is one observation
of it with the scatter of seeds and of its items. Where the elbow lies is not known better than its interval,
so slopes are means over that: a kink counts as far as a size may lie beyond it, a step where it may lie.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, ndtr

from analysis.designs.outlook import Outlook, known_after
from analysis.errors import InputError
from analysis.thresholds.result import Series

# What is believed of level, slope and bend before any run, in logits and logits a decade.
_LOOSE = 10.0
_SIGMAS = 1.959963984540054
# Scores nearer to chance or to the top than this tell as much as there: items are few, and curves not exact.
_EDGE = 1e-3


@dataclass(frozen=True)
class Elbow:
    """A curve of logits above chance over x, the log10 of a size: level + slope x + bend times
    max(x - place, 0), or times [x > place] of a step.

    sd: standard deviation of its place, in decades; seed_sd: of seeds, in logits; chance: the lowest score.
    """

    level: float
    slope: float
    bend: float
    place: float
    sd: float
    seed_sd: float
    chance: float = 0.0
    is_step: bool = False

    def eta(self, x: np.ndarray) -> np.ndarray:
        beyond = np.asarray(x, float) - self.place
        return (
            self.level + self.slope * x + self.bend * (beyond > 0 if self.is_step else np.maximum(beyond, 0))
        )

    def slopes(self, x: np.ndarray) -> np.ndarray:
        """(n, 4): of eta by level, slope, bend and place, means over where the elbow may lie."""
        x = np.asarray(x, float)
        z = (x - self.place) / self.sd
        past, at = ndtr(z), np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
        if self.is_step:
            columns = past, -self.bend * at / self.sd
        else:
            columns = self.sd * (z * past + at), -self.bend * past
        return np.stack([np.ones_like(x), x - self.place, *columns], axis=1)

    def noise(self, x: np.ndarray, items: np.ndarray) -> np.ndarray:
        """(n,): variance in logits from a finite number of items, p (1 - p) / items by the delta method."""
        unit = np.clip(expit(self.eta(x)), _EDGE, 1 - _EDGE)
        score = self.chance + (1 - self.chance) * unit
        rises = (1 - self.chance) * unit * (1 - unit)
        return score * (1 - score) / (items * rises**2)


def elbow_outlook(
    elbow: Elbow, x: np.ndarray, items: np.ndarray, ahead: np.ndarray, ahead_items: np.ndarray
) -> Outlook:
    """What runs at `ahead` (m,) would tell of the place of the elbow, given those at x (n,), each a run with
    a seed of its own; the spread of the place now is `elbow.sd`."""
    every, all_items = np.concatenate([x, ahead]), np.concatenate([items, ahead_items])
    spread = np.diag(elbow.seed_sd**2 + elbow.noise(every, all_items))
    loose = np.array([_LOOSE, _LOOSE, _LOOSE, max(1.0, float(np.ptp(every)))])
    gradient = np.array([0.0, 0.0, 0.0, 1.0])
    found = known_after(elbow.slopes(every) * loose, gradient * loose, spread, len(x))
    # The interval now is that of the likelihood, which is not straight: its width is the measure.
    scale = elbow.sd / float(np.sqrt(found[0, 0]))
    return Outlook(found, elbow.place / scale, float(found[0, 0]), 0.0).scaled(scale)


def elbow_of(series: Series) -> Elbow:
    """The elbow that a series was called for.

    Raises InputError where it has none, is no count of items, or has no seeds to tell their spread.
    """
    name = f"{series.task}, {series.metric}"
    found = series.thresholds.elbow
    if found.value is None or found.interval is None or not series.grid.size:
        raise InputError(
            f"{name}: has no elbow ({series.verdict}); `lab thresholds` says what is known of it"
        )
    if np.isnan(series.items).any():
        raise InputError(f"{name}: is no count of items; name a metric of right answers, as exact_match")
    if series.seed_sd.value is None:
        raise InputError(f"{name}: one seed a size says nothing of what seeds differ by")
    chance = series.chance or 0.0
    place, low, high = np.log10([found.value, *found.interval])
    sizes = np.log10(series.sizes)
    # An interval within a step between sizes is what the step leaves open.
    sd = max((high - low) / (2 * _SIGMAS), float(np.min(np.diff(sizes))) / np.sqrt(12))
    is_step = series.leading == "step"
    x = np.log10(series.grid)
    unit = np.clip((series.leading_curve - chance) / (1 - chance), _EDGE, 1 - _EDGE)
    inside = (unit > 2 * _EDGE) & (unit < 1 - 2 * _EDGE)
    beyond = x > place if is_step else np.maximum(x - place, 0)
    columns = np.stack([np.ones_like(x), x, beyond], axis=1)[inside]
    eta = np.log(unit / (1 - unit))[inside]
    (level, slope, bend), *_ = np.linalg.lstsq(columns, eta, rcond=None)
    return Elbow(level, slope, bend, place, sd, series.seed_sd.value, chance, is_step)
