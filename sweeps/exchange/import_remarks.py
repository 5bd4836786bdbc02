"""What is to be said of rows that were imported: what `lab fit` would leave out, lack or take twice."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from analysis.tables import benchmarks
from analysis.tables.endings import FINISHED
from analysis.tables.files import tidy
from analysis.tables.names import doubled_names
from analysis.tables.sample import sample
from analysis.tables.suggestions import suggested
from analysis.tables.table import Runs, table
from analysis.text import remarks as told_remarks
from analysis.thresholds.metrics import find as metric_of
from sweeps.exchange.found import Found, Remark, listed, number
from sweeps.exchange.written import clean

NAMES = ("name", "run", "run_name", "Name", "run name", "model", "Model")


# Notes of `lab fit` on what is written that stop nothing and would still make a wrong law.
_OF_THE_WHOLE = ("mixed_units", "perplexity", "repeated_data")


def unfitted(found: Found) -> list[Remark]:
    """What `lab fit` will leave out of the written table and why, and what it would be wrong on."""
    if not found.rows:
        return []
    if found.scores:
        return _percentages(found.rows)
    raw = _columns(found.rows)
    try:
        runs = table(raw, {}, "table")
    except ValueError:  # roles that dispute each other are told already
        return []
    said = {one.code for one in found.remarks}
    remarks = _lacking(runs, raw, said)
    if "loss" not in runs.roles:
        return remarks
    try:
        rows = sample(runs, tuple(role for role in ("params", "tokens") if role in runs.roles))
    except ValueError as error:
        text = str(getattr(error, "problems", [error])[0]).removeprefix("table: ")
        return [*remarks, Remark("not_fitted", text)]
    new = [note for note in rows.notes if note.code in _OF_THE_WHOLE and note.code not in said]
    remarks += [Remark(note.code, note.text) for note in new]
    left = [one for one in rows.excluded if not one.reason.startswith("status is")]
    if left:
        text = told_remarks((), left).strip().removeprefix("excluded").strip()
        remarks.append(Remark("not_fitted", f"`lab fit` will leave out {text}"))
    return remarks


def _percentages(rows: list[dict]) -> list[Remark]:
    """That scores are percentages, which `lab thresholds` refuses."""
    scores = [number(row.get("score")) for row in rows if _guessed(row)]
    good = [score for score in scores if score is not None]
    if sum(score > 1 for score in good) < 0.5 * max(len(good), 1) or not good or max(good) > 100:
        return []
    error = ",stderr=stderr/100" if any(row.get("stderr") is not None for row in rows) else ""
    text = f"scores go up to {max(good):g}, as percentages: --columns score=score/100{error}"
    return [Remark("percentages", text)]


def _lacking(runs: Runs, raw: Mapping[str, np.ndarray], said: set[str]) -> list[Remark]:
    """That no column is recognised as what a law needs: nothing of the table is fitted as it stands."""
    lacking = [role for role in ("params", "tokens", "loss") if role not in runs.roles]
    if "no_tokens" in said:
        lacking = [role for role in lacking if role != "tokens"]
    if not lacking:
        return []
    hints = "".join(suggested(role, raw) for role in lacking)
    of_runs = (
        "; --models says the size of each run by its name" if "params" in lacking and "name" in raw else ""
    )
    text = f"no column is recognised for {' and '.join(lacking)}: name them with --columns{hints}{of_runs}"
    return [Remark("roles_missing", text)]


def not_finished(path: Path, rows: list[dict]) -> list[Remark]:
    """Runs whose status says that they did not end well, and names that stand twice: kept, and told."""
    said = []
    key = next((name for name in ("status", "State", "state", "Status") if rows and name in rows[0]), None)
    if key is not None:
        states: dict[str, list[str]] = {}
        for index, row in enumerate(rows):
            value = str(row[key]).strip().lower()
            if value not in FINISHED and value not in ("", "none", "nan"):
                states.setdefault(value, []).append(_called(row, index))
        for value, names in states.items():
            text = f"{path.name}: {len(names)} runs are {value} and will not be fitted: {listed(names)}"
            said.append(Remark("not_finished", text))
    return said


def _called(row: Mapping, index: int) -> str:
    return str(next((row[name] for name in NAMES if row.get(name) not in (None, "")), f"row {index}"))


def twice(rows: list[dict]) -> list[Remark]:
    """Names that stand for several runs of one size and budget with other losses."""
    text = doubled_names(_columns(rows)) if rows else ""
    return [Remark("doubled_names", text)] if text else []


def _columns(rows: list[dict]) -> dict[str, np.ndarray]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {str(name): tidy([clean(row.get(name)) for row in rows], str(name)) for name in names}


def _guessed(row: Mapping) -> bool:
    """Whether a score is a share of right answers, which guessing has too."""
    kind = metric_of(str(row.get("metric", "accuracy")))
    return kind is None or kind.proportion


def chance(rows: list[dict]) -> list[Remark]:
    """Which levels of guessing are known, and which have to be said."""
    tasks = sorted({str(row["task"]) for row in rows if row.get("chance") is None and _guessed(row)})
    levels = benchmarks.known_levels(tasks)
    remarks = []
    if levels:
        shown = ", ".join(f"{task} {one.chance:.3g}" for task, one in list(levels.items())[:6])
        more = f" and {len(levels) - 6} more" if len(levels) > 6 else ""
        text = (
            f"levels of guessing are known for {shown}{more}: lab thresholds takes them with --chance known"
        )
        remarks.append(Remark("chance_known", text))
    unknown = [task for task in tasks if task not in levels]
    if unknown:
        given = " ".join(f"--chance {task}=LEVEL" for task in unknown[:4])
        text = f"levels of guessing are not known for {listed(unknown)}: lab thresholds {given}"
        remarks.append(Remark("chance_unknown", text))
    return remarks
