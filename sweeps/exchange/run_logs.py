"""One run a file, as JSON: `trainer_state.json` of Hugging Face, {config, losses: [[step, loss]]}, steps."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from lab.errors import InputError
from sweeps.exchange.found import DEEPEST, Found, Remark, listed, size_in
from sweeps.exchange.training_logs import Given

_LOSS = re.compile(r"(^|[_/. ])(loss|nll|bpb|ppl|perplexity|cross_?entropy)($|[_/. ])", re.IGNORECASE)
_HELD = re.compile(r"val|eval|test", re.IGNORECASE)
_STEP = re.compile(r"^_?(global_?)?(step|iter|iteration|it|iter_num|update)s?$", re.IGNORECASE)
_SIZE = re.compile(r"^(params|n_?params|num_?params|n|model_?size|parameters)$", re.IGNORECASE)
_FEWEST = 3  # steps that make a log


def is_log(data: Any) -> bool:
    """Whether JSON is the log of one run."""
    return isinstance(data, Mapping) and (
        isinstance(data.get("log_history"), list) or _series(data) is not None
    )


def is_steps(rows: Sequence[Any]) -> bool:
    """Whether objects are the steps of one run, and not a row a run: steps that rise, a loss, and no size."""
    own = [row for row in rows if isinstance(row, Mapping)]
    if len(own) < _FEWEST or len(own) < len(rows):
        return False
    steps = [key for key in own[0] if _STEP.match(str(key))]
    losses = [row for row in own if any(_LOSS.search(str(key)) for key in row)]
    sizes = {str(value) for row in own[:1000] for key, value in row.items() if _SIZE.match(str(key))}
    if not steps or not losses or len(sizes) > 1:
        return False
    values = [row.get(steps[0]) for row in own]
    known = [value for value in values if isinstance(value, int | float)]
    if sizes:  # a size may stand on each line of a log: of one run it never changes, and steps only rise
        return len(known) >= _FEWEST and all(a < b for a, b in pairwise(known))
    return len(known) >= _FEWEST and len(set(known)) > 1


def read(path: Path, data: Any, given: Given, every: bool = False) -> Found:
    """A row for the last evaluation of a log, or for each. Raises InputError."""
    if isinstance(data, Mapping) and isinstance(data.get("log_history"), list):
        return _trainer(path, data, given, every)
    if isinstance(data, Mapping):
        config, name, series = _series(data) or ({}, "", [])
        return _rows(path, config, name, series, given, every)
    return _rows(path, {}, "rows", list(data), given, every)


def _name(path: Path) -> str:
    """The run's: the file's, or of files that are all called alike the folder's, checkpoints aside."""
    stem = path.name.split(".")[0]
    if stem.lower() not in (
        "trainer_state",
        "metrics",
        "log",
        "history",
        "train",
        "results",
        "losses",
        "stats",
    ):
        return stem
    folder = path.absolute().parent
    return folder.parent.name if re.match(r"(checkpoint|ckpt|step)[-_]?\d", folder.name) else folder.name


def _trainer(path: Path, data: Mapping, given: Given, every: bool) -> Found:
    """What the Trainer of Hugging Face writes beside each checkpoint."""
    history = [row for row in data["log_history"] if isinstance(row, Mapping)]
    remarks: list[Remark] = []
    name = _name(path)
    evaluated = [row for row in history if _number(row.get("eval_loss")) is not None]
    trained = [row for row in history if _number(row.get("loss")) is not None]
    key, rows = ("eval_loss", evaluated) if evaluated else ("loss", trained)
    if not rows:
        raise InputError(f"{path}: log_history holds neither eval_loss nor loss")
    if not evaluated:
        text = f"{name}: no eval_loss in its log: the loss is that of training, at its last logged step"
        remarks.append(Remark("train_loss", text))
    params = given.params or size_in(name)
    if params is not None and given.params is None:
        remarks.append(
            Remark("params_from_name", f"{name}: params {params:g} is read off the name; --params")
        )
    end, planned = _number(data.get("global_step")), _number(data.get("max_steps"))
    unfinished = bool(end and planned and end < planned)
    if unfinished:
        text = f"{name}: at step {end:g} of {planned:g}: the row is unfinished and fitted by nobody"
        remarks.append(Remark("unfinished", text))
    seen, found, tokenless = _number(data.get("num_input_tokens_seen")), [], False
    for row in rows:
        step, loss = _number(row.get("step")), _number(row.get(key))
        one: dict[str, Any] = {"name": name, "params": params, "step": step, "loss": loss}
        own = _number(row.get("num_input_tokens_seen"))
        if own:
            one["tokens"] = own
        elif given.tokens_per_step and step:
            one["tokens"] = step * given.tokens_per_step
        elif seen and end and step:
            one["tokens"] = seen * step / end
        else:
            tokenless = True
        epoch = _number(row.get("epoch"))
        if epoch:
            one["epoch"] = epoch
            if epoch > 1.01 and one.get("tokens"):
                one["unique_tokens"] = one["tokens"] / epoch
        good = loss is not None and math.isfinite(loss)
        one["status"] = "diverged" if not good else "unfinished" if unfinished else "ok"
        found.append(one)
    found = found if every else found[-1:]
    if any("unique_tokens" in row for row in found):
        text = (
            f"{name}: {found[-1]['epoch']:.3g} epochs: tokens are repeated; unique_tokens is tokens / epoch"
        )
        remarks.append(Remark("repeated_data", text))
    if tokenless:
        remarks.append(
            Remark("no_tokens", f"{name}: its log does not say the tokens: give --tokens-per-step")
        )
    return Found(found, tuple(remarks))


def _series(data: Mapping) -> tuple[dict[str, Any], str, list] | None:
    """(configuration, name of the series, its entries) of {config, losses: [[step, loss]]} and its like."""
    lists = {
        str(key): value
        for key, value in data.items()
        if isinstance(value, list) and len(value) >= _FEWEST and (_pairs(value) or is_steps(value))
    }
    if not lists:
        return None
    bare = [key for key, value in data.items() if isinstance(value, Mapping)]
    named = [key for key in lists if _LOSS.search(key) or "loss" in key.lower()] or list(lists)
    held = [key for key in named if _HELD.search(key)] or named
    config = {key: value for key, value in data.items() if not isinstance(value, list | Mapping)}
    for key in bare:
        config |= {str(k): v for k, v in _flat(data[key]).items()}
    return config, held[0], lists[held[0]]


def _pairs(value: Sequence) -> bool:
    """[[step, loss], ...]"""
    return all(
        isinstance(one, list) and len(one) == 2 and all(_number(x) is not None or x is None for x in one)
        for one in value
    )


def _flat(values: Mapping, prefix: str = "", depth: int = 0) -> dict[str, Any]:
    if depth > DEEPEST:
        return {}
    out: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            out |= _flat(value, f"{prefix}{key}.", depth + 1)
        elif not isinstance(value, list):
            out[f"{prefix}{key}"] = value
    return out


def _rows(path: Path, config: Mapping, series: str, entries: list, given: Given, every: bool) -> Found:
    """The last entry, or each: configuration, step, loss."""
    name = str(config.get("name") or config.get("run_name") or _name(path))
    remarks: list[Remark] = []
    pairs = _pairs(entries)
    columns = (
        [] if pairs else list(dict.fromkeys(key for row in entries for key in row if _LOSS.search(str(key))))
    )
    held = [key for key in columns if _HELD.search(key)] or columns
    if not pairs and not held:
        raise InputError(f"{path}: no loss in its steps")
    loss = None if pairs else held[0]
    if (loss is not None and not _HELD.search(loss)) or (pairs and not _HELD.search(series)):
        text = f"{name}: the loss is {loss or series!r}, which may be that of training"
        remarks.append(Remark("train_loss", text))
    if len(columns) > 1:
        text = f"{name}: of {listed(columns)} the loss is {held[0]!r}; the others are columns"
        remarks.append(Remark("losses", text))
    found = []
    for entry in entries:
        if pairs:
            found.append({"step": _number(entry[0]), "loss": _number(entry[1])})
        elif entry.get(loss) is not None:
            row = {("loss" if key == loss else str(key)): value for key, value in entry.items()}
            found.append({key: value for key, value in row.items() if not isinstance(value, list | Mapping)})
    if not found:
        raise InputError(f"{path}: no loss in its steps")
    left = len(entries) - len(found)
    steps = next((key for key in found[0] if _STEP.match(key)), None)
    if steps and any((_number(b.get(steps)) or 0) < (_number(a.get(steps)) or 0) for a, b in pairwise(found)):
        remarks.append(Remark("logged_twice", f"{name}: its steps go back (a run that was taken up again?)"))
    end = found[-1]
    value = _number(end["loss"])
    gone = value is None or not math.isfinite(value)
    if gone:
        remarks.append(Remark("diverged", f"{name}: its loss ends in {end['loss']!r}; the row is diverged"))
    if not every:
        said = f"{name}: {len(found)} steps of one run; its last is the row"
        said += f" ({left} lines without a loss)" if left else ""
        remarks.append(Remark("last_step", f"{said}; --all-evaluations takes all"))
    base = {"name": name, **{k: v for k, v in config.items() if k not in ("name", "loss", "step")}}
    if given.params:
        base["params"] = given.params
    elif not any(_SIZE.match(key) for key in base) and (size := size_in(name)) is not None:
        base["params"] = size
        remarks.append(Remark("params_from_name", f"{name}: params {size:g} is read off the name; --params"))
    rows = []
    for row in found if every else found[-1:]:
        one = base | row | {"status": "diverged" if gone else "ok"}
        step = _number(row.get(steps)) if steps else None
        if given.tokens_per_step and step is not None:
            one["tokens"] = step * given.tokens_per_step
        rows.append(one)
    return Found(rows, tuple(remarks))


def _number(value: Any) -> float | None:
    """A number, NaN and Infinity too, which JSON of Python and texts may hold."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def lines_of(text: str) -> list[Any] | None:
    """The objects of JSON lines; None where a line is none, a torn last one aside."""
    lines = [line for line in text.splitlines() if line.strip()]
    out = []
    for index, line in enumerate(lines):
        try:
            out.append(json.loads(line))
        except (ValueError, RecursionError):
            return out if index == len(lines) - 1 and out else None
    return out
