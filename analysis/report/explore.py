"""The runs once more, for the hand: what a script needs to draw any column of them against any other."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from analysis.plots.ability import label
from analysis.report.html import text
from analysis.report.study import Study, finished
from analysis.tables.table import numbers

MOST = 1000  # runs: more points are a blot, and a megabyte
_MOST_TASKS = 12
# (column, what it is called, a kind that says how its numbers are written). What counts as N, and as C, is a
# choice that laws depend on (arXiv 2406.19146, 2406.12907): all of them that the table has can be chosen.
_COLUMNS = (
    ("flops", "compute C: as the law counts it (FLOPs)", "power"),
    ("flops_6nd", "compute C: 6 N D (FLOPs)", "power"),
    ("flops_exact", "compute C: counted exactly (FLOPs)", "power"),
    ("flops_chinchilla", "compute C: Hoffmann's count (FLOPs)", "power"),
    ("flops_palm", "compute C: PaLM's count (FLOPs)", "power"),
    ("flops_kaplan", "compute C: Kaplan's count (FLOPs)", "power"),
    ("params", "size N: as the law counts it", "count"),
    ("params_total", "size N: all parameters", "count"),
    ("params_without_embedding", "size N: without the embedding", "count"),
    ("params_matrices", "size N: matrices alone", "count"),
    ("tokens", "training tokens D", "count"),
    ("loss", "validation loss", "plain"),
    ("bits_per_byte", "bits a byte", "plain"),
    ("learning_rate", "learning rate", "plain"),
    ("device_seconds", "device seconds", "plain"),
    ("energy_joules", "energy, measured (J)", "plain"),
)
_TOLD = ("run_id", "grid", "source", "seed", "width", "layers", "status", "held_out")


def explorer(study: Study) -> str:
    """The room that the script fills; empty where fewer than two runs have finished."""
    found = data(study)
    if found is None:
        return ""
    packed = json.dumps(found, separators=(",", ":"), allow_nan=False)
    said = (
        "Choose what stands on each axis; point at a run and it is marked in every figure. Drag over a part "
    )
    said += "to see it alone, double-click to see all again."
    return (
        f'<section id="explore" hidden data-runs="{text(packed)}"><h2>Explore</h2>'
        f'<p class="lead small">{said}</p></section>'
    )


def data(study: Study) -> dict[str, Any] | None:
    """{columns: [[name, label, kind]], values: [[number or null] a column], told: {name: [text] a run}}."""
    runs = study.runs
    rows = np.flatnonzero(finished(runs))
    if len(rows) < 2:
        return None
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(MOST, len(rows))).astype(int))]
    columns = dict(runs.columns)
    if {"params_total", "params_embedding"} <= set(columns):
        columns["params_without_embedding"] = numbers(columns["params_total"]) - numbers(
            columns["params_embedding"]
        )
    listed, values = [], []
    for name, said, kind in _COLUMNS:
        if name in columns:
            _add(listed, values, (name, said, kind), numbers(columns[name])[rows])
    ids = [str(value) for value in columns.get("run_id", np.arange(len(runs)))]
    for (task, metric), scores in _scores(study).items():
        found = np.array([scores.get(ids[row], np.nan) for row in rows], float)
        _add(listed, values, (f"{task}/{metric}", f"ability {task}: {label(metric)}", "plain"), found)
    told = {"run_id": [ids[row] for row in rows.tolist()]}
    for name in _TOLD[1:]:
        if name in columns:
            told[name] = [_text(columns[name][row]) for row in rows.tolist()]
    return {"columns": listed, "values": values, "told": told}


def _add(listed: list, values: list, column: tuple[str, str, str], found: np.ndarray) -> None:
    """Unless it says nothing, or what a column before it says."""
    kept = [float(f"{value:.6g}") if np.isfinite(value) else None for value in found.tolist()]
    if kept not in values and any(value is not None for value in kept):
        listed.append(list(column))
        values.append(kept)


def _scores(study: Study) -> dict[tuple[str, str], dict[str, float]]:
    """(task, metric) -> run id -> score."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for row in study.runs.ability_rows:
        run_id, score = row.get("run_id"), row.get("score")
        if run_id is not None and isinstance(score, int | float):
            found.setdefault((str(row["task"]), str(row["metric"])), {})[str(run_id)] = float(score)
    first = [key for key in found if key[1] in ("exact_match", "gold_nats")] or list(found)
    return {key: found[key] for key in first[: 2 * _MOST_TASKS]}


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    return f"{value:g}" if isinstance(value, float | np.floating) else str(value)
