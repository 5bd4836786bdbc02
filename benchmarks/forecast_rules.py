"""`python -m benchmarks.forecast_rules [choose | judge | luck [TABLES]]`: which rule forecasts best, on
planted tables alone.

The choice of `analysis.audits`: by which power of earlier errors laws weigh, over how many windows, and what
widens the interval. Tables have seeds 0, 1, ...; those that judge the rule begin at 1000. All tables of a
truth and design are fitted at once, so a table costs hundredths of a second: intervals of single laws are the
delta method's, where the forecast itself draws a bootstrap.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from scipy.special import ndtri, stdtrit

import analysis as sl
from analysis.audits.predictions import flops_of
from analysis.audits.ranking import CANDIDATES
from analysis.audits.windows import Window, windows_of
from analysis.laws.law import Law
from analysis.laws.named import LAWS
from analysis.solve.centre import centred
from analysis.solve.estimator import minimise
from analysis.solve.nearby import nearby
from analysis.solve.objectives import Rho
from analysis.tables.sample import Sample, sample
from benchmarks.planted_losses import CELLS, DESIGNS, OWN, table

LEVEL = 0.9


@dataclass(frozen=True, eq=False)
class Stage:
    """One forecast of B tables. logs, halves (B, laws, n): predicted log losses of all rows and half-widths
    at LEVEL of each law's own interval of a new run."""

    window: Window
    logs: np.ndarray
    halves: np.ndarray


@dataclass(frozen=True, eq=False)
class Trial:
    """B tables of one truth and design: log losses (B, n), the forecast asked for, and earlier ones."""

    loss: np.ndarray
    flops: np.ndarray
    stages: tuple[Stage, ...]


def _fits(law: Law, rows: Sample, early: np.ndarray, losses: np.ndarray, true: np.ndarray, known):
    """(log losses, half-widths), each (B, n), of the law fitted to the early rows of every table, and the
    values at which all begin: those of the table without noise, found from `known` of the window before."""
    part = rows.where(early)
    rho = Rho("huber", OWN / 2, False)
    x, target, centre = centred(replace(part, loss=true[early]), law, rho)
    if known is None:
        begin = nearby(law, x, target, rho, np.zeros((0, len(law.names))))
    else:
        begin = minimise(law, x, target, rho, law.to_inner(known, centre)[None], direct=True, tolerance=1e-8)
    start = begin.theta[np.argsort(begin.value)[:1]]
    shift = centre["loss"]
    ys = np.log(losses[:, early]) - shift
    found = minimise(law, x, ys, rho, np.repeat(start, len(ys), 0), direct=True, tolerance=1e-8, steps=100)
    logs = np.log(np.stack([rows.inputs[name] for name in law.inputs]))
    places = logs - np.array([centre[name] for name in law.inputs])[:, None]
    everywhere = law.evaluate(found.theta, places)
    jacobian, value = everywhere.jacobian, everywhere.value
    low, high = law.bounds
    free = (found.theta > low + 1e-6) & (found.theta < high - 1e-6)
    jacobian = np.where(free[:, :, None], jacobian, 0.0)
    residual = ys - value[:, early]
    count, width = len(part), len(law.names)
    groups = int(part.clusters.max()) + 1
    here = jacobian[:, :, early]
    scale = np.sqrt((here**2).sum(axis=2)) + 1e-12
    unit = here / scale[:, :, None]
    gram = unit @ unit.transpose(0, 2, 1)
    inverse = np.linalg.pinv(gram, rcond=1e-8, hermitian=True)
    spread = 1.4826 * np.median(np.abs(residual), axis=1) * np.sqrt(count / max(count - width, 1))
    if groups < count:
        held = np.clip(residual, -3 * spread[:, None], 3 * spread[:, None])
        sums = np.zeros((len(ys), width, groups))
        for group in range(groups):
            mine = part.clusters == group
            sums[:, :, group] = (unit[:, :, mine] * held[:, None, mine]).sum(axis=2)
        middle = sums @ sums.transpose(0, 2, 1) * groups / max(groups - width, 1)
    else:
        middle = gram * spread[:, None, None] ** 2
    covariance = inverse @ middle @ inverse
    slopes = jacobian / scale[:, :, None]
    variance = np.einsum("bpn,bpq,bqn->bn", slopes, covariance, slopes) + spread[:, None] ** 2
    freedom = max((groups if groups < count else count) - width, 1)
    known = {name: float(one[0]) for name, one in law.to_public(start, centre).items()}
    return value + shift, stdtrit(freedom, 0.5 + LEVEL / 2) * np.sqrt(variance), known


def trial(truth: str, design: str, seeds: Sequence[int]) -> Trial:
    """The tables of these seeds, forecast by every candidate from every window."""
    drawn = [table(truth, DESIGNS[design], seed) for seed in seeds]
    columns, true = drawn[0]
    rows = sample(sl.as_runs(columns))
    losses, true = np.stack([one["loss"] for one, _ in drawn])[:, rows.rows], true[rows.rows]
    held = rows.held_out
    flops = flops_of(rows)
    inner = np.flatnonzero(~held)
    asked = Window(~held, held, float(flops.max() / flops[~held].max()))
    windows = [asked]
    for one in windows_of(rows.where(~held)):
        early, late = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
        early[inner[one.early]], late[inner[one.late]] = True, True
        windows.append(Window(early, late, one.distance))
    stages: list[Stage] = []
    known: dict[str, Any] = {}
    for window in reversed(windows):
        shape = (len(losses), len(CANDIDATES), len(rows))
        logs, halves = np.full(shape, np.nan), np.full(shape, np.nan)
        for index, name in enumerate(CANDIDATES):
            law = LAWS[name]
            part = rows.where(window.early)
            sizes = min(len(np.unique(part.inputs[axis].round(3))) for axis in ("params", "tokens"))
            if len(part) > len(law.names) and sizes >= 3:
                found = _fits(law, rows, window.early, losses, true, known.get(name))
                logs[:, index], halves[:, index], known[name] = found
        if np.isfinite(logs).any():
            stages.insert(0, Stage(window, logs, halves))
    return Trial(np.log(losses), flops, tuple(stages))


@dataclass(frozen=True)
class Rule:
    """power: of earlier errors, by which laws weigh (inf: the best alone); luck: percent added to them;
    windows: how many weigh; doubt: the power of the weights in the laws' distance; widen: how the windows'
    factors are put together; most: how many windows widen, the nearest first (negative: the furthest)."""

    power: float = 4.0
    luck: float = 0.1
    windows: int = 1
    doubt: float = 1.0
    widen: str = "mean"
    most: int = 2
    walk: bool = True


# What the rule was before it was chosen here.
BEFORE = Rule(windows=2, doubt=0.5, widen="median", most=3)


def _weights(one: Trial, stage: int, rule: Rule) -> tuple[np.ndarray, np.ndarray]:
    """(weights (B, laws), the leading law (B,)) of a stage, from the stages before it on its own rows."""
    tables, laws = one.stages[0].logs.shape[:2]
    total, count = np.zeros((tables, laws)), np.zeros((tables, laws))
    for earlier in one.stages[stage + 1 : stage + 1 + rule.windows]:
        scored = earlier.window.late & one.stages[stage].window.early
        if not scored.any():
            continue
        error = 100 * np.abs(np.expm1(earlier.logs[:, :, scored] - one.loss[:, None, scored]))
        seen = np.isfinite(error)
        total += np.where(seen, error, 0.0).sum(axis=2)
        count += seen.sum(axis=2)
    with np.errstate(all="ignore"):
        mean = np.where(count > 0, total / count, np.nan)
    worst = np.nan_to_num(np.nanmax(np.where(np.isfinite(mean), mean, -1), axis=1, keepdims=True))
    mean = np.where(np.isfinite(mean), mean, np.maximum(worst, 0))
    if np.isinf(rule.power):
        raw = (mean == mean.min(axis=1, keepdims=True)) * 1.0
    else:
        raw = (mean + rule.luck) ** -rule.power
    raw = np.where(np.isfinite(one.stages[stage].logs).all(axis=2), raw, 0.0)
    weights = raw / np.maximum(raw.sum(axis=1, keepdims=True), 1e-300)
    return weights, np.argmax(weights, axis=1)


def _blend(one: Trial, stage: int, rule: Rule, late: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(log loss, half-width), each (B, late)."""
    weights, lead = _weights(one, stage, rule)
    logs = np.nan_to_num(one.stages[stage].logs[:, :, late])
    middle = (weights[:, :, None] * logs).sum(axis=1)
    milder = np.where(weights > 0, np.maximum(weights, 1e-12) ** rule.doubt, 0.0)
    milder = milder / np.maximum(milder.sum(axis=1, keepdims=True), 1e-300)
    apart = np.sqrt((milder[:, :, None] * (logs - middle[:, None]) ** 2).sum(axis=1))
    own = one.stages[stage].halves[np.arange(len(logs)), lead][:, late]
    return middle, np.hypot(own, float(ndtri(0.5 + LEVEL / 2)) * apart)


def forecasts(one: Trial, rule: Rule) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(inside (B, late), half-widths (B, late), errors (B, late)) of the forecast asked for."""
    asked = one.stages[0].window
    middle, half = _blend(one, 0, rule, asked.late)
    factors = []
    chosen = list(range(1, len(one.stages)))
    chosen = chosen[: rule.most] if rule.most > 0 else chosen[rule.most :]
    for stage in chosen:
        window = one.stages[stage].window
        said, wide = _blend(one, stage, rule, window.late)
        late = window.late & asked.early
        said, wide = said[:, late[window.late]], wide[:, late[window.late]]
        scores = np.sort(np.abs(said - one.loss[:, late]) / np.maximum(wide, 1e-12), axis=1)
        rank = min(int(np.ceil((scores.shape[1] + 1) * LEVEL)), scores.shape[1]) - 1
        further = np.log(asked.distance) / np.log(max(window.distance, 1.01)) if rule.walk else 1.0
        factors.append(scores[:, rank] * np.sqrt(max(further, 1.0)))
    if factors:
        every = np.stack(factors)
        how = {
            "none": np.ones(every.shape[1:]),
            "median": np.median(every, axis=0),
            "mean": every.mean(axis=0),
            "square": np.sqrt((every**2).mean(axis=0)),
            "max": every.max(axis=0),
            "nearest": every[0],
        }
        half = half * np.maximum(how[rule.widen], 1.0)[:, None]
    error = middle - one.loss[:, asked.late]
    return np.abs(error) <= half, half, error


def show(trials: dict[tuple[str, str], Trial], rules: Sequence[Rule]) -> None:
    for rule in rules:
        cells = {key: forecasts(one, rule) for key, one in trials.items()}
        held = {key: inside.mean() for key, (inside, _, _) in cells.items()}
        width = np.exp(np.mean([np.log(half).mean() for _, half, _ in cells.values()]))
        error = np.mean([np.abs(off).mean() for _, _, off in cells.values()])
        worst = sorted(held.items(), key=lambda pair: pair[1])[:3]
        said = ", ".join(f"{truth}/{design} {share:.2f}" for (truth, design), share in worst)
        print(
            f"{rule.power:4g} {rule.luck:4g} {rule.windows:2d} {rule.doubt:4g} {rule.widen:8s}{rule.most:3d}"
            f"{rule.walk:2d}  held {np.mean(list(held.values())):.3f}  top {max(held.values()):.2f}  "
            f"half {100 * width:5.2f} %  error {100 * error:5.3f} %  {said}",
            flush=True,
        )


def grid() -> list[Rule]:
    """The rules that were compared."""
    return [
        Rule(power, 0.1, windows, doubt, widen, most)
        for power, windows, doubt, widen, most in product(
            (2, 4, 8, np.inf), (1, 2), (0.5, 1.0), ("median", "mean", "square", "max"), (1, 2, 3, 5)
        )
        if most > 1 or widen == "mean"
    ]


def beside_chinchilla(trials: dict[tuple[str, str], Trial], rule: Rule) -> None:
    """Of each truth and design: what is held, half-widths and errors, Chinchilla's law alone and the rule."""
    print("truth       design        held, half width, mean error in percent: Chinchilla alone, the forecast")
    for (truth, design), one in trials.items():
        late = one.stages[0].window.late
        off = np.abs(one.stages[0].logs[:, 0][:, late] - one.loss[:, late])
        own = one.stages[0].halves[:, 0][:, late]
        inside, half, error = forecasts(one, rule)
        said = [
            f"{held.mean():.2f} {100 * np.exp(np.log(wide).mean()):5.2f} {100 * np.abs(miss).mean():5.2f}"
            for held, wide, miss in ((off <= own, own, off), (inside, half, error))
        ]
        print(f"{truth:12}{design:14}{said[0]}   {said[1]}")


def main(what: str = "choose", tables: int = 40) -> None:
    """`choose` compares rules on seeds 0, 1, ..., `luck` what is added to earlier errors there; `judge` shows
    the chosen one on seeds 1000, 1001, ..."""
    first = 1000 if what == "judge" else 0
    trials = {key: trial(*key, range(first, first + tables)) for key in CELLS}
    print("power luck windows doubt widen most walk")
    if what == "luck":
        show(trials, [Rule(luck=luck) for luck in (1e-6, 0.01, 0.03, 0.1, 0.2, 0.4)])
        return
    if what == "choose":
        show(trials, grid())
    show(trials, [BEFORE, Rule(power=0), Rule(widen="none"), Rule()])
    beside_chinchilla(trials, Rule())


if __name__ == "__main__":
    main(*sys.argv[1:2], *(int(one) for one in sys.argv[2:3]))
