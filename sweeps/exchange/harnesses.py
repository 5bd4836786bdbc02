"""Scores of HELM, of BIG-bench, and of the table that lm-evaluation-harness prints, as rows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.errors import InputError
from sweeps.exchange.found import NOT_MEASURED, Found, Remark, at, listed, number, read_off, size_in


def printed(path: Path, rows: Sequence[Mapping[str, Any]]) -> Found | None:
    """The table that the harness prints (Tasks, Version, Filter, n-shot, Metric, Value, Stderr), or None.

    A blank task is the one above it; the model is the file's name.
    """
    names = {re.sub(r"[^a-z]", "", str(name).lower()): str(name) for name in (rows[0] if rows else ())}
    if not {"tasks", "metric", "value"} <= names.keys():
        return None
    found, task, left, params = [], "", [], size_in(path.stem)
    for row in rows:
        task = str(row[names["tasks"]] or "").strip(" -") or task
        score = number(row[names["value"]])
        if score is None or score in NOT_MEASURED:
            left.append(f"{task}/{row[names['metric']]} is {str(row[names['value']])[:20]!r}")
            continue
        one = {"model": path.stem, "params": params, "task": task, "metric": str(row[names["metric"]])}
        stderr = number(row.get(names.get("stderr", "")))
        shots = number(row.get(names.get("nshot", "")))
        found.append(one | {"score": score, "stderr": stderr or None, "items": None, "shots": shots})
    remarks = [
        Remark("printed", f"{path.name}: a table as the harness prints it; the model is the file's name")
    ]
    if left:
        text = f"{path.name}: left out {len(left)} values that are no scores: {listed(left)}"
        remarks.append(Remark("no_score", text))
    if params is not None:
        remarks.append(read_off(path, params, path.stem))
    return Found(found, tuple(remarks), scores=True)


def helm(path: Path, data: Sequence[Mapping]) -> Found:
    """`stats.json` of a run: mean and count of each measure; scenario and model are in the folder's name."""
    folder = path.parent.name
    scenario = re.split(r"[:,]", folder, maxsplit=1)[0]
    subject = re.search(r"(?:subject|task|dataset)=([^,]+)", folder)
    model = re.search(r"model=([^,]+)", folder)
    name = model[1].replace("_", "/", 1) if model else folder
    task = f"{scenario}/{subject[1]}" if subject else scenario
    rows, left = [], []
    for one in data:
        what = one["name"]
        if what.get("perturbation") or what.get("split") not in ("test", None):
            left.append(f"{what['name']} ({at(what, 'perturbation', 'name') or what.get('split')})")
            continue
        score, count = number(one.get("mean")), number(one.get("count"))
        if score is None and number(one.get("sum")) is not None and count:
            score = number(one["sum"]) / count
        if score is None:
            left.append(f"{what['name']} has no mean")
            continue
        row = {"model": name, "params": size_in(name), "task": task, "metric": what["name"], "score": score}
        # Means of runs: their count is that of instances where a run is one row an instance.
        rows.append(row | {"stderr": None, "items": number(one.get("num_instances"))})
    remarks = []
    if left:
        text = (
            f"{path.name}: left out {len(left)} measures off the test split or without mean: {listed(left)}"
        )
        remarks.append(Remark("no_score", text))
    instances = next(
        (r["score"] for r in rows if r["metric"] in ("num_references_instances", "num_instances")), None
    )
    rows = [row | {"items": row["items"] or instances} for row in rows]
    if rows and rows[0]["params"] is not None:
        remarks.append(read_off(path, rows[0]["params"], name))
    if not rows:
        raise InputError(f"{path}: no measure of the test split with a mean")
    return Found(rows, tuple(remarks), scores=True)


def bigbench(path: Path, data: Mapping) -> Found:
    """A model's results of a task: `scores` by shots, with the level of guessing (`low_score`) beside."""
    model = data.get("model") if isinstance(data.get("model"), Mapping) else {}
    name = " ".join(str(model[key]) for key in ("model_family", "model_name") if model.get(key)) or path.stem
    task = str(at(data, "task", "task_name") or data.get("task_name") or path.parent.name)
    params = number(model.get("non_embedding_params")) or number(model.get("total_params"))
    remarks = []
    if number(model.get("non_embedding_params")) and number(model.get("total_params")):
        text = f"{path.name}: params is non_embedding_params; total_params is another column"
        remarks.append(Remark("two_params", text))
    rows, failed = [], []
    for score in data["scores"]:
        for metric, value in score["score_dict"].items():
            found = number(value)
            if found is None or found in NOT_MEASURED:
                failed.append(f"{metric} is {value!r}")
                continue
            preferred = metric == score.get("preferred_score")
            low = number(score.get("low_score")) if preferred else None
            label = str(score.get("subtask_description") or "")
            own = task if label in ("", task) else f"{task}/{label[:60]}"
            row = {"model": name, "params": params, "task": own, "metric": metric, "score": found}
            more = {"total_params": number(model.get("total_params"))}
            rows.append(
                row
                | more
                | {"stderr": None, "items": None, "chance": low, "shots": score.get("number_of_shots")}
            )
    if failed:
        remarks.append(
            Remark(
                "no_score", f"{path.name}: left out {len(failed)} values that are no scores: {listed(failed)}"
            )
        )
    if not rows:
        raise InputError(f"{path}: none of its scores is a number")
    return Found(rows, tuple(remarks), scores=True)
