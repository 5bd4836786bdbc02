"""A thresholded metric forecast before it lifts, from the continuous scale of the small models.

PassUntil's law (Hu et al. 2310.03262): log(-log p) of a whole answer is linear in log size. Here the nats a
token of the sizes whose exact match is still at chance give the slope, since they are seen where the exact
match is 0 of n; and p = exp(-T nats^k) carries them over the answer (see `metric_effect`), with the length T
and the exponent k drawn from a prior and weighed by the few answers that were right. Larger sizes are
forecast with an interval, and scored where they were measured. A forecast that fails says that the continuous
scale of the small models did not show what came; it does not say that nothing could have.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import logit

from analysis.thresholds import likelihood, metric_effect
from analysis.thresholds.result import Threshold
from analysis.thresholds.scores import Cells, build
from analysis.thresholds.tails import f_quantile
from analysis.thresholds.verdict import FLOOR

_NONE = Threshold()
VERDICTS = ("foreseen", "sooner", "later", "uninformative", "not_scored", "cannot_tell")
_SOFT = ("gold_nats", "token_accuracy")  # the better one first
FEWEST_SIZES = 3
LEVEL = 0.95
WIDE = 0.6  # width of the widest interval from which a forecast that holds says nothing
_DRAWS = 4000
_PRIOR = 20 * _DRAWS
_LONGEST = 128  # tokens of an answer of unknown length
_LENGTH_SD, _EXPONENT_SD = 0.3, 0.2  # log units: answers are not independent draws of equal tokens
_LINK_SD = 0.4  # logits by which a size may differ from the link, so that no single size decides
_AHEAD = (2.0, 4.0, 8.0)  # times the largest size, where everything is still at chance


@dataclass(frozen=True)
class Point:
    """One size: the median forecast with its 95 % interval, and where it was measured the score, the errors
    (forecast minus measured; logits with half an item at the ends) and whether the interval holds it."""

    size: float
    predicted: float
    interval: tuple[float, float]
    measured: float | None = None
    error: float | None = None
    error_logits: float | None = None
    inside: bool | None = None


@dataclass(frozen=True)
class Foresight:
    """verdict: one of VERDICTS, why in `text`. fitted: sizes used, all of them at chance. length: tokens of
    the answer as the link has them. slope: fall of log nats a decade of size."""

    task: str
    metric: str
    axis: str
    verdict: str
    text: str
    fitted: tuple[float, ...] = ()
    length: Threshold = _NONE
    slope: Threshold = _NONE
    points: tuple[Point, ...] = ()
    # Fitted nats and drawn curve, for the figure.
    grid: np.ndarray = field(default_factory=lambda: np.zeros(0))
    curve: np.ndarray = field(default_factory=lambda: np.zeros(0))
    band: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))

    @property
    def coverage(self) -> float | None:
        """Share of measured sizes inside their interval; they share one fit, so they miss together."""
        inside = [point.inside for point in self.points if point.inside is not None]
        return float(np.mean(inside)) if inside else None

    def to_dict(self) -> dict:
        """JSON of one task under `forecast`."""
        return {
            "task": self.task,
            "metric": self.metric,
            "axis": self.axis,
            "verdict": self.verdict,
            "text": self.text,
            "fitted": list(self.fitted),
            "answer_tokens": _pair(self.length),
            "slope": _pair(self.slope),
            "coverage": self.coverage,
            "points": [{**vars(point), "interval": list(point.interval)} for point in self.points],
        }


def foresee(
    frame,
    axis: str = "params",
    chance: dict[str, float] | None = None,
    lengths: dict[str, float] | None = None,
    seed: int = 0,
) -> list[Foresight]:
    """Forecasts for every task that has exact match and a continuous metric in a long ability table.

    lengths: tokens of an answer by task, where they are known. Raises InputError naming every bad row.
    """
    built = build(frame, axis, chance)
    out = []
    for number, hard in enumerate(built):
        if hard.metric not in ("exact_match", "em"):
            continue
        soft = [
            one
            for name in _SOFT
            for one in built
            if one.metric == name and (one.task == hard.task) and one.score.size
        ]
        rng = np.random.default_rng([seed, number])
        if soft:
            told = _one(hard, soft[0], (lengths or {}).get(hard.task.split("@")[0]), rng)
            out.append((hard.first, told))
    return [told for _, told in sorted(out, key=lambda one: one[0])]


def _one(hard: Cells, soft: Cells, length: float | None, rng: np.random.Generator) -> Foresight:
    out = Foresight(hard.task, hard.metric, hard.axis, "cannot_tell", "")
    mine, other = metric_effect.match(hard, soft)
    lifted = hard.pooled - hard.chance >= FLOOR * (1 - hard.chance)
    count = int(lifted.argmax()) if lifted.any() else hard.x.size
    low = np.isin(hard.size[mine], np.arange(count))
    if count < FEWEST_SIZES or np.unique(hard.size[mine][low]).size < FEWEST_SIZES:
        text = f"{count} sizes score within {FLOOR:g} of chance: {FEWEST_SIZES} are needed to forecast from"
        return replace(out, text=text)
    nats = metric_effect.log_nats(soft.score, soft)
    line = _line(hard.x[hard.size[mine][low]], nats[other[low]], rng)
    link = _link(hard, mine[low], nats[other[low]], length, rng)
    fitted = tuple(float(place) for place in hard.place[:count])
    new = hard.x[count:] if count < hard.x.size else hard.x[-1] + np.log10(np.array(_AHEAD))
    if hard.axis == "loss_nats" and count == hard.x.size:
        return replace(out, text="no size has lifted, and what loss comes next is not known", fitted=fitted)
    out = replace(
        out,
        fitted=fitted,
        length=_threshold(np.exp(link[0])),
        slope=_threshold(line.slope),
    )
    curves = _scores(hard, line, link, new, rng)
    out = _with_curve(out, hard, line, link, rng)
    if count == hard.x.size:
        points = tuple(
            Point(_place(hard, x), *_middle(column)) for x, column in zip(new, curves.T, strict=True)
        )
        text = f"no size has lifted yet; at {_AHEAD[-1]:g} times the largest: {_said(points[-1])}"
        return replace(out, verdict="not_scored", text=text, points=points)
    return _scored(out, hard, count, curves, rng)


def _scored(out: Foresight, hard: Cells, count: int, curves: np.ndarray, rng) -> Foresight:
    """Points and verdict from draws of the score (B, M) at the sizes that were left out."""
    points = []
    drawn = np.empty_like(curves)
    for column, size in enumerate(range(count, hard.x.size)):
        items = max(round(float(hard.items[hard.size == size].sum())), 1)
        drawn[:, column] = rng.binomial(items, curves[:, column]) / items
        measured = float(hard.pooled[size])
        predicted, interval = _middle(drawn[:, column])
        half = 0.5 / items
        errors = logit(np.clip([np.median(curves[:, column]), measured], half, 1 - half))
        inside = bool(interval[0] <= measured <= interval[1])
        points.append(
            Point(
                float(hard.place[size]),
                predicted,
                interval,
                measured,
                predicted - measured,
                float(errors[0] - errors[1]),
                inside,
            )
        )
    out = replace(out, points=tuple(points))
    low, high = _band(drawn)
    measured = hard.pooled[count:]
    above, below = measured > high, measured < low
    width = max(point.interval[1] - point.interval[0] for point in points)
    where = f"the power law of the {count} sizes at chance"
    worst = max(points, key=lambda point: abs(point.error))
    if above.any() or below.any():
        word = "sooner" if above[int((above | below).argmax())] else "later"
        text = (
            f"not foreseeable from the continuous scale: {where} says {_said(worst)} at {worst.size:.4g} "
            f"{hard.axis}, measured is {worst.measured:.2g}"
        )
        return replace(out, verdict=word, text=text)
    if width > WIDE:
        text = f"{where} leaves anything open: its intervals are up to {width:.2f} wide"
        return replace(out, verdict="uninformative", text=text)
    error = float(np.mean([abs(point.error) for point in points]))
    text = f"{where} foretold the {len(points)} larger ones, {100 * error:.1f} points off on average"
    return replace(out, verdict="foreseen", text=text)


@dataclass(frozen=True)
class _Line:
    """Draws (B,) of level and slope of log nats against x; sd (B,) of a size about the line; centre of x."""

    level: np.ndarray
    slope: np.ndarray
    sd: np.ndarray
    centre: float

    def at(self, x: np.ndarray) -> np.ndarray:
        return self.level[:, None] + self.slope[:, None] * (x - self.centre)


def _line(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> _Line:
    """Least squares on the means of the sizes; their scatter is that of the seeds unless it is larger."""
    sizes, which, seeds = np.unique(x, return_inverse=True, return_counts=True)
    mean = np.bincount(which, y) / seeds
    centre = float(np.average(sizes, weights=seeds))
    design = np.stack([np.ones_like(sizes), sizes - centre], -1)
    normal = np.linalg.inv(design.T @ (seeds[:, None] * design))
    theta = normal @ design.T @ (seeds * mean)
    left, pure = float((seeds * (mean - design @ theta) ** 2).sum()), float(((y - mean[which]) ** 2).sum())
    freedom, within = sizes.size - 2, y.size - sizes.size
    usual = within == 0 or pure == 0 or left / freedom <= f_quantile(0.95, freedom, within) * pure / within
    if within and usual:
        left, freedom = left + pure, freedom + within
    variance = max(left, 1e-12) / rng.chisquare(freedom, _DRAWS)  # of one seed
    root = np.linalg.cholesky(normal)
    drawn = theta + np.sqrt(variance)[:, None] * (rng.standard_normal((_DRAWS, 2)) @ root.T)
    return _Line(drawn[:, 0], drawn[:, 1], np.sqrt(variance / np.median(seeds)), centre)


def _link(hard: Cells, mine: np.ndarray, nats: np.ndarray, length: float | None, rng) -> np.ndarray:
    """Draws (2, B) of log T and k: a prior, weighed by the exact match of the fitted sizes."""
    if length is None:
        log_length = rng.uniform(0.0, np.log(_LONGEST), _PRIOR)
    else:
        log_length = np.log(length) + _LENGTH_SD * rng.standard_normal(_PRIOR)
    exponent = np.exp(_EXPONENT_SD * rng.standard_normal(_PRIOR))
    sizes = np.unique(hard.size[mine])
    scale = likelihood.count_scale("loglog", hard.chance)
    total = np.zeros(_PRIOR)
    for size in sizes:
        here = hard.size[mine] == size
        eta = -(log_length + exponent * nats[here].mean())
        k, n = hard.correct[mine][here].sum(), hard.items[mine][here].sum()
        total += likelihood.count_loglik(scale, eta, k, n, _LINK_SD)
    weight = np.exp(total - total.max())
    chosen = rng.choice(_PRIOR, _DRAWS, p=weight / weight.sum())
    return np.stack([log_length[chosen], exponent[chosen]])


def _scores(hard: Cells, line: _Line, link: np.ndarray, x: np.ndarray, rng) -> np.ndarray:
    """Draws (B, M) of the mean score over the seeds of new sizes."""
    nats = line.at(x) + line.sd[:, None] * rng.standard_normal((_DRAWS, x.size))
    eta = link[0][:, None] + link[1][:, None] * nats
    return hard.chance + (1 - hard.chance) * np.exp(-np.exp(np.clip(eta, -40, 40)))


def _with_curve(out: Foresight, hard: Cells, line: _Line, link: np.ndarray, rng) -> Foresight:
    grid = np.linspace(hard.x[0], hard.x[-1], 60)
    low, middle, high = np.quantile(_scores(hard, line, link, grid, rng), (0.025, 0.5, 0.975), axis=0)
    places = np.array([_place(hard, x) for x in grid])
    return replace(out, grid=places, curve=middle, band=np.stack([low, high], -1))


def _band(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends (M,) between which 95 % of the drawn curves (B, M) lie at all sizes at once."""
    order = drawn.argsort(0, kind="stable").argsort(0) / (len(drawn) - 1)
    reach = float(np.quantile(np.abs(order - 0.5).max(1), LEVEL))
    return tuple(np.quantile(drawn, (0.5 - reach, 0.5 + reach), axis=0))


def _place(hard: Cells, x: float) -> float:
    return float(-x if hard.axis == "loss_nats" else 10.0**x)


def _middle(draws: np.ndarray) -> tuple[float, tuple[float, float]]:
    low, middle, high = np.quantile(draws, (0.5 - LEVEL / 2, 0.5, 0.5 + LEVEL / 2))
    return float(middle), (float(low), float(high))


def _threshold(draws: np.ndarray) -> Threshold:
    return Threshold(*_middle(draws))


def _said(point: Point) -> str:
    return f"{point.predicted:.2g} [{point.interval[0]:.2g}, {point.interval[1]:.2g}]"


def _pair(place: Threshold) -> dict:
    return {"value": place.value, "interval": None if place.interval is None else list(place.interval)}
