"""Scores of OLMES, HELM and BIG-bench, of long tables and of the one that a harness prints, as rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
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


def is_olmes(data: Any) -> bool:
    """Whether an object is what OLMES writes of a task, or `metrics.json`, which lists them."""
    if not isinstance(data, Mapping):
        return False
    tasks = data.get("metrics")
    if isinstance(tasks, list):
        return bool(tasks) and all(map(is_olmes, tasks))
    return isinstance(tasks, Mapping) and isinstance(data.get("task_config"), Mapping) and "task_name" in data


def olmes(path: Path, data: Sequence[Any]) -> Found:
    """Scores of https://github.com/allenai/olmes: an object a task with `task_name`, `task_config` (alias,
    shots, primary metric), `num_instances`, `metrics` and `model_config`; in `metrics.json` a list of them.

    The primary metric alone is taken, under its own name: that is the score that the standard is about. Means
    over tasks (the alias of a suite, without instances of its own) are left out and told.
    """
    tasks = [one for each in data for one in (each["metrics"] if _lists(each) else [each])]
    rows, left, sizes = [], [], {}
    for one in tasks:
        if not is_olmes(one):
            left.append(f"{str(one)[:40]} is none of its objects")
            continue
        config, metrics = one["task_config"], one["metrics"]
        alias = at(config, "metadata", "alias")
        task = str(alias or one["task_name"])
        score = number(metrics.get("primary_score"))
        if config.get("primary_metric") in ("macro", "micro") or at(config, "metadata", "num_tasks"):
            left.append(f"{task} is a mean over tasks")
            continue
        if score is None or score in NOT_MEASURED:
            left.append(f"{task} has no primary_score")
            continue
        model = str(at(one, "model_config", "model") or path.parent.name).replace("__", "/")
        revision = at(one, "model_config", "revision")
        model += f"@{revision}" if revision not in (None, "", "main") else ""
        sizes.setdefault(model, size_in(model))
        row = {"model": model, "params": sizes[model], "task": task}
        row |= {"metric": str(config.get("primary_metric") or "primary_score"), "score": score}
        row |= {"stderr": None, "items": number(one.get("num_instances"))}
        rows.append(row | {"shots": number(config.get("num_shots"))})
    remarks = [read_off(path, params, model) for model, params in sizes.items() if params is not None]
    if left:
        text = f"{path.name}: left out {len(left)} that are no scores of a task: {listed(left)}"
        remarks.append(Remark("no_score", text))
    if not rows:
        raise InputError(f"{path}: none of its tasks has a primary_score of its own")
    return Found(rows, tuple(remarks), scores=True)


def _lists(data: Any) -> bool:
    return isinstance(data, Mapping) and isinstance(data.get("metrics"), list)


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
    counts = ("num_references_instances", "num_instances")
    rows = [row | {"items": row["items"] or instances} for row in rows if row["metric"] not in counts]
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


_TASK = re.compile(
    r"^(tasks?|taskname|benchmarks?|benchmarkname|dataset|datasetname|evals?|evaluation|subtask)$"
)
_MODEL = re.compile(r"^(models?|modelname|name|checkpoint)$")
_SCORE = re.compile(
    r"^(score|value|result|accuracy|acc|accnorm|exactmatch|em|f1|mc1|mc2|pass1|primaryscore)$"
)
_PLAIN = re.compile(r"^(score|value|result|primaryscore)$")
_ITEMS = re.compile(
    r"^(n|items|nitems|numitems|samples|nsamples|numsamples|nexamples|numexamples|total|count)$"
)


def long(path: Path, rows: Sequence[Mapping[str, Any]], is_benchmark: Callable[[str], bool]) -> Found | None:
    """A table of scores, a row a task and model, under the names that people use; None for any other table.

    is_benchmark: whether a name is that of a known benchmark. A column a measure (`acc`, `acc_norm`) becomes
    a row each; `{model: {task: {acc: ...}}}` is such a table too.
    """
    if not rows:
        return None
    names = [str(name) for name in rows[0]]
    last = {name: re.sub(r"[^a-z0-9]", "", name.lower().rsplit(".", 1)[-1]) for name in names}
    by_level = _levels(rows, is_benchmark) if {"level_1", "level_2"} <= set(names) else {}
    task = by_level.get("task") or next((name for name in names if _TASK.match(last[name])), None)
    model = by_level.get("model") or next((name for name in names if _MODEL.match(last[name])), None)
    scores = [
        name
        for name in names
        if _SCORE.match(last[name]) and any(number(row.get(name)) is not None for row in rows)
    ]
    right, items = (next((n for n in names if m.match(last[n])), None) for m in (_CORRECT, _ITEMS))
    if task is None or not (scores or (right and items)):
        return None
    out = []
    for row in rows:
        rest = {
            name: value for name, value in row.items() if name not in (task, model, items, right, *scores)
        }
        errors = {name: rest.pop(f"{name}_stderr", None) for name in scores}
        base = ({"model": row[model]} if model else {}) | {"task": row[task]} | rest
        base |= ({"items": row[items]} if items else {}) | ({"correct": row[right]} if right else {})
        if not scores:
            done, asked = number(row[right]), number(row[items])
            out.append(
                base | {"correct": row[right], "score": done / asked if done is not None and asked else None}
            )
        for name in scores:
            measure = (
                {} if "metric" in rest or _PLAIN.match(last[name]) else {"metric": name.rsplit(".", 1)[-1]}
            )
            error = {} if errors[name] is None else {"stderr": errors[name]}
            out.append(base | measure | {"score": row[name]} | error)
    whole = [row for row in out if number(row["score"]) is not None]
    taken = " and ".join(map(repr, scores)) or f"{right!r} of {items!r}"
    text = f"{path.name}: a table of scores: task is {task!r}, score is {taken}"
    remarks = [Remark("scores", text)]
    if len(whole) < len(out):
        text = f"{path.name}: left out {len(out) - len(whole)} scores that are no number"
        remarks.append(Remark("no_score", text))
    return Found(whole, tuple(remarks), scores=True)


_CORRECT = re.compile(r"^(correct|ncorrect|numcorrect|hits)$")


def _levels(rows: Sequence[Mapping[str, Any]], is_benchmark: Callable[[str], bool]) -> dict[str, str]:
    """Which of two levels of names are tasks: that of which more are known benchmarks."""
    known = {
        level: sum(is_benchmark(str(name)) for name in {row[level] for row in rows})
        for level in ("level_1", "level_2")
    }
    if not any(known.values()):
        return {}
    task = max(known, key=lambda level: known[level])
    return {"task": task, "model": "level_1" if task == "level_2" else "level_2"}
