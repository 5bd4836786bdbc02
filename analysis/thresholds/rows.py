"""Rows of an ability table as people write them, checked and completed; every problem in one go."""

from __future__ import annotations

import shlex

from analysis.errors import InputError
from analysis.tables.benchmarks import known_levels
from analysis.tables.columns import nearest
from analysis.tables.order import KEY
from analysis.tables.order import ordered as order
from analysis.tables.units import labelled
from analysis.thresholds import metrics

AXES = ("params", "tokens", "flops", "loss_nats")
_NUMERIC = ("params", "tokens", "flops", "loss_nats", "score", "correct", "items", "stderr", "chance")
_SHOWN = 8  # bad rows named of each kind


def tidy(frame, axis: str, chance: dict[str, float] | None):
    """A copy with all columns there, numbers as floats (NaN where not said), scores complete.

    Adds `recovered` (items from a stderr), `percent` (score was on 0 to 100), `proportion` and `bounded` (a
    proportion of a series that gives neither items nor errors). chance: level by task. Raises InputError.
    """
    import numpy as np
    import pandas

    frame = _long(frame.reset_index(drop=True).copy())
    problems = _missing_columns(frame, axis)
    if problems:
        raise InputError(*problems)
    if "metric" not in frame:
        frame["metric"] = "accuracy"
    for name in ("task", "metric"):
        frame[name] = frame[name].astype(str)
    problems += metrics.unknown(frame["metric"])
    for name in (*_NUMERIC, "parse_rate"):
        if name not in frame:
            frame[name] = np.nan
            continue
        given = frame[name]
        frame[name] = pandas.to_numeric(given, errors="coerce").astype(float)
        bad = frame[name].isna() & given.notna() & (given.astype(str).str.strip() != "")
        problems += [f"row {row}: {name} {given[row]!r} is no number" for row in frame.index[bad][:_SHOWN]]
    kinds = {name: metrics.find(name) for name in frame["metric"].unique()}
    frame["proportion"] = frame["metric"].map({n: k is None or k.proportion for n, k in kinds.items()})
    for task, level in (chance or {}).items():
        if not (frame["task"] == task).any():
            problems.append(f"--chance: no task {task!r}{nearest(task, frame['task'].unique())}")
        frame.loc[(frame["task"] == task) & frame["proportion"], "chance"] = level
    problems += _percent(frame, kinds)
    _complete_scores(frame)
    problems += _bad_values(frame, axis, kinds) + _bad_chance(frame)
    if problems:
        raise InputError(*problems)
    return frame


# As a store lists the metrics of a task; others follow by name.
_FIRST = ("exact_match", "token_accuracy", "gold_nats")


def ordered(frame):
    """The rows by what they say, not by where they stand: by the name of the run where they have one, by task
    and metric, by numbers, then by all columns. Simulations are dealt out in this order."""
    import numpy as np

    metric = {
        name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name) for name in set(frame["metric"])
    }
    rank = {name: place for place, name in enumerate(sorted(metric, key=metric.__getitem__))}
    keys = [labelled(frame["task"])[1], frame["metric"].map(rank).to_numpy()]
    keys += [frame[name].to_numpy(float) for name in _NUMERIC]
    columns = {str(name): frame[name].to_numpy() for name in frame}
    named = KEY in columns and frame[KEY].notna().all()
    return frame.iloc[order(columns, np.arange(len(frame)), keys, named)]


def _long(frame):
    """A wide table, a column a metric, as rows; any other as it is."""
    columns = [name for name in frame if metrics.find(str(name)) is not None and name not in ("loss", "nll")]
    if "score" in frame or "metric" in frame or "correct" in frame or not columns:
        return frame
    rest = [name for name in frame if name not in columns]
    long = frame.melt(rest, columns, "metric", "score")
    return long[long["score"].notna()].reset_index(drop=True)


def _missing_columns(frame, axis: str) -> list[str]:
    if axis not in AXES:
        return [f"--axis {axis!r}{nearest(axis, AXES)}"]
    if not len(frame):
        return ["the table has no ability scores: rows of task, metric, params, score, items are needed"]
    problems = [
        f"no column {name!r}{nearest(name, frame.columns)}; map it with --columns {name}=NAME"
        for name in ("task", axis)
        if name not in frame
    ]
    if "score" not in frame and not {"correct", "items"} <= set(frame.columns):
        problems.append("no column 'score', nor 'correct' with 'items'; map one with --columns score=NAME")
    return problems


def _percent(frame, kinds) -> list[str]:
    """Percentages of measures that are published so become fractions; of an accuracy they are refused."""
    problems = []
    frame["percent"] = False
    for name, kind in kinds.items():
        rows = frame["metric"] == name
        score = frame.loc[rows, "score"].dropna()
        if kind is None or not kind.proportion or not (score > 1).any():
            continue
        if kind.percent and score.max() <= 100:
            frame.loc[rows, ["score", "stderr"]] /= 100
            frame.loc[rows, "percent"] = True
        elif (score > 1).mean() >= 0.5 and score.max() <= 100:
            top = f"{score.max():g}"
            problems.append(
                f"{name}: scores go up to {top}: these are percentages; divide score (and stderr) by 100, "
                "as --columns score=score/100,stderr=stderr/100 does"
            )
            frame.loc[rows, "score"] /= 100  # said once, not once a row
    return problems


def _complete_scores(frame) -> None:
    """score from correct of items; items from a binomial stderr; both only where the table lacks them.

    Answers known for certain have 0 nats in single precision: what is known is that they have less than it
    resolves.
    """
    certain = frame["metric"].isin([name for name, kind in metrics.KNOWN.items() if kind.rank in (0, 1)])
    frame.loc[certain & (frame["score"] == 0), "score"] = metrics.RESOLUTION
    counted = frame["score"].isna() & (frame["items"] > 0)
    frame.loc[counted, "score"] = frame["correct"] / frame["items"]
    frame["recovered"] = False
    inside = (frame["score"] > 0) & (frame["score"] < 1) & (frame["stderr"] > 0) & frame["items"].isna()
    inside &= frame["proportion"]
    frame.loc[inside, "items"] = frame["score"] * (1 - frame["score"]) / frame["stderr"] ** 2
    frame.loc[inside, "recovered"] = True
    ends = frame["items"].isna() & frame["score"].isin([0.0, 1.0]) & frame["stderr"].notna()
    own = frame.groupby(["task", "metric"])["items"].transform("median")
    frame.loc[ends, "items"] = own[ends].fillna(frame["items"].median())
    given = (frame["items"].notna() | frame["stderr"].notna()).groupby([frame["task"], frame["metric"]])
    frame["bounded"] = frame["proportion"] & ~given.transform("any")


def _bad_values(frame, axis: str, kinds) -> list[str]:
    import numpy as np

    share = frame["proportion"]
    zero = frame["metric"].map({name: kind is not None and kind.zero for name, kind in kinds.items()})
    least = frame["metric"].map(
        {name: 1.0 if kind is not None and kind.kind == "perplexity" else 0.0 for name, kind in kinds.items()}
    )
    label = frame["task"] + "/" + frame["metric"]
    score, items, correct = frame["score"], frame["items"], frame["correct"]
    place = frame[axis]
    low = ~share & ((score < least) | ((score == least) & ~zero))
    lost = share & score.notna() & ~(items > 0) & ~frame["bounded"]
    apart = share & (correct.notna() & (items > 0)) & ((correct / items - score).abs() > 0.011)
    checks = (
        (place.isna() | ~np.isfinite(place), lambda r: f"{axis} is missing"),
        # A loss may be exactly 0, where a small task is known by heart.
        (place < 0 if axis == "loss_nats" else place <= 0, lambda r: f"{axis} {place[r]:g} is not positive"),
        (score.isna(), lambda r: "score is missing"),
        (share & ((score < 0) | (score > 1)), lambda r: f"score {score[r]:g} is outside [0, 1]: a fraction"),
        (low, lambda r: f"score {score[r]:g} is not above {least[r]:g}, as this metric must be"),
        (lost, lambda r: "items (or a stderr) is missing: no error is known"),
        (correct.notna() & (correct % 1 != 0), lambda r: f"correct {correct[r]:g} is no whole number"),
        ((correct < 0) | (correct > items), lambda r: f"correct {correct[r]:g} of {items[r]:g} items"),
        (apart, lambda r: f"score {score[r]:.4g}, but correct {correct[r]:g} of {items[r]:g} items"),
        (frame["stderr"] < 0, lambda r: f"stderr {frame['stderr'][r]:g} is negative"),
        ((frame["chance"] < 0) | (frame["chance"] >= 1), lambda r: "chance is outside [0, 1)"),
        (
            (frame["parse_rate"] < 0) | (frame["parse_rate"] > 1),
            lambda r: f"parse_rate {frame['parse_rate'][r]:g} is outside [0, 1]",
        ),
    )
    problems = []
    for bad, say in checks:
        rows = frame.index[bad.fillna(False)]
        problems += [f"row {row}: {label[row]}: {say(row)}" for row in rows[:_SHOWN]]
        if len(rows) > _SHOWN:
            problems.append(f"... and {len(rows) - _SHOWN} more rows like the last one")
    keys = ["task", "metric", "params", "tokens", "flops", "seed", "cluster", "grid", "model"]
    keys = [k for k in keys if k in frame]
    if "seed" in frame:
        twice = frame[frame.duplicated(keys, keep="first") & frame["seed"].notna()]
        problems += [
            f"row {row}: {label[row]}: the same size and seed occurs twice" for row in twice.index[:_SHOWN]
        ]
    return problems


def _bad_chance(frame) -> list[str]:
    """A level is needed where answers can be guessed, and one for all rows of a series."""
    share = frame["proportion"]
    guessed = ~frame["metric"].map(metrics.plain).isin(metrics.NO_CHANCE)
    guessed &= frame["metric"].map(lambda name: metrics.find(name) is None or not metrics.find(name).percent)
    levels = frame[share].groupby(["task", "metric"])["chance"]
    problems = [f"{t}/{m}: more than one chance level" for (t, m), n in levels.nunique().items() if n > 1]
    told = levels.transform("count").reindex(frame.index).fillna(0) > 0
    lost = frame[share & guessed & ~told]
    return problems + _asked_for(sorted(lost["task"].unique()))


def _asked_for(tasks: list[str]) -> list[str]:
    """One line that asks for all levels at once, and proposes those that are known."""
    if not tasks:
        return []
    known = known_levels(tasks)
    left = [task for task in tasks if task not in known]
    lines = []
    if left:
        options = " ".join(f"--chance {shlex.quote(task)}=LEVEL" for task in left)
        lines.append(
            f"no chance level for {', '.join(left)}; add a column chance, or {options}, "
            f"as in --chance {left[0]}=0.25"
        )
    if known:
        said = "; ".join(f"{task} {one.chance:.3g} ({one.said}, {one.source})" for task, one in known.items())
        lines.append(f"no chance level, but known benchmarks: --chance known takes {said}")
    return lines
