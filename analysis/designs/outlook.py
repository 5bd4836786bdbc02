"""What runs that nobody has trained would tell of a target: one covariance matrix of both.

Within a law, target and runs are linear in its parameters about the fit, and runs scatter about it with a
covariance that trunks and sizes share; what the runs at hand say is conditioned on exactly (generalised least
squares; with the scatter known it is universal kriging, Cressie 1993, section 3.4). Between laws, each weighs
as its earlier forecasts earned: where they part at the target and at a candidate alike, the candidate settles
part of it. The best linear prediction from both together is what a set of candidates leaves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from analysis.designs.targets import Target
from analysis.laws.law import Law

# What is believed of parameters before any run: standard deviations of the log of a factor and of an
# exponent, in the fit's own units. They only keep a law that few runs determine from saying anything at all.
LOOSE_FACTOR, LOOSE_EXPONENT = 3.0, 0.5


class Noise(Protocol):
    """How runs scatter about a law."""

    def covariance(self, params: np.ndarray, tokens: np.ndarray, trunks: np.ndarray) -> np.ndarray:
        """(n, n) of log losses."""
        ...


@dataclass(frozen=True, eq=False)
class Cells:
    """Runs: params, tokens, and a number for each trunk, the same for the same size and seed: each (n,).
    log_loss (n,) of those that are trained."""

    params: np.ndarray
    tokens: np.ndarray
    trunks: np.ndarray
    log_loss: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.params)


@dataclass(frozen=True, eq=False)
class InPlay:
    """A law with its fitted values and its weight among those in play.

    loose: standard deviations (factor, exponent) of what is believed of its parameters before any run.
    """

    law: Law
    params: Mapping[str, float]
    weight: float = 1.0
    loose: tuple[float, float] = (LOOSE_FACTOR, LOOSE_EXPONENT)


@dataclass(frozen=True, eq=False)
class Outlook:
    """covariance (1 + m, 1 + m): of the target and m candidates, after the runs at hand.

    value: of the target, on its own scale; within, between: the parts of its variance that each law leaves
    and that lies between the laws; floor: the variance that no run removes (a new run's own).
    """

    covariance: np.ndarray
    value: float
    within: float
    between: float
    floor: float = 0.0

    def __len__(self) -> int:
        return len(self.covariance) - 1

    def scaled(self, factor: float) -> Outlook:
        """With the target in other units, that are `factor` of its own."""
        covariance = self.covariance.copy()
        covariance[0] *= factor
        covariance[:, 0] *= factor
        parts = (factor**2 * part for part in (self.within, self.between, self.floor))
        return Outlook(covariance, factor * self.value, *parts)

    def variance(self, chosen: Sequence[int] = ()) -> float:
        """Of the target after these candidates too."""
        some = [1 + index for index in chosen]
        if not some:
            return float(self.covariance[0, 0])
        across = self.covariance[0, some]
        inner = self.covariance[np.ix_(some, some)]
        return max(float(self.covariance[0, 0] - across @ np.linalg.solve(inner, across)), 0.0)


def outlook(
    laws: Sequence[InPlay], target: Target, have: Cells, ahead: Cells, noise: Noise, floor: float = 0.0
) -> Outlook:
    """What the cells `ahead` would tell of the target, given those at hand. Laws that know nothing of the
    target have no say."""
    laws = [one for one in laws if target.suits(one.law) and one.weight > 0]
    weights = np.array([one.weight for one in laws])
    parts = [_of_law(one, target, have, ahead, noise) for one in laws]
    sound = np.array([np.isfinite(mean).all() and np.isfinite(spread).all() for mean, spread in parts])
    weights = np.where(sound, weights, 0.0) / max(weights[sound].sum(), 1e-300)
    kept = [(w, *part) for w, part in zip(weights, parts, strict=True) if w > 0]
    means = np.stack([mean for _, mean, _ in kept])
    shares = np.array([w for w, _, _ in kept])
    middle = shares @ means
    apart = (means - middle).T * shares @ (means - middle)
    inner = sum(w * spread for w, _, spread in kept)
    return Outlook(inner + apart, float(middle[0]), float(inner[0, 0]), float(apart[0, 0]), floor)


def _of_law(one: InPlay, target: Target, have: Cells, ahead: Cells, noise: Noise):
    """(means, covariance) of target and candidates under one law, after the runs at hand."""
    law = one.law
    params = np.concatenate([have.params, ahead.params]).astype(float)
    tokens = np.concatenate([have.tokens, ahead.tokens]).astype(float)
    inputs = {"params": params, "tokens": tokens, "flops": 6 * params * tokens}
    log_loss = np.log(law.loss(one.params, inputs))
    centre = {name: float(np.log(values).mean()) for name, values in inputs.items()}
    centre["loss"] = float(log_loss.mean())
    theta = law.to_inner(dict(one.params), centre)
    x = np.stack([np.log(inputs[name]) - centre[name] for name in law.inputs])
    slopes = law.evaluate(theta[None], x).jacobian[0].T
    gradient = target.gradient(law, theta, centre)
    spread = noise.covariance(params, tokens, np.concatenate([have.trunks, ahead.trunks]))
    factor, exponent = one.loose
    loose = np.array([factor if parameter.positive else exponent for parameter in law.parameters])
    n = len(have)
    found = known_after(slopes * loose, gradient * loose, spread, n)
    means = np.concatenate([[float(target.value(law, one.params))], log_loss[n:]])
    if n and have.log_loss is not None:
        means[1:] += spread[n:, :n] @ np.linalg.solve(spread[:n, :n], have.log_loss - log_loss[:n])
    return means, found


def known_after(slopes: np.ndarray, gradient: np.ndarray, spread: np.ndarray, n: int) -> np.ndarray:
    """(1 + m, 1 + m): covariance of a target and of m observations after n others are known.

    slopes (n + m, P) and gradient (P,): of observations and target by P numbers, each scaled by the standard
    deviation of what is believed of it before, so that what nothing tells stays well conditioned; spread
    (n + m, n + m): of the observations about their mean.
    """
    weighed = np.linalg.solve(spread[:n, :n], np.concatenate([slopes[:n], spread[:n, n:]], axis=1))
    toward, across = weighed[:, : len(gradient)], weighed[:, len(gradient) :]
    known = np.linalg.inv(np.eye(len(gradient)) + slopes[:n].T @ toward)
    lever = slopes[n:] - across.T @ slopes[:n]
    rows = np.concatenate([gradient[None], lever])
    found = rows @ known @ rows.T
    found[1:, 1:] += spread[n:, n:] - spread[n:, :n] @ across
    return 0.5 * (found + found.T)
