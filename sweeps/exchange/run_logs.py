"""One run a file: `trainer_state.json` of Hugging Face, {config, losses: [[step, loss]]}, steps, results."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from lab.errors import InputError
from sweeps.exchange.found import DEEPEST, Found, Remark, listed, run_name, size_in
from sweeps.exchange.training_logs import Given

_LOSS = re.compile(
    r"(^|[_/. ])(loss|nll|bpb|ppl|perplexity|cross_?entropy(?:_?loss)?)($|[_/. ])", re.IGNORECASE
)
# What is called a loss and is no language model's: a scale of gradients, a term beside it.
_NO_LOSS = re.compile(r"scal|aux|z_?loss|router|balanc|spike|stderr|ratio|time|count", re.IGNORECASE)
_PERPLEXITY = re.compile(r"(^|[_/. ])(ppl|perplexity)($|[_/. ])", re.IGNORECASE)
_BITS = re.compile(r"(^|[_/. ])bpb($|[_/. ])", re.IGNORECASE)
_HELD = re.compile(r"val|eval|test", re.IGNORECASE)
_STEP = re.compile(r"^_?(global_?)?(step|iter|iteration|it|iter_num|update)s?$", re.IGNORECASE)
_SIZE = re.compile(r"^(params|n_?params|num_?params|n|model_?size|parameters)$", re.IGNORECASE)
# What differs between runs and not between the steps of one.
_OF_A_RUN = re.compile(
    r"^(run|run_?name|run_?id|name|model|id|state|experiment|n_?layers?|layers|depth|n_?embd|width|d_?model"
    r"|hidden_?size|n_?heads?|heads|seed)$",
    re.IGNORECASE,
)
_EPOCH = re.compile(r"^epochs?$", re.IGNORECASE)
_FEWEST = 3  # steps that make a log


def is_loss(name: Any) -> bool:
    """Whether a name is that of a loss, a perplexity or bits per byte."""
    return bool(_LOSS.search(str(name)[:200])) and not _NO_LOSS.search(str(name)[:200])


def is_step(name: str) -> bool:
    """Whether a name is that of steps."""
    return bool(_STEP.match(name[:200]))


def in_nats(values: Sequence[float | None], name: str) -> tuple[list[float | None], Remark | None]:
    """Losses of a series of this name: of perplexities their logarithms; and what is to be said of it."""
    if _PERPLEXITY.search(name[:200]):
        nats = [None if v is None else math.log(v) if v > 0 else math.nan for v in values]
        return nats, Remark("perplexity", f"{name!r} are perplexities: the loss is their logarithm")
    if _BITS.search(name[:200]):
        return list(values), Remark("loss_in_bits", f"{name!r} is in bits: E, A and B of a law are too")
    return list(values), None


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
    losses = [row for row in own if any(map(is_loss, row))]
    sizes = {str(value) for row in own[:1000] for key, value in row.items() if _SIZE.match(str(key))}
    others: dict[str, set[str]] = {}
    for row in own[:1000]:
        for key, value in row.items():
            if value is not None and _OF_A_RUN.match(str(key)):
                others.setdefault(str(key), set()).add(str(value))
    if not steps or not losses or len(sizes) > 1 or any(len(values) > 1 for values in others.values()):
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


def is_result(data: Any) -> bool:
    """Whether JSON is what one run wrote at its end: values by name, a loss among them, and no table."""
    if not isinstance(data, Mapping):
        return False
    inner = [value for value in data.values() if isinstance(value, Mapping)]
    holders = [value for value in inner if any(map(_value, _flat(value).items()))]
    return any(map(_value, _flat(data).items())) and len(holders) < 2


def _value(pair: tuple[Any, Any]) -> bool:
    return is_loss(pair[0]) and _number(pair[1]) is not None


def result(path: Path, data: Mapping, given: Given) -> Found:
    """A row of what one run wrote at its end; values of inner objects go under their own names."""
    row: dict[str, Any] = {"name": run_name(path)}
    for key, value in _flat(data).items():
        last = key.rsplit(".", 1)[-1]
        row[last if last not in row else key] = value
    if given.params:
        row["params"] = given.params
    text = f"{path.name}: values of one run by name; its name is {row['name']!r}"
    return Found([row], (Remark("result", text, str(row["name"])),))


def _trainer(path: Path, data: Mapping, given: Given, every: bool) -> Found:
    """What the Trainer of Hugging Face writes beside each checkpoint."""
    history = [row for row in data["log_history"] if isinstance(row, Mapping)]
    remarks: list[Remark] = []
    name = run_name(path)
    evaluated = [row for row in history if _number(row.get("eval_loss")) is not None]
    trained = [row for row in history if _number(row.get("loss")) is not None]
    key, rows = ("eval_loss", evaluated) if evaluated else ("loss", trained)
    if not rows:
        raise InputError(f"{path}: log_history holds neither eval_loss nor loss")
    if not evaluated:
        text = f"{name}: no eval_loss in its log: the loss is that of training, at its last logged step"
        remarks.append(Remark("train_loss", text, name))
    params = given.params or size_in(name)
    if params is not None and given.params is None:
        remarks.append(
            Remark(
                "params_from_name",
                f"{name}: params {params:g} is read off the name; --params",
                f"{name} {params:g}",
            )
        )
    end, planned = _number(data.get("global_step")), _number(data.get("max_steps"))
    unfinished = bool(end and planned and end < planned)
    if unfinished:
        text = f"{name}: at step {end:g} of {planned:g}: the row is unfinished and fitted by nobody"
        remarks.append(Remark("unfinished", text, name))
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
        remarks.append(Remark("repeated_data", text, name))
    if tokenless:
        remarks.append(
            Remark("no_tokens", f"{name}: its log does not say the tokens: give --tokens-per-step", name)
        )
    return Found(found, tuple(remarks))


def _series(data: Mapping) -> tuple[dict[str, Any], str, list] | None:
    """(configuration, name of the series, its entries) of {config, losses: [[step, loss]]} and its like."""
    lists = {
        str(key): value
        for key, value in data.items()
        if isinstance(value, list)
        and len(value) >= (1 if "loss" in str(key).lower() else _FEWEST)
        and (is_pairs(value) or is_steps(value) or ("loss" in str(key).lower() and is_figures(value)))
    }
    for key, value in (("", data), *data.items()):
        if (
            not any(map(is_steps, lists.values()))
            and isinstance(value, Mapping)
            and (by_step := _by_step(value))
        ):
            lists = {str(key): by_step}
            data = {k: v for k, v in data.items() if k != key} if key else data
    if not lists:
        return None
    bare = [key for key, value in data.items() if isinstance(value, Mapping)]
    named = [key for key in lists if _LOSS.search(key) or "loss" in key.lower()] or list(lists)
    held = [key for key in named if _HELD.search(key)] or named
    config = {key: value for key, value in data.items() if not isinstance(value, list | Mapping)}
    for key in bare:
        config |= {str(k): v for k, v in _flat(data[key]).items()}
    return config, held[0], lists[held[0]]


def _by_step(data: Mapping) -> list[dict[str, Any]] | None:
    """The steps of {step: [...], loss: [...]}, lists of one length."""
    lists = {str(key): value for key, value in data.items() if isinstance(value, list) and value}
    lengths = {len(value) for value in lists.values()}
    placed = [key for key in lists if _STEP.match(key) or _EPOCH.match(key)]
    if len(lengths) != 1 or not placed or not any(map(is_loss, lists)):
        return None
    rows = [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]
    seen = [row | {"step": row[placed[0]]} for row in rows]
    return rows if is_steps(seen) else None


def is_figures(value: Sequence) -> bool:
    """[4.0, 3.5, ...]"""
    return bool(value) and all(not isinstance(one, list) and _number(one) is not None for one in value)


def is_pairs(value: Sequence) -> bool:
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
    name = str(config.get("name") or config.get("run_name") or run_name(path))
    remarks: list[Remark] = []
    if bare := is_figures(entries):
        entries = [{"entry": index, "loss": value} for index, value in enumerate(entries, 1)]
        text = f"{name}: its losses have no steps, and so no tokens: entry is the number of each"
        remarks.append(Remark("no_steps", text, name))
    pairs = is_pairs(entries)
    columns = [] if pairs else list(dict.fromkeys(key for row in entries for key in row if is_loss(key)))
    held = [key for key in columns if _HELD.search(key)] or columns
    held = sorted(held, key=lambda key: bool(_BITS.search(key)) + 2 * bool(_PERPLEXITY.search(key)))
    if not pairs and not held:
        raise InputError(f"{path}: no loss in its steps")
    loss = None if pairs else held[0]
    called = series if pairs or bare else loss
    if not _HELD.search(called):
        text = f"{name}: the loss is {called!r}, which may be that of training"
        remarks.append(Remark("train_loss", text, name))
    if len(columns) > 1:
        text = f"{name}: of {listed(columns)} the loss is {held[0]!r}; the others are columns"
        remarks.append(Remark("losses", text, name))
    found: list[dict[str, Any]] = []
    for entry in entries:
        if pairs:
            found.append({"step": _number(entry[0]), "loss": _number(entry[1])})
        elif entry.get(loss) is not None:
            row = {("loss" if key == loss else str(key)): value for key, value in entry.items()}
            found.append({key: value for key, value in row.items() if not isinstance(value, list | Mapping)})
    if not found:
        raise InputError(f"{path}: no loss in its steps")
    nats, unit = in_nats([_number(row["loss"]) for row in found], str(called))
    if unit is not None:
        remarks.append(Remark(unit.code, f"{name}: {unit.text}", name))
        found = [row | {"loss": value} for row, value in zip(found, nats, strict=True)]
    left = len(entries) - len(found)
    steps = next((key for key in found[0] if _STEP.match(key)), None)
    if steps and any((_number(b.get(steps)) or 0) < (_number(a.get(steps)) or 0) for a, b in pairwise(found)):
        remarks.append(
            Remark("logged_twice", f"{name}: its steps go back (a run that was taken up again?)", name)
        )
    end = found[-1]
    value = _number(end["loss"])
    gone = value is None or not math.isfinite(value)
    if gone:
        remarks.append(
            Remark("diverged", f"{name}: its loss ends in {end['loss']!r}; the row is diverged", name)
        )
    if not every:
        said = f"{name}: {len(found)} steps of one run; its last is the row"
        said += f" ({left} lines without a loss)" if left else ""
        remarks.append(Remark("last_step", f"{said}; --all-evaluations takes all", name))
    base = {"name": name, **{k: v for k, v in config.items() if k not in ("name", "loss", "step")}}
    if given.params:
        base["params"] = given.params
    elif not any(_SIZE.match(key) for key in base) and (size := size_in(name)) is not None:
        base["params"] = size
        text = f"{name}: params {size:g} is read off the name; --params"
        remarks.append(Remark("params_from_name", text, f"{name} {size:g}"))
    if given.tokens_per_step and not steps:
        text = f"{name}: no steps in it, to be counted by --tokens-per-step: --columns 'tokens=epoch*TOKENS'"
        remarks.append(Remark("no_tokens", text, name))
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
