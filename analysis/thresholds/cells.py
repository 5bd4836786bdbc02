"""Rows of an ability table to cells: one run's score at one size, with the items it is really worth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from analysis.columns import nearest
from analysis.errors import InputError
from analysis.notes import Note

AXES = ("params", "tokens", "flops", "loss_nats")
EXACT = ("exact_match", "em", "acc", "accuracy", "acc_norm")  # metrics that count whole items
_SHOWN = 8  # bad rows named of each kind


@dataclass(frozen=True)
class Cells:
    """One task and metric: K sizes, C cells.

    x (K,) the fitting scale (log10 of the axis; minus the loss), place (K,) the axis' own unit; size (C,)
    index into them; seed, score (C,). For proportions correct and items (C,) are effective counts: clustered
    items count as fewer. For a continuous metric in nats they are None, value (C,) is -log(score), so that up
    is better, and variance (C,) its known error. raw_items (C,) as stated.
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

    @property
    def continuous(self) -> bool:
        return self.value is not None

    @property
    def seeds(self) -> np.ndarray:
        """Seeds at each size (K,)."""
        return np.bincount(self.size, minlength=self.x.size)

    @property
    def pooled(self) -> np.ndarray:
        """Mean score of each size (K,), each cell by its items."""
        weight = np.ones(self.size.size) if self.items is None else self.items
        total = np.bincount(self.size, weight * self.score, self.x.size)
        return total / np.bincount(self.size, weight, self.x.size)


def is_continuous(metric: str) -> bool:
    """Metrics in nats (lower is better, no upper end) are fitted on their logarithm."""
    return metric.endswith("nats")


def build(frame, axis: str, chance: dict[str, float] | None = None) -> list[Cells]:
    """All series of a table (a pandas DataFrame), tasks and metrics in order of appearance.

    chance: level by task where the table has none. Raises InputError naming every bad row.
    """
    import pandas

    frame = frame.reset_index(drop=True).copy()
    problems = _missing_columns(frame, axis)
    if problems:
        raise InputError(*problems)
    if "metric" not in frame:
        frame["metric"] = "accuracy"
    for name in ("task", "metric"):
        frame[name] = frame[name].astype(str)
    numeric = ("params", "tokens", "flops", "loss_nats", "score", "correct", "items", "stderr", "chance")
    for name in (*numeric, "parse_rate"):
        if name not in frame:
            frame[name] = np.nan
            continue
        given = frame[name]
        frame[name] = pandas.to_numeric(given, errors="coerce").astype(float)
        bad = frame[name].isna() & given.notna() & (given.astype(str).str.strip() != "")
        problems += [f"row {row}: {name} {given[row]!r} is no number" for row in frame.index[bad][:_SHOWN]]
    for task, level in (chance or {}).items():
        if not (frame["task"] == task).any():
            problems.append(f"--chance: no task {task!r}{nearest(task, frame['task'].unique())}")
        hit = (frame["task"] == task) & ~frame["metric"].map(is_continuous)
        frame.loc[hit, "chance"] = level
    _complete_scores(frame)
    problems += _bad_values(frame, axis)
    if problems:
        raise InputError(*problems)
    if "grid" in frame:
        several = frame.groupby("task")["grid"].transform("nunique") > 1
        frame.loc[several, "task"] = frame["task"] + "@" + frame["grid"].astype(str)
    groups = frame.groupby(["task", "metric"], sort=False)
    return [_series(rows, str(task), str(metric), axis) for (task, metric), rows in groups]


def _missing_columns(frame, axis: str) -> list[str]:
    if axis not in AXES:
        return [f"--axis {axis!r}{nearest(axis, AXES)}"]
    if not len(frame):
        return ["the table has no ability scores: rows of task, metric, params, score, items are needed"]
    wanted = ["task", axis]
    problems = [
        f"no column {name!r}{nearest(name, frame.columns)}; map it with --columns {name}=NAME"
        for name in wanted
        if name not in frame
    ]
    if "score" not in frame and not {"correct", "items"} <= set(frame.columns):
        problems.append("no column 'score', nor 'correct' with 'items'; map one with --columns score=NAME")
    return problems


def _complete_scores(frame) -> None:
    """score from correct of items; items from a binomial stderr; both only where the table lacks them."""
    counted = frame["score"].isna() & (frame["items"] > 0)
    frame.loc[counted, "score"] = frame["correct"] / frame["items"]
    frame["recovered"] = False
    inside = (frame["score"] > 0) & (frame["score"] < 1) & (frame["stderr"] > 0) & frame["items"].isna()
    inside &= ~frame["metric"].map(is_continuous)
    frame.loc[inside, "items"] = frame["score"] * (1 - frame["score"]) / frame["stderr"] ** 2
    frame.loc[inside, "recovered"] = True
    ends = frame["items"].isna() & frame["score"].isin([0.0, 1.0])
    own = frame.groupby(["task", "metric"])["items"].transform("median")
    frame.loc[ends, "items"] = own[ends].fillna(frame["items"].median())


def _bad_values(frame, axis: str) -> list[str]:
    share = ~frame["metric"].map(is_continuous)
    label = frame["task"] + "/" + frame["metric"]
    score, items, correct = frame["score"], frame["items"], frame["correct"]
    place = frame[axis]
    checks = (
        (place.isna() | ~np.isfinite(place), lambda r: f"{axis} is missing"),
        (place <= 0, lambda r: f"{axis} {place[r]:g} is not positive"),
        (score.isna(), lambda r: "score is missing"),
        (share & ((score < 0) | (score > 1)), lambda r: f"score {score[r]:g} is outside [0, 1]: a fraction"),
        (~share & (score <= 0), lambda r: f"score {score[r]:g} in nats is not positive"),
        (share & score.notna() & ~(items > 0), lambda r: "items (or a stderr) is missing: no error is known"),
        (correct.notna() & (correct % 1 != 0), lambda r: f"correct {correct[r]:g} is no whole number"),
        ((correct < 0) | (correct > items), lambda r: f"correct {correct[r]:g} of {items[r]:g} items"),
        (frame["stderr"] < 0, lambda r: f"stderr {frame['stderr'][r]:g} is negative"),
        ((frame["chance"] < 0) | (frame["chance"] >= 1), lambda r: "chance is outside [0, 1)"),
    )
    problems = []
    for bad, say in checks:
        rows = frame.index[bad.fillna(False)]
        problems += [f"row {row}: {label[row]}: {say(row)}" for row in rows[:_SHOWN]]
        if len(rows) > _SHOWN:
            problems.append(f"... and {len(rows) - _SHOWN} more rows like the last one")
    lost = frame[share & frame["chance"].isna() & ~frame["metric"].isin(["exact_match", "em"])]
    for task in lost["task"].unique()[:_SHOWN]:
        problems.append(f"{task}: no chance level; add a column chance, or --chance {task}=0.25")
    levels = frame[share].groupby(["task", "metric"])["chance"].nunique()
    problems += [f"{t}/{m}: more than one chance level" for (t, m), n in levels.items() if n > 1]
    keys = [
        k for k in ("task", "metric", "params", "tokens", "flops", "seed", "cluster", "grid") if k in frame
    ]
    if "seed" in frame and frame["seed"].notna().all():
        twice = frame[frame.duplicated(keys, keep="first")]
        problems += [
            f"row {row}: {label[row]}: the same size and seed occurs twice" for row in twice.index[:_SHOWN]
        ]
    return problems


def _series(rows, task: str, metric: str, axis: str) -> Cells:
    import pandas

    notes: list[Note] = []
    continuous = is_continuous(metric)
    chance = None if continuous else rows["chance"].iloc[0]
    if chance is not None and np.isnan(chance):
        chance = 0.0
        notes.append(Note("chance_assumed", "no chance level was given: exact match is taken to have 0"))
    rows = _one_budget(rows, axis, notes)
    keys = [name for name in ("params", "tokens") if rows[name].notna().all()]
    keys = keys if axis in keys or len(keys) == 2 else [axis]
    if not continuous:
        rows = _pool_clusters(rows, keys)
    group = rows.groupby(keys, sort=True).ngroup().to_numpy()
    value = rows[axis].to_numpy()
    place = np.bincount(group, value) / np.bincount(group)
    x = -place if axis == "loss_nats" else np.log10(place)
    x, first, merged = np.unique(np.round(x, 9), return_index=True, return_inverse=True)
    place, size = place[first], merged[group]
    if "seed" in rows and rows["seed"].notna().all():
        seed = rows["seed"].to_numpy()
    else:
        seed = rows.groupby(size).cumcount().to_numpy()
        if seed.max() > 0:
            notes.append(Note("replicates_assumed", "no seed column: rows of one size are taken as seeds"))
    cells = Cells(
        task,
        metric,
        axis,
        chance,
        x,
        place,
        size,
        seed,
        rows["score"].to_numpy(),
        rows["items"].to_numpy(),
        None,
        None,
        None,
        None,
        rows["stderr"].to_numpy() == 0,
        metric in EXACT and not rows["recovered"].any() and rows["stderr"].isna().all(),
        rows["parse_rate"].to_numpy(),
        tuple(notes),
    )
    stated = rows["stderr"].to_numpy()
    if continuous:
        relative = np.nan_to_num(stated / cells.score)
        cells = replace(cells, value=-np.log(cells.score), variance=relative**2)
    else:
        cells = _effective(cells, rows, stated)
    sort = np.lexsort((cells.score, pandas.factorize(cells.seed, sort=True)[0], cells.size))
    return _take(cells, sort)


def _take(cells: Cells, index: np.ndarray) -> Cells:
    names = ["size", "seed", "score", "raw_items", "correct", "items", "value", "variance"]
    names += ["stated_zero_error", "parse_rate"]
    return replace(cells, **{n: v[index] for n in names if (v := getattr(cells, n)) is not None})


def _one_budget(rows, axis: str, notes: list[Note]):
    """One token budget for the params axis, one model for the tokens axis: a grid is not a set of seeds."""
    other = {"params": "tokens", "tokens": "params"}.get(axis)
    if other is None or rows[other].isna().any():
        return rows
    table = rows.groupby(axis)[other].nunique()
    if table.max() == 1:
        return rows
    spread = rows.groupby(other)[axis].nunique()
    full = spread[spread == spread.max()]
    if full.iloc[0] > 1 and full.iloc[0] >= 0.75 * len(table):
        kept = rows[rows[other] == full.index.max()]
        text = (
            f"cells of {other} {full.index.max():g} only: {len(rows) - len(kept)} at other {other} left out"
        )
    else:
        kept = rows[rows[other] == rows.groupby(axis)[other].transform("max")]
        text = f"the largest {other} of each {axis} only: {len(rows) - len(kept)} cells left out"
    notes.append(Note("one_budget", text))
    return kept


def _pool_clusters(rows, keys: list[str]):
    """Rows that differ in `cluster` alone are parts of one cell: one row, with the ratio estimator's error.

    Raises nothing; a cell of one row stays as it is. Error of a mean of clusters: Miller 2411.00640.
    """
    if "cluster" not in rows or rows["cluster"].isna().any():
        return rows
    keys = keys + (["seed"] if "seed" in rows and rows["seed"].notna().all() else [])
    if not rows.duplicated(keys).any() or rows.duplicated([*keys, "cluster"]).any():
        return rows
    pooled = []
    for _, part in rows.groupby(keys, sort=False):
        items, hits = part["items"].to_numpy(), (part["score"] * part["items"]).to_numpy()
        score, count = hits.sum() / items.sum(), len(part)
        row = part.iloc[0].copy()
        row["score"], row["items"], row["correct"] = score, items.sum(), np.nan
        spread = ((hits - score * items) ** 2).sum() * count / max(count - 1, 1)
        row["stderr"] = np.sqrt(spread) / items.sum()
        pooled.append(row)
    return type(rows)(pooled).infer_objects()


def _effective(cells: Cells, rows, stated: np.ndarray) -> Cells:
    """Items divided by the design effect: of a stated error beyond the binomial, or of clustered rows."""
    notes = list(cells.notes)
    score, items = cells.score, cells.raw_items.astype(float)
    binomial = score * (1 - score) / items
    known = (binomial > 0) & (stated > 0)
    effect = np.ones(score.size)
    effect[known] = np.maximum(1.0, stated[known] ** 2 / binomial[known])
    if known.any():
        effect[~known] = np.median(effect[known])
        if np.median(effect[known]) > 1.5:
            text = f"stated errors are {np.sqrt(np.median(effect[known])):.1f} times the binomial ones: "
            notes.append(Note("clustered", text + "clustered items, counted as fewer"))
    items = np.maximum(items / effect, 1.0)
    return replace(cells, correct=score * items, items=items, notes=tuple(notes))
