"""Does one loss value say the score, whatever the size of the model (Du et al. 2403.15796)?

Cells of a grid of sizes and token budgets are fitted on the continuous scale by a curve of the loss alone,
and by the same curve plus a term in log params. Both remainders, what size explains and what it does not,
are held against what seeds do (pure error), by a parametric bootstrap under the curve of the loss alone in
which the seed noise is estimated afresh in every table: an F test that knows counts and floors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from analysis.thresholds import fits
from analysis.thresholds.params_tokens import Plane
from analysis.thresholds.result import Places, Threshold

_NONE, _NOWHERE = Threshold(), Places()
VERDICTS = ("collapses", "does_not_collapse", "cannot_tell")
MARGIN = 1 / 3  # of the rise over all cells: an effect of size that may be larger leaves the question open
LEAST_SPREAD = 0.05  # decades of params that are not the loss over again
_PLACES = 8
_CLIP = 5.0  # logits: beyond it a score sits at its floor or ceiling, and eta is anything


@dataclass(frozen=True)
class Collapse:
    """verdict: one of VERDICTS, why in `text`.

    p_size: of no effect of size at equal loss; p_residual: of cells that scatter about the curve as seeds do.
    size_effect: logits (log nats for nats) a decade of params at equal loss, with its 95 % interval; share:
    the largest part of the whole rise that size at equal loss may make. threshold: elbow and half in loss,
    where the cells collapse.
    """

    task: str
    metric: str
    verdict: str
    text: str
    cells: int
    sizes: int
    seed_sd: float | None = None
    p_size: float | None = None
    p_residual: float | None = None
    size_effect: Threshold = _NONE
    share: float | None = None
    threshold: Places = _NOWHERE

    def to_dict(self) -> dict:
        """JSON of one series under `collapse`; NaN and infinities become null."""
        places = {
            name: {"value": place.value, "interval": None if place.interval is None else list(place.interval)}
            for name, place in (
                ("size_effect", self.size_effect),
                ("elbow", self.threshold.elbow),
                ("half", self.threshold.half),
            )
        }
        rest = vars(self) | places
        return {name: value for name, value in rest.items() if name != "threshold"}


@dataclass(frozen=True)
class _Weighed:
    """Of B tables: both statistics (B,), the effect of size (B,), and the curve of the loss alone (B, K)."""

    size: np.ndarray
    residual: np.ndarray
    effect: np.ndarray
    eta: np.ndarray


def test(plane: Plane, alpha: float, draws: int, rng: np.random.Generator) -> Collapse:
    """The verdict on one series. draws: tables simulated under the curve of the loss alone."""
    cells = plane.cells
    out = Collapse(cells.task, cells.metric, "cannot_tell", plane.why, plane.params.size, _sizes(plane))
    out = replace(out, seed_sd=plane.seed_sd)
    if plane.why:
        return out
    if not np.isfinite(plane.loss).all() or np.ptp(plane.loss) == 0:
        return replace(out, text="the validation loss of some cells is missing, or the same everywhere")
    spread = own_spread(plane)
    if spread < LEAST_SPREAD:
        text = f"sizes and losses are one order: at equal loss params differ by {spread:.2g} decades only"
        return replace(out, text=text)
    observed = weigh(plane, plane.data[None])
    tables = plane.simulate(observed.eta[0], rng, draws)
    null = weigh(plane, tables)
    p_size = float(((null.size >= observed.size[0] - 1e-6).sum() + 1) / (draws + 1))
    p_residual = float(((null.residual >= observed.residual[0] - 1e-6).sum() + 1) / (draws + 1))
    reach = float(np.quantile(np.abs(null.effect), 0.95))
    effect = float(observed.effect[0])
    rise = np.ptp(np.clip(observed.eta[0], -_CLIP, _CLIP) if not cells.continuous else observed.eta[0])
    share = (abs(effect) + reach) * float(np.ptp(np.log10(plane.params))) / max(float(rise), 1e-9)
    out = replace(
        out,
        p_size=p_size,
        p_residual=p_residual,
        size_effect=Threshold(effect, (effect - reach, effect + reach)),
        share=share if math.isfinite(share) else None,
    )
    unit = "log nats" if cells.continuous else "logits"
    said = f"{effect:+.2g} {unit} a decade of params at equal loss"
    # Two questions are asked, so each has half of the level.
    if p_size <= alpha / 2:
        return replace(out, verdict="does_not_collapse", text=f"size matters at equal loss: {said}")
    if p_residual <= alpha / 2:
        text = f"cells scatter about every curve of the loss by more than seeds do (p = {p_residual:.2g})"
        return replace(out, verdict="does_not_collapse", text=f"{text}; size does not explain it")
    if share > MARGIN:
        text = f"size may make up to {share:.0%} of the rise at equal loss: more seeds, sizes or budgets"
        return replace(out, text=text)
    text = f"one curve of the loss fits all cells; size at equal loss makes at most {share:.0%} of the rise"
    return replace(out, verdict="collapses", text=text)


def weigh(plane: Plane, tables: np.ndarray) -> _Weighed:
    """Both statistics of tables (B, C): twice the log-likelihood gained by the size, and by a level of its
    own for each cell."""
    profiles = plane.profiles(tables)
    basis = _basis(plane.loss)
    size = np.log10(plane.params)
    size = np.broadcast_to((size - size.mean())[None, :, None], (*basis.shape[:2], 1))
    alone = fits.fit(plane.scale, profiles, basis)
    both = fits.fit(plane.scale, profiles, np.concatenate([basis, size], -1))
    which, theta, value = alone.best()
    _, wider, more = both.best()
    # The larger family contains the smaller; a search that stops short must not say otherwise.
    more = np.maximum(more, value)
    return _Weighed(
        size=2 * (more - value),
        residual=2 * (profiles.max(-1).sum(-1) - value),
        effect=wider[:, -1],
        eta=np.einsum("bkq,bq->bk", basis[which], theta),
    )


def own_spread(plane: Plane) -> float:
    """Standard deviation of log10 params (decades) that the curve of the loss cannot follow."""
    basis = _basis(plane.loss)
    size = np.log10(plane.params)
    rest = [size - one @ np.linalg.lstsq(one, size, rcond=None)[0] for one in basis]
    freedom = max(size.size - basis.shape[-1], 1)
    return float(np.sqrt(min((r @ r) for r in rest) / freedom))


def _basis(loss: np.ndarray) -> np.ndarray:
    """Designs (P, K, Q): a line in the loss, fixed kinks at its quantiles, and one free kink at P places.

    Two kinks are enough for a floor, an elbow and a saturation; more would let the curve follow single cells.
    """
    x = (loss.max() - loss) / np.ptp(loss)
    fixed = min(2, max(0, x.size // 8 - 1))
    knots = np.quantile(x, np.arange(1, fixed + 1) / (fixed + 1))
    free = np.quantile(np.unique(x), np.linspace(0.12, 0.88, _PLACES))
    columns = [np.ones_like(x), x, *(np.maximum(x - k, 0) for k in knots)]
    return np.stack([np.stack([*columns, np.maximum(x - place, 0)], -1) for place in free])


def _sizes(plane: Plane) -> int:
    return int(np.unique(plane.params).size)


def with_threshold(
    found: Collapse, frame, seed_sd: float | None, chance: dict[str, float] | None
) -> Collapse:
    """A collapsed series with its thresholds in loss, as `detect` finds them along that axis."""
    from analysis.thresholds.detector import run

    task = found.task.split("@")[0]
    rows = frame[frame["task"].astype(str) == task]
    chance = {name: level for name, level in (chance or {}).items() if name == task}
    if "metric" in rows:
        rows = rows[rows["metric"] == found.metric]
    for one in run(rows, "loss_nats", seed_sd, 0.05, 199, 0, False, chance=chance).series:
        if one.task == found.task:
            return replace(found, threshold=one.thresholds)
    return found
