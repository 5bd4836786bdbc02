"""What models gave on single items: `items.parquet` of the run folders of a store."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analysis.errors import InputError
from analysis.tables.limits import LIMITS
from analysis.tables.table import Runs

if TYPE_CHECKING:
    import pandas


def answer_lengths(runs: Runs, tasks: Collection[str]) -> dict[str, float]:
    """Mean tokens of an answer by task, from the first runs that have them; empty without such files."""
    wanted, found = set(tasks), {}
    for path in _paths(runs):
        if not wanted:
            break
        frame = _read(path, ["task", "tokens"])
        if frame is None:
            continue
        for task, tokens in frame.groupby("task", observed=True)["tokens"].mean().items():
            if task in wanted:
                found[str(task)] = float(tokens)
                wanted.discard(task)
    return found


def by_factors(runs: Runs, task: str, names: tuple[str, ...]) -> pandas.DataFrame:
    """Right answers of one task by run and by factors of its items, those of `names` that all items have:
    columns run_id, params, seed, then the factors, then right and items. Empty where no run has such items.
    """
    import pandas

    params = dict(zip(runs.columns["run_id"].tolist(), runs.columns["params_total"].tolist(), strict=True))
    seeds = dict(zip(runs.columns["run_id"].tolist(), runs.columns["seed"].tolist(), strict=True))
    parts = []
    for path in _paths(runs):
        frame = _read(path, ["task", "factors", "correct"])
        frame = None if frame is None else frame[frame["task"] == task]
        if frame is None or not len(frame):
            continue
        factors = _factors(frame["factors"], names)
        if factors is None:
            continue
        counted = factors.assign(right=frame["correct"].to_numpy(float), items=1.0)
        counted = counted.groupby(list(names), as_index=False)[["right", "items"]].sum()
        run_id = path.parent.name
        parts.append(counted.assign(run_id=run_id, params=float(params[run_id]), seed=seeds[run_id]))
    columns = ["run_id", "params", "seed", *names, "right", "items"]
    if not parts:
        return pandas.DataFrame(columns=columns)
    return pandas.concat(parts, ignore_index=True)[columns]


def planted(runs: Runs) -> pandas.DataFrame:
    """Of the task `association`, whose items say what was planted (a factor, in per cent), by run: columns
    run_id, task, params, tokens, seed, planted (a part), probability (mean, of the right answer), likeliest
    (part of the items of which it is the likeliest), items. Empty where there is none."""
    import pandas

    columns = ["run_id", "task", "params", "tokens", "seed", "planted", "probability", "likeliest", "items"]
    about = ("params_total", "tokens", "seed")
    if not all(name in runs.columns for name in ("run_id", *about)):
        return pandas.DataFrame(columns=columns)
    of = dict(
        zip(
            runs.columns["run_id"].tolist(),
            zip(*(runs.columns[n].tolist() for n in about), strict=True),
            strict=True,
        )
    )
    tasks = {
        str(row.get("task")) for row in runs.ability_rows if str(row.get("task")).startswith("association")
    }
    rows = []
    for path in _paths(runs) if tasks else ():
        frame = _read(path, ["task", "factors", "correct", "gold_nats"])
        for task, part in () if frame is None else frame.groupby("task", observed=True):
            factors = _factors(part["factors"], ("planted",))
            if factors is None or not len(part) or factors["planted"].nunique() != 1:
                continue
            share = float(factors["planted"].iloc[0]) / 100
            probability = float(np.exp(-part["gold_nats"].to_numpy(float)).mean())
            likeliest = float(part["correct"].to_numpy(float).mean())
            if 0 < share < 1 and np.isfinite(probability):
                rows.append(
                    (
                        path.parent.name,
                        str(task),
                        *map(float, of[path.parent.name]),
                        share,
                        probability,
                        likeliest,
                        len(part),
                    )
                )
    return pandas.DataFrame(rows, columns=columns)


def _factors(column, names: tuple[str, ...]):
    """Columns of numbers out of `name=value` words, or None where an item lacks one."""
    import pandas

    known: dict[str, tuple[float, ...] | None] = {}
    for line in column.unique():
        words = dict(word.split("=", 1) for word in str(line).split() if "=" in word)
        try:
            known[line] = tuple(float(words[name]) for name in names)
        except (KeyError, ValueError):
            return None
    values = np.array([known[line] for line in column], float).reshape(-1, len(names))
    return pandas.DataFrame(values, columns=list(names))


def _paths(runs: Runs) -> list[Path]:
    """Item files of the finished runs. Folders are listed, so that no id out of a file becomes a path."""
    folder = Path(runs.source) / "runs"
    if not runs.store or "run_id" not in runs.columns or not folder.is_dir():
        return []
    status = runs.role("status")
    good = np.ones(len(runs), bool) if status is None else np.asarray(status) == "ok"
    wanted = set(np.asarray(runs.columns["run_id"])[good].tolist())
    return [
        entry / "items.parquet"
        for entry in sorted(folder.iterdir())
        if entry.name in wanted and entry.is_dir() and not entry.is_symlink()
    ]


def _read(path: Path, columns: list[str]):
    """The columns as a DataFrame; None for a file that cannot be read or lacks one."""
    try:
        return LIMITS.parquet(path, columns, root=path.parents[2]).to_pandas()
    except (InputError, FileNotFoundError):
        return None
