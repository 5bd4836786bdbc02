"""Rows of an ability table to cells: one run's score at one size, with the items it is really worth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from analysis.notes import Note
from analysis.thresholds import metrics, replicates, rows
from analysis.thresholds.metrics import Metric


@dataclass(frozen=True)
class Cells:
    """One task and metric: K sizes, C cells.

    x (K,) the fitting scale (log10 of the axis; minus the loss), place (K,) the axis' own unit; size (C,)
    index into them; seed, score (C,). For proportions correct and items (C,) are effective counts: clustered
    items count as fewer. For a continuous metric they are None, value (C,) is the score on the scale of
    `measure` on which up is better (-log for nats), and variance (C,) its known error. raw_items (C,) as
    stated.
    """

    task: str
    metric: str
    axis: str
    chance: float | None
    x: np.ndarray
    place: np.ndarray
    size: np.ndarray
    seed: np.ndarray
    score: np.ndarray
    raw_items: np.ndarray
    correct: np.ndarray | None
    items: np.ndarray | None
    value: np.ndarray | None
    variance: np.ndarray | None
    stated_zero_error: np.ndarray  # (C,) the table gives stderr 0
    whole: bool  # scores are counts of whole items
    parse_rate: np.ndarray  # (C,) share of answers that could be parsed, NaN where not said
    notes: tuple[Note, ...] = ()
    faults: tuple[Note, ...] = ()
    measure: Metric = metrics.KNOWN["exact_match"]
    recipes: bool = False  # cells of one size are different models, whose spread says nothing of seeds
    first: int = 0  # the place of its first row in the table: results are listed by it

    @property
    def continuous(self) -> bool:
        return self.value is not None

    @property
    def seeds(self) -> np.ndarray:
        """Seeds at each size (K,); different models are none of each other."""
        if self.recipes:
            return np.ones(self.x.size, int)
        return np.bincount(self.size, minlength=self.x.size)

    @property
    def pooled(self) -> np.ndarray:
        """Mean score of each size (K,), each cell by its items."""
        weight = np.ones(self.size.size) if self.items is None else self.items
        total = np.bincount(self.size, weight * self.score, self.x.size)
        return total / np.bincount(self.size, weight, self.x.size)


def build(frame, axis: str, chance: dict[str, float] | None = None) -> list[Cells]:
    """All series of a table (a pandas DataFrame), the same whatever the order of its rows: tasks and metrics
    as they appear in `rows.ordered`, by which random numbers are dealt out.

    chance: level by task where the table has none. Raises InputError naming every bad row.
    """
    frame = rows.ordered(rows.tidy(frame, axis, chance))
    if "grid" in frame:
        several = frame.groupby("task")["grid"].transform("nunique") > 1
        frame.loc[several, "task"] = frame["task"] + "@" + frame["grid"].astype(str)
    groups = frame.groupby(["task", "metric"], sort=False)
    return [
        replace(_series(part, str(task), str(metric), axis), first=int(part.index.min()))
        for (task, metric), part in groups
    ]


def _series(part, task: str, metric: str, axis: str) -> Cells:
    import pandas

    notes: list[Note] = []
    measure = metrics.find(metric)
    if part["bounded"].all():
        measure = replace(measure, kind="bounded")
        text = "neither items nor errors are given: what a score is worth is known from its seeds alone"
        notes.append(Note("items_unknown", text))
    continuous = not measure.proportion
    chance = None
    if part["proportion"].all():
        known = part["chance"].dropna()
        chance = float(known.iloc[0]) if len(known) else 0.0
        if not len(known):
            notes.append(Note("chance_assumed", f"no chance level was given: {metric} is taken to have 0"))
    if measure.percent:
        text = "as percentages" if part["percent"].all() else "as fractions, since none is above 1"
        notes.append(Note("unit_assumed", f"{metric} is read {text}"))
    part = _one_budget(part, axis, notes)
    keys = [name for name in ("params", "tokens") if part[name].notna().all()]
    keys = keys if axis in keys or len(keys) == 2 else [axis]
    if not continuous:
        part = _pool_clusters(part, keys)
    part, keys = replicates.places(part, axis, keys, notes)
    part = replicates.without_copies(part, keys, notes)
    part, recipes = replicates.one_recipe(part, keys, notes)
    group = part.groupby(keys, sort=True).ngroup().to_numpy()
    value = part[axis].to_numpy()
    place = np.bincount(group, value) / np.bincount(group)
    x = -place if axis == "loss_nats" else np.log10(place)
    x, first, merged = np.unique(np.round(x, 9), return_index=True, return_inverse=True)
    place, size = place[first], merged[group]
    seed = replicates.labels(part, size, notes, recipes)
    if axis == "tokens" and _one_run(part, seed):
        text = (
            "checkpoints of one run share its luck: they are no independent runs, and their errors are linked"
        )
        notes.append(Note("one_run", text))
    whole = measure.kind == "count" and not part["recovered"].any() and part["stderr"].isna().all()
    stated = part["stderr"].to_numpy()
    cells = Cells(
        task,
        metric,
        axis,
        chance,
        x,
        place,
        size,
        seed,
        part["score"].to_numpy(),
        part["items"].to_numpy(),
        None,
        None,
        None,
        None,
        stated == 0,
        whole and bool((part["items"] % 1 == 0).all()),
        part["parse_rate"].to_numpy(),
        tuple(notes),
        measure=measure,
        recipes=recipes,
    )
    if continuous:
        value = measure.value(cells.score, cells.raw_items)
        error = np.nan_to_num(measure.error(cells.score, stated))
        cells = replace(cells, value=value, variance=error**2)
    else:
        cells = _effective(cells, stated)
    sort = np.lexsort((cells.score, pandas.factorize(cells.seed, sort=True)[0], cells.size))
    return take(cells, sort)


def _one_run(part, seed: np.ndarray) -> bool:
    """One model at many token counts: what follows a checkpoint is a continuation of it."""
    one_size = part["params"].isna().all() or part["params"].nunique() == 1
    places = part["tokens"].nunique()
    return bool(one_size and places > 1 and len(part) == places * np.unique(seed).size)


def take(cells: Cells, index: np.ndarray) -> Cells:
    names = ["size", "seed", "score", "raw_items", "correct", "items", "value", "variance"]
    names += ["stated_zero_error", "parse_rate"]
    return replace(cells, **{n: v[index] for n in names if (v := getattr(cells, n)) is not None})


def _one_budget(part, axis: str, notes: list[Note]):
    """One token budget for the params axis, one model for the tokens axis: a grid is not a set of seeds."""
    other = {"params": "tokens", "tokens": "params"}.get(axis)
    if other is None or part[other].isna().any():
        return part
    table = part.groupby(axis)[other].nunique()
    if table.max() == 1:
        return part
    spread = part.groupby(other)[axis].nunique()
    full = spread[spread == spread.max()]
    if full.iloc[0] > 1 and full.iloc[0] >= 0.75 * len(table):
        kept = part[part[other] == full.index.max()]
        text = (
            f"cells of {other} {full.index.max():g} only: {len(part) - len(kept)} at other {other} left out"
        )
    else:
        kept = part[part[other] == part.groupby(axis)[other].transform("max")]
        text = f"the largest {other} of each {axis} only: {len(part) - len(kept)} cells left out"
    notes.append(Note("one_budget", text))
    return kept


def _pool_clusters(part, keys: list[str]):
    """Rows that differ in `cluster` alone are parts of one cell: one row, with the ratio estimator's error.

    Raises nothing; a cell of one row stays as it is. Error of a mean of clusters: Miller 2411.00640.
    """
    if "cluster" not in part or part["cluster"].isna().any():
        return part
    if "seed" in part and part["seed"].notna().any():
        keys = [*keys, "seed"]
        part = part.assign(seed=part["seed"].fillna(-1))
    if not part.duplicated(keys).any() or part.duplicated([*keys, "cluster"]).any():
        return part
    pooled = []
    for _, each in part.groupby(keys, sort=False):
        items, hits = each["items"].to_numpy(), (each["score"] * each["items"]).to_numpy()
        score, count = hits.sum() / items.sum(), len(each)
        row = each.iloc[0].copy()
        row["score"], row["items"], row["correct"] = score, items.sum(), np.nan
        spread = ((hits - score * items) ** 2).sum() * count / max(count - 1, 1)
        row["stderr"] = np.sqrt(spread) / items.sum()
        pooled.append(row)
    return type(part)(pooled).infer_objects()


def _effective(cells: Cells, stated: np.ndarray) -> Cells:
    """Items divided by the design effect: of a stated error beyond the binomial, or of clustered rows. Items
    of a share may be worth more than as many counts, since each of them is measured, not only passed."""
    notes = list(cells.notes)
    score, items = cells.score, cells.raw_items.astype(float)
    binomial = score * (1 - score) / items
    known = (binomial > 0) & (stated > 0)
    effect = np.ones(score.size)
    least = 1.0 if cells.measure.kind == "count" else 0.1
    effect[known] = np.maximum(least, stated[known] ** 2 / binomial[known])
    if known.any():
        effect[~known] = np.median(effect[known])
        if np.median(effect[known]) > 1.5:
            text = f"stated errors are {np.sqrt(np.median(effect[known])):.1f} times the binomial ones: "
            notes.append(Note("clustered", text + "clustered items, counted as fewer"))
    items = np.maximum(items / effect, 1.0)
    return replace(cells, correct=score * items, items=items, notes=tuple(notes))
