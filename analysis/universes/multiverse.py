"""The multiverse: the exponent of compute-optimal params under every defensible way to analyse one table.

Approach, law, objective, outlier rule, what counts as a parameter and what as compute are choices that papers
make silently; arXiv 2406.19146 and arXiv 2502.18969 show that they move the exponent by more than noise does.
Here every combination is fitted, beside the interval that noise alone gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import combinations, product
from math import factorial
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.errors import InputError
from analysis.fits.fitting import Settings, fit_sample
from analysis.fits.results import Fit
from analysis.intervals.bootstrap import Interval
from analysis.isoflops.lines import power_law
from analysis.isoflops.minima import envelope_of, minima_of
from analysis.laws.law import Law
from analysis.laws.named import find
from analysis.notes import Note
from analysis.solve.objectives import Rho
from analysis.tables.columns import rival_params
from analysis.tables.formulas import evaluate
from analysis.tables.sample import Sample, sample
from analysis.tables.table import Runs, as_runs
from analysis.tables.units import numbers

# Laws whose exponent is free; a tied law says one half whatever the table holds.
LAWS = ("chinchilla", "coupled", "kaplan")
OBJECTIVES = {
    "huber 1e-3": Rho("huber", 1e-3, False),
    "huber 1e-2": Rho("huber", 1e-2, False),
    "squared": Rho("squared", 1e-3, False),
}
OUTLIERS = ("all rows", "without outliers", "without the least compute")
MINIMA = ("parabola", "cubic", "akima")
# A row this many robust standard deviations off the Huber fit is left out under that rule.
FAR = 5.0
# Share of the rows, by rising compute, that the third rule leaves out.
EARLY = 0.2
# Name of a convention of compute -> (n,) FLOPs of the rows.
Spent = Mapping[str, np.ndarray]
DIMENSIONS = ("approach", "law", "objective", "outliers", "counted", "compute")

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Universe:
    """One way to analyse the table. choices: dimension -> option, where the dimension applies; exponent is
    None where `refusal` says why there is none."""

    choices: Mapping[str, str]
    exponent: float | None
    refusal: str | None = None


@dataclass(frozen=True)
class Choice:
    """A dimension: the share of the exponent's variance over all universes that goes with it, and the mean
    exponent under each option. Shares of all dimensions and `Multiverse.interactions` sum to one."""

    dimension: str
    share: float
    means: Mapping[str, float]

    @property
    def moves(self) -> float:
        """Between its highest and its lowest mean."""
        return max(self.means.values()) - min(self.means.values())


@dataclass(frozen=True, repr=False)
class Multiverse:
    """All universes by rising exponent, refused ones last. choices: that which moves it most comes first.

    interactions: the share of the variance that no sum of single choices explains. baseline: the plain fit,
    with its interval of the exponent, which holds noise and no choice.
    """

    universes: tuple[Universe, ...]
    choices: tuple[Choice, ...]
    baseline: Fit
    source: str
    interactions: float
    warnings: tuple[Note, ...] = ()

    @property
    def exponents(self) -> np.ndarray:
        return np.array([one.exponent for one in self.universes if one.exponent is not None])

    @property
    def interval(self) -> Interval | None:
        own = self.baseline.exponents
        return None if own is None else own.interval

    def to_dict(self) -> dict[str, Any]:
        values = self.exponents
        low, middle, high = np.percentile(values, [5, 50, 95])
        own = self.baseline.exponents
        return {
            "exponent": None if own is None else own.params_exponent,
            "interval": None if self.interval is None else list(self.interval),
            "level": self.baseline.level,
            "range": [float(values.min()), float(values.max())],
            "central_90": [float(low), float(high)],
            "median": float(middle),
            "universes": [asdict(one) for one in self.universes],
            "choices": [{**asdict(one), "moves": one.moves} for one in self.choices],
            "interactions": self.interactions,
            "warnings": [note.to_dict() for note in self.warnings],
        }

    def to_frame(self) -> pandas.DataFrame:
        """A row for each universe: its choices, a column a dimension; exponent; refusal."""
        import pandas

        rows = [{**one.choices, "exponent": one.exponent, "refusal": one.refusal} for one in self.universes]
        return pandas.DataFrame(rows)

    if TYPE_CHECKING:  # its body is in `analysis.api`

        def plot(self, **options: Any) -> Any: ...

    def __repr__(self) -> str:
        values = self.exponents
        return f"Multiverse({len(values)} exponents, {values.min():.3f} to {values.max():.3f})"


def multiverse(
    runs: Any,
    laws: tuple[str | Law, ...] = LAWS,
    bootstrap: int = 500,
    level: float = 0.95,
    seed: int = 0,
    exclude_held_out: bool = True,
) -> Multiverse:
    """The exponent of params in flops under every combination of choices that the table allows.

    Choices are what counts as a parameter, which outliers go, which law or approach gives the exponent, and
    by which objective. laws: those to fit. bootstrap: draws for the baseline's interval at `level`. Raises
    InputError when the baseline itself cannot be fitted.
    """
    runs = as_runs(runs)
    base = _rows(runs, exclude_held_out)
    settings = Settings(OBJECTIVES["huber 1e-3"], bootstrap, level=level, seed=seed)
    baseline = fit_sample(base, find("chinchilla"), runs.source, settings)
    found: list[Universe] = []
    for counted, params in counts(runs).items():
        rows = _counted(base, params)
        if rows is None:
            found.append(Universe({"counted": counted}, None, "not known for every run"))
            continue
        spent = computes(runs, rows)
        for outliers in OUTLIERS:
            keep = _kept(rows, outliers, runs.source)
            kept, paid = rows.where(keep), {name: flops[keep] for name, flops in spent.items()}
            at = {"counted": counted, "outliers": outliers}
            found += _by_law(kept, at, paid, [find(law) for law in laws], runs.source)
            found += _by_runs(kept, at, paid, runs.source)
    varied = [name for name in DIMENSIONS if len({u.choices[name] for u in found if name in u.choices}) > 1]
    found = [replace(u, choices={k: v for k, v in u.choices.items() if k in varied}) for u in found]
    found.sort(key=lambda one: (one.exponent is None, one.exponent or 0.0))
    choices, interactions = _effects(found, varied)
    said = tuple(_remarks(found, baseline))
    return Multiverse(tuple(found), choices, baseline, runs.source, interactions, said)


def _rows(runs: Runs, exclude_held_out: bool) -> Sample:
    return sample(runs, ("params", "tokens", "flops")).without_held_out(exclude_held_out)


def counts(runs: Runs) -> dict[str, np.ndarray]:
    """What a table can count as a model's parameters: name -> (rows,), its own `params` first."""
    columns = {name: numbers(values) for name, values in runs.columns.items() if values.dtype.kind in "fiu"}
    out = {"params": columns["params"]}
    if runs.store and {"params_total", "params_embedding", "params_head"} <= columns.keys():
        total, table, head = (columns[f"params_{part}"] for part in ("total", "embedding", "head"))
        out = {
            "without input table": columns["params"],
            "all": total,
            "without embedding and head": total - np.nan_to_num(table) - np.nan_to_num(head),
        }
    else:
        out = {str(runs.roles.get("params", "params")): columns["params"]}
        out |= {name: evaluate(name, runs.columns) for name in rival_params("params", runs.columns)}
    kept: dict[str, np.ndarray] = {}
    for name, values in out.items():
        if not any(np.allclose(values, other, rtol=1e-3, equal_nan=True) for other in kept.values()):
            kept[name] = values
    return kept


def _counted(rows: Sample, params: np.ndarray) -> Sample | None:
    values = params[rows.rows]
    if not (np.isfinite(values) & (values > 0)).all():
        return None
    return replace(rows, inputs={**rows.inputs, "params": values})


def computes(runs: Runs, rows: Sample) -> dict[str, np.ndarray]:
    """Conventions of compute: name -> (n,) FLOPs of the rows. 6 params tokens comes first."""
    out = {"6 params tokens": 6 * rows.inputs["params"] * rows.inputs["tokens"]}
    names = [name for name in runs.columns if name.startswith("flops_") and name != "flops_6nd"]
    if not runs.store and runs.roles.get("flops") not in (None, "6 params tokens"):
        names.append("flops")
    for name in names:
        values = numbers(runs.columns[name])[rows.rows]
        usable = (np.isfinite(values) & (values > 0)).all()
        if usable and not any(np.allclose(values, other, rtol=0.01) for other in out.values()):
            out[str(runs.roles.get("flops", name)) if name == "flops" else name] = values
    return out


def _kept(rows: Sample, rule: str, source: str) -> np.ndarray:
    if rule == "without the least compute":
        flops = rows.inputs["flops"]
        return flops > np.quantile(flops, EARLY)
    if rule == "without outliers":
        try:
            fitted = fit_sample(rows, find("chinchilla"), source)
        except InputError:
            return np.ones(len(rows), bool)
        size = np.abs(fitted.sampled["residual"])
        return size <= FAR * 1.4826 * max(float(np.median(size)), 1e-12)
    return np.ones(len(rows), bool)


def _by_law(
    rows: Sample, at: dict[str, str], spent: Spent, laws: list[Law], source: str
) -> Iterator[Universe]:
    """Approach 3: one fit for each law and objective, read along each convention of compute."""
    for law, (name, rho) in product(laws, OBJECTIVES.items()):
        here = {**at, "approach": "law", "law": law.name, "objective": name}
        try:
            fitted = fit_sample(rows, law, source, Settings(rho))
        except InputError as error:
            yield Universe(here, None, error.problems[0])
            continue
        for compute, flops in spent.items():
            exponent = exponent_along(fitted, rows, flops)
            why = None if exponent is not None else "no optimum within reach of the runs"
            yield Universe({**here, "compute": compute}, exponent, why)


def _by_runs(rows: Sample, at: dict[str, str], spent: Spent, source: str) -> Iterator[Universe]:
    """Approaches 2 and 1: minima at equal compute by three curves, and the runs that none beats."""
    for compute, flops in spent.items():
        moved = replace(rows, inputs={**rows.inputs, "flops": flops})
        for method in MINIMA:
            here = {**at, "approach": f"IsoFLOP {method}", "compute": compute}
            try:
                law = minima_of(moved, source, method).params_law
            except InputError as error:
                yield Universe(here, None, error.problems[0])
                continue
            why = None if law is not None else "fewer than two minima"
            yield Universe(here, None if law is None else law.exponent, why)
        law = envelope_of(moved).params_law
        here = {**at, "approach": "envelope", "compute": compute}
        yield Universe(here, None if law is None else law.exponent, None if law else "too few runs")


def exponent_along(fitted: Fit, rows: Sample, flops: np.ndarray) -> float | None:
    """d log params / d log flops where the fitted law is lowest at each flops; None where that is an edge.

    flops (n,) is what each row spends; over 6 params tokens it may vary with params (attention, head, what
    counts as a parameter): its logarithm is taken as a parabola in log params.
    """
    n, d = rows.inputs["params"], rows.inputs["tokens"]
    ratio = np.log(flops / (6 * n * d))
    if np.ptp(ratio) < 1e-3:
        here = fitted.exponents
        return None if here is None else here.params_exponent
    degree = 2 if len(np.unique(np.round(np.log(n), 2))) > 3 else 1
    middle = float(np.log(n).mean())
    bend = np.polynomial.polynomial.polyfit(np.log(n) - middle, ratio, degree)
    low, high = np.quantile(np.log(flops), [0.1, 1.0]).tolist()
    budgets = np.linspace(low, high, 9)[:, None]
    # Beyond a factor of ten around the runs the parabola means nothing.
    sizes = np.linspace(np.log(n.min() / 10), np.log(n.max() * 10), 2001)[None]
    tokens = budgets - sizes - np.log(6) - np.polynomial.polynomial.polyval(sizes - middle, bend)
    loss = fitted.law.loss(fitted.params, {"params": np.exp(sizes), "tokens": np.exp(tokens)})
    at = np.argmin(np.where(np.isfinite(loss), loss, np.inf), axis=1)
    inner = (at > 0) & (at < sizes.shape[1] - 1)
    if inner.sum() < 5:
        return None
    at, loss, budgets = at[inner], loss[inner], budgets[inner, 0]
    left, here, right = (loss[np.arange(len(at)), at + step] for step in (-1, 0, 1))
    step = sizes[0, 1] - sizes[0, 0]
    best = sizes[0, at] + 0.5 * step * (left - right) / np.maximum(left - 2 * here + right, 1e-300)
    return power_law(np.exp(budgets), np.exp(best))[0]


def _effects(found: list[Universe], names: list[str]) -> tuple[tuple[Choice, ...], float]:
    """(choices, the largest share first; the share of interactions), approaches weighing alike.

    A dimension's share is what it adds to the variance explained by a sum of effects, averaged over all
    orders in which the dimensions can be added (Shapley's value; Lindeman, Merenda and Gold 1980): where
    combinations are missing, single main effects overlap and can sum to more than the whole. The effect of a
    dimension that applies to some universes only, as the law does, is its deviations among these.
    """
    seen = [one for one in found if one.exponent is not None]
    approach = [one.choices.get("approach", "") for one in seen]
    weight = np.array([1 / approach.count(one) for one in approach])
    value = np.array([one.exponent for one in seen])
    root = np.sqrt(weight)
    moved = root * (value - np.average(value, weights=weight))
    total = float(moved @ moved)
    means, columns = {}, {}
    for name in names:
        chosen = np.array([one.choices.get(name, "") for one in seen])
        here = chosen != ""
        options = np.unique(chosen[here])
        same = (chosen[:, None] == options) & here[:, None]
        means[name] = {
            str(option): float(np.average(value[rows], weights=weight[rows]))
            for option, rows in zip(options, same.T, strict=True)
        }
        share = (weight[:, None] * same).sum(axis=0) / weight[here].sum()
        columns[name] = root[:, None] * (same - share) * here[:, None]

    def explained(chosen: tuple[str, ...]) -> float:
        if not chosen or total <= 0:
            return 0.0
        basis, size, _ = np.linalg.svd(np.hstack([columns[name] for name in chosen]), full_matrices=False)
        return float(((basis[:, size > 1e-9 * size[0]].T @ moved) ** 2).sum() / total) if size[0] > 0 else 0.0

    known = {
        frozenset(some): explained(some) for k in range(len(names) + 1) for some in combinations(names, k)
    }
    shares = dict.fromkeys(names, 0.0)
    for some, part in known.items():
        for name in set(names) - some:
            orders = factorial(len(some)) * factorial(len(names) - len(some) - 1) / factorial(len(names))
            shares[name] += orders * (known[some | {name}] - part)
    choices = (Choice(name, max(shares[name], 0.0), means[name]) for name in names)
    rest = max(1.0 - known[frozenset(names)], 0.0) if total > 0 else 0.0
    return tuple(sorted(choices, key=lambda one: -one.share)), rest


def _remarks(found: list[Universe], baseline: Fit) -> list[Note]:
    said = []
    refused = [one for one in found if one.exponent is None]
    if refused:
        reasons = sorted({str(one.refusal) for one in refused})
        text = f"{len(refused)} of {len(found)} universes have no exponent: {'; '.join(reasons[:3])}"
        said.append(Note("universes_refused", text))
    values = np.array([one.exponent for one in found if one.exponent is not None])
    pair = baseline.exponents.interval if baseline.exponents is not None else None
    if pair is not None:
        outside = float(np.mean((values < pair[0]) | (values > pair[1])))
        if outside > 0.5:
            text = (
                f"{outside:.0%} of the universes lie outside the {baseline.level:.0%} interval of the plain "
                "fit: choices move the exponent more than noise does"
            )
            said.append(Note("choices_beat_noise", text))
    return said
