"""One way fitted: pilots of its steps, then the common optimum of all that was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analysis.downstreams.laws import INPUTS, direct, family_of, joint, with_scatter
from analysis.errors import InputError
from analysis.fits.fitting import Settings, fit_sample
from analysis.intervals.resample import pairs
from analysis.laws.law import FormulaLaw
from analysis.laws.links import LINKS
from analysis.laws.named import CHINCHILLA
from analysis.solve.estimator import minimise
from analysis.solve.objectives import Rho
from analysis.tables.sample import Sample

# Huber's corner on residuals in units of their own scatter: 95 % efficient on normal noise.
CORNER = 1.345
# Corner of the pilot fits, in units of the score: a percent is what benchmarks scatter by.
PILOT = 0.01
SMALLEST = 1e-9


@dataclass(frozen=True, eq=False)
class Fitted:
    """A way fitted: the law with its values, and what `minimise` needs to fit it again. noise (points,):
    residuals of the score, scaled up for the parameters that they were fitted with."""

    name: str
    law: FormulaLaw
    params: Mapping[str, float]
    x: np.ndarray
    target: np.ndarray
    theta: np.ndarray
    copies: int
    noise: np.ndarray

    def scores(self, values: Mapping[str, Any], params, tokens) -> np.ndarray:
        """The score by these values (arrays of draws broadcast against params and tokens)."""
        inputs = {"params": np.asarray(params, float), "tokens": np.asarray(tokens, float)}
        return self.law.loss(values, {**inputs, "kind": 1.0, "scatter": 1.0})


def losses_of(rows: Sample, source: str) -> Mapping[str, float]:
    """The loss law's values. InputError where the rows do not determine it."""
    return fit_sample(rows, CHINCHILLA, source).params


def fit_way(
    name: str, rows: Sample, score: np.ndarray, chance: float | None, source: str, losses: Mapping[str, float]
) -> Fitted:
    """The way `name` (one of `variants`) fitted to the losses and scores of `rows`.

    losses: the loss law's values to start from. Raises InputError where the way cannot be determined.
    """
    family, ceiling = family_of(name)
    if family == "direct":
        law = direct(chance, ceiling)
        scores = replace(rows, loss=np.maximum(score, SMALLEST))
        pilot = _pilot(scores, law, source)
        spread = _scatter(score - law.loss(pilot, rows.inputs))
        return _polished(name, with_scatter(law), pilot, rows, score, [(score, spread, 1.0)])
    fitted = CHINCHILLA.loss(losses, rows.inputs)
    link = LINKS[family](floor=chance, ceiling=ceiling)
    steps = replace(
        rows, inputs={"task_loss": fitted}, loss=np.maximum(score, SMALLEST), groups={}, clustered_by="none"
    )
    second = _pilot(steps, link, source)
    spread = _scatter(score - link.loss(second, {"task_loss": fitted}))
    parts = [(rows.loss, _scatter(np.log(rows.loss / fitted)) * fitted, 0.0), (score, spread, 1.0)]
    return _polished(name, joint(link), {**losses, **second}, rows, score, parts)


def _pilot(rows: Sample, law: FormulaLaw, source: str) -> Mapping[str, float]:
    try:
        return fit_sample(rows, law, source, Settings(Rho("huber", PILOT, True))).params
    except np.linalg.LinAlgError as error:
        # Scores that are all one number leave a system of equations without a solution.
        raise InputError(f"{source}: {law.name} is not determined by these scores") from error


def _residuals(fitted: Fitted, rows: Sample, score: np.ndarray) -> np.ndarray:
    return score - fitted.scores(fitted.params, rows.inputs["params"], rows.inputs["tokens"])


def _scatter(residual: np.ndarray) -> float:
    return max(1.4826 * float(np.median(np.abs(residual))), 1e-4)


def _polished(name, law: FormulaLaw, values: Mapping[str, float], rows: Sample, score, parts) -> Fitted:
    """The common optimum from the pilot's values. parts: (measured (n,), scatter, kind) of each quantity."""
    count = len(rows)
    scatter = np.concatenate([np.broadcast_to(np.asarray(part[1], float), count) for part in parts])
    kind = np.repeat([max(part[2], 1e-300) for part in parts], count)
    inputs = {name: np.tile(rows.inputs[name], len(parts)) for name in ("params", "tokens")}
    inputs |= {"kind": kind, "scatter": scatter}
    x = np.log(np.stack([inputs[name] for name in INPUTS]))
    measured = np.concatenate([part[0] for part in parts]) / scatter
    target = np.log(np.maximum(measured, SMALLEST))
    theta = np.array(
        [np.log(max(values[p.name], 1e-300)) if p.positive else values[p.name] for p in law.parameters]
    )
    found = minimise(law, x, target, Rho("huber", CORNER, True), np.clip(theta, *law.bounds)[None])
    best = found.theta[0]
    if not np.isfinite(found.value[0]):
        raise InputError(
            f"{name} cannot be fitted to these scores: its objective is not finite anywhere near"
        )
    public = {
        p.name: float(np.exp(v) if p.positive else v) for p, v in zip(law.parameters, best, strict=True)
    }
    fitted = Fitted(name, law, public, x, target, best, len(parts), np.zeros(0))
    # Of a joint fit half the parameters are paid by the losses.
    spare = np.sqrt(count / max(count - len(law.names) / len(parts), 1))
    return replace(fitted, noise=spare * _residuals(fitted, rows, score))


def draws_of(fitted: Fitted, rows: Sample, count: int, seed: int) -> dict[str, np.ndarray]:
    """Refits with clusters of runs drawn with replacement; a run's loss and score are drawn together."""
    if not count:
        return {}
    weights = np.tile(pairs(rows.clusters, count, seed), (1, fitted.copies))
    starts = np.repeat(fitted.theta[None], count, axis=0)
    rho = Rho("huber", CORNER, True)
    found = minimise(fitted.law, fitted.x, fitted.target, rho, starts, weights)
    theta = found.theta[np.isfinite(found.value)]
    with np.errstate(over="ignore"):
        return {
            p.name: np.exp(theta[:, i]) if p.positive else theta[:, i]
            for i, p in enumerate(fitted.law.parameters)
        }
