"""Results of evaluation harnesses as long rows: model, params, task, metric, score, stderr, items.

lm-evaluation-harness (results of all versions, and its samples), lighteval, OLMES (`metrics.json` and
`metrics-all.jsonl`), HELM (a run's `stats.json`) and BIG-bench (a model's results of a task). What a harness
could not compute or did not run is left out and told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lab.errors import InputError
from sweeps.exchange import harnesses
from sweeps.exchange.found import (
    NOT_MEASURED,
    Found,
    Remark,
    at,
    listed,
    loaded,
    number,
    read_off,
    size_in,
    sized,
)

_NO_SCORES = frozenset(("alias", "name", "sample_len", "sample_count", " ", "samples"))


def is_results(data: Any) -> bool:
    """Whether JSON is one of these results."""
    return _kind(data) is not None


def _kind(data: Any) -> str | None:
    if isinstance(data, Mapping):
        results = data.get("results")
        if isinstance(results, Mapping) and any(isinstance(value, Mapping) for value in results.values()):
            scored = [task for task in results.values() if isinstance(task, Mapping) and _has_score(task)]
            # Where nothing could be computed, what a harness writes beside says that it is one.
            return "harness" if scored or {"config", "config_general", "versions"} & data.keys() else None
        if harnesses.is_olmes(data):
            return "olmes"
        scores = data.get("scores")
        if isinstance(scores, list) and scores and isinstance(at(scores[0], "score_dict"), Mapping):
            return "bigbench"
    if isinstance(data, list) and data and all(isinstance(at(one, "name", "name"), str) for one in data):
        return "helm" if any("mean" in one or "sum" in one for one in data) else None
    return None


def _has_score(task: Mapping) -> bool:
    return any(number(value) is not None for name, value in task.items() if name not in _NO_SCORES)


def read(path: Path, text: str, subtasks: bool = False) -> Found:
    """The scores of one file. subtasks: those of a group instead of the group's mean. Raises InputError."""
    if path.name.lower().removesuffix(".gz").endswith(".jsonl"):
        lines = [loaded(path, line) for line in text.splitlines() if line.strip()]
        return harnesses.olmes(path, lines) if any(map(is_results, lines)) else _samples(path, lines)
    data = loaded(path, text)
    kind = _kind(data)
    if kind == "harness":
        return _harness(path, data, subtasks)
    if kind == "olmes":
        return harnesses.olmes(path, [data])
    if kind == "bigbench":
        return harnesses.bigbench(path, data)
    if kind == "helm":
        return harnesses.helm(path, data)
    raise InputError(f"{path}: holds no results of an evaluation that are known here")


def is_samples(line: Any) -> bool:
    """Whether an object is a line of the samples that lm-evaluation-harness logs."""
    return isinstance(line, Mapping) and "doc_id" in line and ("resps" in line or "filtered_resps" in line)


# --- lm-evaluation-harness, lighteval -------------------------------------------------------------------


def _harness(path: Path, data: Mapping, subtasks: bool) -> Found:
    remarks: list[Remark] = []
    model, params = _model(path, data, remarks)
    results = {str(t): r for t, r in data["results"].items() if isinstance(r, Mapping) and t != "all"}
    groups = {
        str(group): [str(one) for one in inside if str(one) in results]
        for group, inside in (data.get("group_subtasks") or {}).items()
        if isinstance(inside, list) and str(group) in results and _has_score(results[str(group)])
    }
    inside = {task for group, tasks in groups.items() for task in tasks if task != group}
    aggregates = {group for group, tasks in groups.items() if set(tasks) - {group}}
    out = aggregates if subtasks else inside
    # A group of groups: with the means wanted, only the outermost stays.
    if out:
        other = "the groups' own means" if subtasks else "what is inside a group whose mean is there"
        more = "" if subtasks else "; --subtasks takes these instead of the means"
        text = f"{path.name}: left out {len(out)} scores, {other}: {listed(sorted(out))}{more}"
        remarks.append(Remark("groups", text, model))
    rows: list[dict] = []
    failed: list[str] = []
    errorless: list[str] = []
    for task, result in results.items():
        if task in out:
            continue
        name, shots = _task(data, task)
        items = _items(data, task, result, groups)
        for metric, label, score, stderr in _scores(result, failed, task):
            row = {"model": model, "params": params, "task": name, "metric": metric, "score": score}
            if stderr is None:
                errorless.append(f"{name}/{metric}")
            rows.append(row | {"stderr": stderr, "items": items, "shots": shots, "filter": label})
    if failed:
        text = f"{path.name}: left out {len(failed)} values that are no scores: {listed(failed)}"
        remarks.append(Remark("no_score", text, f"{model} ({listed(failed, 3)})"))
    bare = [name for name in errorless if not any(_same(name, row) and row["items"] for row in rows)]
    if bare:
        text = (
            f"{path.name}: {len(bare)} scores have neither error (N/A) nor items: {listed(bare)}; without "
            "either no test of them is possible"
        )
        remarks.append(Remark("no_stderr", text, model))
    if not rows:
        why = f": {listed(failed)}" if failed else ""
        raise InputError(f"{path}: none of its results holds a score{why}")
    limit = at(data, "config", "limit")
    if number(limit):
        text = f"{path.name}: the evaluation was cut to {limit} items a task (config.limit)"
        remarks.append(Remark("limited", text, model))
    return Found(rows, tuple(remarks), scores=True)


def _same(name: str, row: Mapping) -> bool:
    return name == f"{row['task']}/{row['metric']}"


def _scores(result: Mapping, failed: list[str], task: str) -> Iterator[tuple[str, str, float, float | None]]:
    """(metric, filter, score, stderr): `acc,none` and its `acc_stderr,none`; `acc` in older files."""
    by_name: dict[str, list[tuple[str, str, float, float | None]]] = {}
    for key, value in result.items():
        metric, comma, label = str(key).partition(",")
        if key in _NO_SCORES or metric.endswith("_stderr") or isinstance(value, Mapping | list):
            continue
        score = number(value)
        if score is None or score in NOT_MEASURED:
            if metric not in ("alias", "name"):
                failed.append(f"{task}/{key} is {str(value)[:20]!r}")
            continue
        stderr = number(result.get(f"{metric}_stderr{comma}{label}"))
        if stderr is None:
            stderr = number(result.get(f"{metric}_stderr"))
        by_name.setdefault(metric, []).append((metric, label or "none", score, stderr))
    for metric, found in by_name.items():
        for _, label, score, stderr in found:
            # `strict-match` and `flexible-extract` are two ways to read the same answers.
            yield metric if len(found) == 1 else f"{metric},{label}", label, score, stderr


def _model(path: Path, data: Mapping, remarks: list[Remark]) -> tuple[str, float | None]:
    """The model's name and parameters, as far as the file says them."""
    config = data.get("config") or data.get("config_general") or {}
    arguments = config.get("model_args") if isinstance(config, Mapping) else None
    named = arguments.get("pretrained") if isinstance(arguments, Mapping) else None
    if isinstance(arguments, str) and (match := re.search(r"(?:pretrained|model|path)=([^,]+)", arguments)):
        named = match[1]
    spoken = data.get("model_name") or (config.get("model_name") if isinstance(config, Mapping) else None)
    folder = path.parent.name if path.stem.startswith("results") else path.stem
    model = str(spoken or named or folder).replace("__", "/")
    revision = config.get("model_revision") if isinstance(config, Mapping) else None
    if isinstance(arguments, str) and (match := re.search(r"revision=([^,]+)", arguments)):
        revision = match[1]
    if revision and str(revision) not in ("main", "None"):
        model = f"{model}@{revision}"
    params = number(config.get("model_num_parameters")) if isinstance(config, Mapping) else None
    if params is not None and params > 0:
        return model, params
    guess = size_in(model)
    if guess is not None:
        remarks.append(read_off(path, guess, model))
    return model, guess


def _task(data: Mapping, task: str) -> tuple[str, float | None]:
    """(task, shots): `harness|arc:challenge|25` holds both, elsewhere shots stand apart."""
    parts = task.split("|")
    if len(parts) in (3, 4) and parts[2].isdigit():
        return parts[1], float(parts[2])
    shots = number(at(data, "n-shot", task))
    if shots is None:
        shots = number(at(data, "configs", task, "num_fewshot"))
    if shots is None:
        shots = number(at(data, "config", "num_fewshot"))
    return task, shots


def _items(data: Mapping, task: str, result: Mapping, groups: Mapping[str, list[str]]) -> float | None:
    for found in (
        at(data, "n-samples", task, "effective"),
        at(data, "n-samples", task, "original"),
        result.get("sample_len"),
    ):
        if number(found):
            return number(found)
    inside = [one for one in groups.get(task, []) if one != task]
    counted = [_items(data, one, data["results"].get(one, {}), groups) for one in inside]
    return sum(filter(None, counted)) if counted and all(counted) else None


def _samples(path: Path, lines: list[Any]) -> Found:
    """`samples_TASK_DATE.jsonl`: an object an item, with its metrics; the model is the folder's name."""
    if not lines or not all(map(is_samples, lines)):
        raise InputError(f"{path}: its lines are not all samples of a harness: doc_id, resps and metrics")
    stem = path.name.removesuffix(".gz").removesuffix(".jsonl").removeprefix("samples_")
    task = re.sub(r"_\d{4}-\d{2}-\d{2}T.*$", "", stem)
    model = path.parent.name.replace("__", "/")
    remarks, rows = [], []
    params = size_in(model)
    if params is not None:
        remarks.append(read_off(path, params, model))
    filters = list(dict.fromkeys(str(line.get("filter", "none")) for line in lines))
    for label in filters:
        own = [line for line in lines if str(line.get("filter", "none")) == label]
        ids = [line["doc_id"] for line in own]
        if len(set(map(str, ids))) < len(ids):
            text = (
                f"{path.name}: {len(ids) - len(set(map(str, ids)))} items stand in it twice; all are counted"
            )
            remarks.append(Remark("doubled_items", text))
        names = [
            name
            for name in own[0]
            if name not in ("doc_id", "doc_hash", "prompt_hash", "target_hash")
            and all(
                number(float(v)) in (0.0, 1.0)
                for line in own
                if isinstance(v := line.get(name), bool | int | float)
            )
            and all(isinstance(line.get(name), bool | int | float) for line in own)
        ]
        for name in names:
            right = sum(float(line[name]) for line in own)
            metric = name if len(filters) == 1 else f"{name},{label}"
            row = {
                "model": model,
                "params": params,
                "task": task,
                "metric": metric,
                "score": right / len(own),
            }
            rows.append(row | {"stderr": None, "items": float(len(own)), "correct": right, "filter": label})
    if not rows:
        raise InputError(f"{path}: no metric that is 0 or 1 on every item")
    return Found(rows, tuple(remarks), scores=True)


# --- several files as one family ------------------------------------------------------------------------


def joined(rows: list[dict], models: Mapping[str, Mapping[str, Any]], known: Callable[[str], bool]) -> Found:
    """All rows as one table: sizes that the user gives, shots in names where they differ, what stands twice.

    models: model -> its params, tokens, flops, loss; a name or an unambiguous part of one. known: whether
    `lab thresholds` knows a metric. Raises InputError where a model's size is not known.
    """
    remarks: list[Remark] = []
    rows, problems = sized(rows, models)
    problems += _sizeless(rows)
    if problems:
        raise InputError(*problems)
    left = sorted({str(row["metric"]) for row in rows if not known(str(row["metric"]))})
    if left:
        count = sum(str(row["metric"]) in left for row in rows)
        rows = [row for row in rows if str(row["metric"]) not in left]
        text = f"left out {count} scores of metrics whose direction is not known: {listed(left, 8)}"
        remarks.append(Remark("metric_unknown", text))
    shots: dict[str, set] = {}
    for row in rows:
        shots.setdefault(row["task"], set()).add(row.get("shots"))
    several = sorted(task for task, found in shots.items() if len(found) > 1)
    if several:
        rows = [
            row | ({"task": f"{row['task']}/{_shots(row)}"} if row["task"] in several else {}) for row in rows
        ]
        text = f"shots differ within {listed(several)}: each number of them is a task of its own"
        remarks.append(Remark("shots_differ", text))
    rows, said = _doubled(rows)
    remarks += said
    return Found(rows, tuple(remarks), scores=True)


def _sizeless(rows: list[dict]) -> list[str]:
    bare = list(dict.fromkeys(str(row["model"]) for row in rows if not number(row.get("params"))))
    if not bare or any(number(row.get("loss_nats")) or number(row.get("flops")) for row in rows):
        return []
    shown = ",".join(f"{name}=SIZE" for name in bare[:4])
    return [
        f"--models: the size of {len(bare)} models is not known: say --models '{shown}', or --models "
        "FILE.csv with columns model, params and, where known, tokens, flops, loss_nats"
    ]


def _shots(row: Mapping) -> str:
    return "unknown-shot" if row.get("shots") is None else f"{row['shots']:g}-shot"


# What makes a score another one: checkpoints of a model are no copies of it.
_ONE = ("model", "task", "metric", "seed", "params", "tokens", "flops", "loss_nats", "step", "checkpoint")


def _doubled(rows: list[dict]) -> tuple[list[dict], list[Remark]]:
    seen: dict[tuple, list[dict]] = {}
    for row in rows:
        key = tuple(row.get(name) for name in _ONE)
        seen.setdefault(key, []).append(row)
    kept, same, differ = [], [], []
    for key, group in seen.items():
        values = list(dict.fromkeys(row["score"] for row in group))
        label = f"{key[0]} on {key[1]}/{key[2]}"
        if len(group) > 1 and len(values) == 1:
            same.append(label)
            group = group[:1]
        elif len(group) > 1:
            differ.append(f"{label} ({' and '.join(f'{v:g}' for v in values[:3])})")
        kept += group
    remarks = []
    if same:
        text = (
            f"{len(same)} scores stand in several files with the same value and count once: {listed(same, 3)}"
        )
        remarks.append(Remark("copies", text))
    if differ:
        text = (
            f"{len(differ)} scores stand twice with other values, and all of them are rows: "
            f"{listed(differ, 3)}; are these seeds, or is one of them another model?"
        )
        remarks.append(Remark("doubled_scores", text))
    return kept, remarks
