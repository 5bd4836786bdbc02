"""Loss and abilities against joules, FLOPs, bytes and the cost of serving: which runs are worth it.

A run is on the frontier of a resource when no other is as good for less of it. The knee is where the frontier
lies farthest below the chord of its ends, in the logarithm of the resource (Satopää et al. 2011, Kneedle).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.costs.ledger import Ledger
from analysis.errors import InputError
from analysis.tables.baselines import baselines
from analysis.tables.table import Runs, numbers

# resource -> what it is, in a few words.
RESOURCES = {
    "joules": "energy of training",
    "flops": "FLOPs of training",
    "bytes": "bytes of the parameters, at 4 each",
    "serving": "FLOPs a token served, 2 a parameter",
}
# Metrics of which more is better, whose frontier of abilities is told.
_SCORES = ("exact_match", "accuracy", "acc", "em")


@dataclass(frozen=True)
class Candidate:
    """A finished run: what it takes of each resource (NaN where not known), and how good it is."""

    run_id: str
    params: float
    tokens: float
    takes: Mapping[str, float]
    loss: float


@dataclass(frozen=True)
class Front:
    """Runs that none beats at a resource, the thriftiest first, and the knee among them, if any. what: loss,
    or a task and its metric above chance; values: of it, a run each."""

    resource: str
    runs: tuple[Candidate, ...]
    knee: Candidate | None
    what: str = "loss"
    values: tuple[float, ...] = ()


@dataclass(frozen=True)
class Enough:
    """The smallest model within `percent` of the best. what: loss, or a task and its metric; value and best:
    of it. Of equal sizes the one that took least energy, or tokens where energy is not known."""

    what: str
    percent: float
    run: Candidate
    value: float
    best_run: Candidate
    best: float

    @property
    def shares(self) -> dict[str, float]:
        """What it takes of each resource, as a part of what the best takes."""
        return {
            name: self.run.takes[name] / self.best_run.takes[name]
            for name in RESOURCES
            if self.best_run.takes[name] > 0 and np.isfinite(self.run.takes[name])
        }

    def __str__(self) -> str:
        parts = [f"{100 * share:.0f} % of the {_SHORT[name]}" for name, share in self.shares.items()]
        value, best = f"{self.value:.4g}", f"{self.best:.4g}"
        if self.run is self.best_run:
            return f"no smaller model is within {self.percent:g} % of the best {self.what}, {best}"
        return (
            f"the smallest model within {self.percent:g} % of the best {self.what} ({best}) has "
            f"{float(f'{self.run.params:.4g}'):,.0f} params and reaches {value}: it takes {', '.join(parts)}"
        )


_SHORT = {"joules": "energy", "flops": "FLOPs", "bytes": "bytes", "serving": "FLOPs a token served"}


@dataclass(frozen=True, repr=False)
class Sobriety:
    """Of the runs of one source of data. baseline: the loss of a model that takes next to nothing (n-grams),
    if known, which is `grams` where the store has one; `basis`: whether energy was measured or estimated.
    ability_fronts: of abilities above chance, of runs of any source."""

    runs: tuple[Candidate, ...]
    fronts: tuple[Front, ...]
    enough: tuple[Enough, ...]
    baseline: float | None
    basis: str
    source: str
    ability_fronts: tuple[Front, ...] = ()
    grams: Candidate | None = None

    @property
    def beaten(self) -> int:
        """How many runs are no better than the baseline."""
        return 0 if self.baseline is None else sum(one.loss >= self.baseline for one in self.runs)

    def to_dict(self) -> dict[str, Any]:
        def of(run: Candidate) -> dict[str, Any]:
            takes = {name: value if np.isfinite(value) else None for name, value in run.takes.items()}
            return {**vars(run), "takes": takes}

        def front_of(front: Front) -> dict[str, Any]:
            runs = [{**of(run), "value": value} for run, value in zip(front.runs, front.values, strict=True)]
            knee = None if front.knee is None else front.knee.run_id
            return {"what": front.what, "resource": front.resource, "runs": runs, "knee": knee}

        return {
            "runs": len(self.runs),
            "source": self.source,
            "energy_basis": self.basis,
            "baseline_loss": self.baseline,
            "runs_no_better_than_the_baseline": None if self.baseline is None else self.beaten,
            "baseline_model": None if self.grams is None else of(self.grams),
            "fronts": [front_of(front) for front in self.fronts],
            "ability_fronts": [front_of(front) for front in self.ability_fronts],
            "enough": [
                {
                    "what": one.what,
                    "percent": one.percent,
                    "run_id": one.run.run_id,
                    "params": one.run.params,
                    "value": one.value,
                    "best": one.best,
                    "best_params": one.best_run.params,
                    "shares": one.shares,
                    "text": str(one),
                }
                for one in self.enough
            ],
        }


def sobriety(runs: Runs, costs: Ledger, percent: float = 2.0, baseline: float | None = None) -> Sobriety:
    """Of the finished runs of the source that has most sizes and budgets; abilities of all sources.

    An ability counts from its chance level on, and only where the best score is no luck: three standard
    errors above chance. Raises InputError for a percentage or a baseline out of range, and for fewer than two
    runs.
    """
    if not 0 < percent < 100:
        raise InputError(f"--within: {percent} is not a percentage above 0 and below 100")
    if baseline is not None and not (np.isfinite(baseline) and baseline > 0):
        raise InputError(f"--baseline: {baseline} is not a loss")
    found, source = _candidates(runs, costs)
    if len(found) < 2:
        raise InputError(
            f"{runs.source}: a frontier needs two finished runs with their costs, here are {len(found)}"
        )
    grams = _grams(runs, costs, source) if baseline is None else None
    baseline = grams.loss if grams is not None else baseline
    losses = [(one, one.loss) for one in (*found, *([grams] if grams else []))]
    fronts = _fronts("loss", losses, lower=True)
    scores = _abilities(runs, costs)
    of_abilities = [
        front
        for what, scored in scores.items()
        for front in _fronts(f"{what} above chance", scored, lower=False)
    ]
    enough = [_enough("loss", [(one, one.loss) for one in found], percent, lower=True)]
    enough += [
        _enough(f"{what} above chance", scored, percent, lower=False) for what, scored in scores.items()
    ]
    return Sobriety(
        tuple(found), fronts, tuple(enough), baseline, costs.basis, source, tuple(of_abilities), grams
    )


def _grams(runs: Runs, costs: Ledger, source: str) -> Candidate | None:
    """The n-grams that `lab run` counted on the source, and what they took: CPU seconds, and their bytes.
    They take no FLOPs that anybody counts, and so are on no frontier of these."""
    found = [one for one in baselines(runs) if one["source"] == source]
    if not found:
        return None
    best = max(found, key=lambda one: one["tokens"])
    joules = best["cpu_seconds"] * costs.core_watts[1]
    takes = {
        "joules": joules or float("nan"),
        "flops": float("nan"),
        "bytes": best["bytes"],
        "serving": float("nan"),
    }
    return Candidate(f"{best['order']}-grams", best["ngrams"], best["tokens"], takes, best["loss_nats"])


def _fronts(what: str, scored: Sequence[tuple[Candidate, float]], lower: bool) -> tuple[Front, ...]:
    known = [name for name in RESOURCES if any(np.isfinite(one.takes[name]) for one, _ in scored)]
    return tuple(_front(name, what, scored, lower) for name in known)


def _every(runs: Runs, costs: Ledger) -> dict[str, tuple[Candidate, str]]:
    """run id -> (what it took, its source), of those that finished."""
    exact = numbers(runs.columns["flops_exact"]) if "flops_exact" in runs.columns else None
    flops = numbers(runs.columns["flops"])
    total = numbers(runs.columns["params_total"]) if "params_total" in runs.columns else None
    found = {}
    for one in costs.entries:
        if one.status != "ok" or not one.loss > 0:
            continue
        spent = one.spent.joules if costs.basis == "measured" else costs.joules(one.spent)[1]
        size = one.params if total is None or not total[one.row] > 0 else float(total[one.row])
        alone = flops[one.row] if exact is None or not exact[one.row] > 0 else exact[one.row]
        takes = {
            "joules": spent or float("nan"),
            "flops": float(alone),
            "bytes": 4 * size,
            "serving": 2 * size,
        }
        found[one.run_id] = (Candidate(one.run_id, size, one.tokens, takes, one.loss), one.source)
    return found


def _candidates(runs: Runs, costs: Ledger) -> tuple[list[Candidate], str]:
    every = _every(runs, costs)
    by_source: dict[str, list[Candidate]] = {}
    for run, source in every.values():
        by_source.setdefault(source, []).append(run)
    if not by_source:
        return [], ""

    def cells(name: str) -> tuple[int, int]:
        some = by_source[name]
        return min(len({one.params for one in some}), len({one.tokens for one in some})), len(some)

    most = max(sorted(by_source), key=cells)
    return by_source[most], most


def _abilities(runs: Runs, costs: Ledger) -> dict[str, list[tuple[Candidate, float]]]:
    every = _every(runs, costs)
    found: dict[str, list[tuple[Candidate, float]]] = {}
    luck: dict[str, float] = {}
    for row in runs.ability_rows:
        run, score = every.get(str(row.get("run_id"))), row.get("score")
        if run is None or row.get("metric") not in _SCORES or not isinstance(score, int | float):
            continue
        what = f"{row.get('task')} ({row.get('metric')})"
        chance, items = row.get("chance") or 0.0, row.get("items") or 0
        found.setdefault(what, []).append((run[0], float(score) - chance))
        luck[what] = 3 * np.sqrt(chance * (1 - chance) / items) if items > 0 else 0.0
    return {
        what: scored
        for what, scored in found.items()
        if len(scored) > 1 and max(score for _, score in scored) > luck[what]
    }


def _front(resource: str, what: str, scored: Sequence[tuple[Candidate, float]], lower: bool) -> Front:
    sign = 1.0 if lower else -1.0
    known = [pair for pair in scored if np.isfinite(pair[0].takes[resource])]
    front: list[tuple[Candidate, float]] = []
    for run, value in sorted(known, key=lambda pair: (pair[0].takes[resource], sign * pair[1])):
        if not front or sign * value < sign * front[-1][1]:
            front.append((run, value))
    runs, values = tuple(run for run, _ in front), tuple(value for _, value in front)
    return Front(resource, runs, _knee(resource, runs, sign * np.array(values)), what, values)


def _knee(resource: str, front: Sequence[Candidate], y: np.ndarray) -> Candidate | None:
    """None of fewer than four, and where nothing lies below the chord: a straight line has no knee."""
    if len(front) < 4:
        return None
    x = np.log([one.takes[resource] for one in front])
    below = (x - x[0]) / (x[-1] - x[0]) - (y[0] - y) / (y[0] - y[-1])
    at = int(np.argmin(below))
    return front[at] if below[at] < -0.02 else None


def _enough(what: str, scored: Sequence[tuple[Candidate, float]], percent: float, lower: bool) -> Enough:
    best_run, best = (min if lower else max)(scored, key=lambda pair: pair[1])
    limit = best * (1 + percent / 100) if lower else best * (1 - percent / 100)
    good = [pair for pair in scored if (pair[1] <= limit if lower else pair[1] >= limit)]

    def thrift(pair: tuple[Candidate, float]) -> tuple[float, float, float]:
        joules = pair[0].takes["joules"]
        return pair[0].params, joules if np.isfinite(joules) else np.inf, pair[0].tokens

    run, value = min(good, key=thrift)
    if run.params >= best_run.params:
        run, value = best_run, best
    return Enough(what, percent, run, value, best_run, best)


def sobriety_text(found: Sobriety) -> str:
    from analysis.text import table

    rows = [_told(front) for front in (*found.fronts, *found.ability_fronts)]
    of = f" of {found.source}" if found.source else ""
    said = [
        f"{len(found.runs)} finished runs{of}; energy: {found.basis}",
        table(rows, ("", "resource", "on the frontier", "thriftiest", "knee", "best")),
        *(f"  {one}" for one in found.enough[:12]),
    ]
    if found.baseline is not None:
        what = "the baseline" if found.grams is None else f"{found.grams.run_id}, a model without a network,"
        said.append(f"  no better than {what} of loss {found.baseline:.4f}: {found.beaten} runs")
    return "\n".join(said)


def _told(front: Front) -> tuple[str, ...]:
    from analysis.text import number

    def at(run: Candidate) -> str:
        return f"{number(run.takes[front.resource])}: {front.values[front.runs.index(run)]:.4f}"

    knee = "-" if front.knee is None else at(front.knee)
    first, last = at(front.runs[0]), at(front.runs[-1])
    return front.what, RESOURCES[front.resource], str(len(front.runs)), first, knee, last
