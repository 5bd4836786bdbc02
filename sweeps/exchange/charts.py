"""Charts of Weights & Biases as rows: the CSV of a plot, `RUN - METRIC`, `__MIN`, `__MAX` for each line."""

from __future__ import annotations

import csv
import io
import math
import re
from pathlib import Path

from lab.errors import InputError
from sweeps.exchange.found import Found, Remark, listed, size_in
from sweeps.exchange.run_logs import in_nats

_LINE = re.compile(r"^(?P<run>.+) - (?P<metric>[^-].*)$")
_ENDS = ("__MIN", "__MAX")
# `lr=3e-4`, `N: 70M` in the name of a run or a group.
_SAID = re.compile(r"([A-Za-z][\w/.]*)\s*[=:]\s*(\d[\d_.]*(?:[eE][+-]?\d+)?[kKmMbBtT]?)(?![A-Za-z0-9.])")
_TOKENS = re.compile(r"tokens|tok_seen", re.IGNORECASE)
_LOSS = re.compile(r"loss|nll|xent|entropy|bpb|ppl|perplexity", re.IGNORECASE)
# `run - _step` is the axis again, not a line of the chart.
_COUNTER = re.compile(r" - _(step|runtime|timestamp)(__MIN|__MAX)?$")
_TIME = re.compile(r"time", re.IGNORECASE)
_AXIS = re.compile(r"^_?step$|time|tokens|tok_seen|iter", re.IGNORECASE)
# Characters of a name that are looked at for sizes.
_LONGEST = 300
# A line that ends before this share of the longest may be of a run that stopped.
_EARLY = 0.98


def is_chart(head: str) -> bool:
    """Whether the first line of a CSV is that of a chart."""
    try:
        names = next(csv.reader([head], delimiter=_parted(head)), [])
    except csv.Error:
        return False
    if any(name.endswith("__MIN") and name[:-5] in names for name in names):
        return True
    lines = [name for name in names[1:] if not _COUNTER.search(name)]
    found = [match["metric"] for name in lines if (match := _LINE.match(name))]
    # One line alone might be a column of any table, unless its axis is that of a chart.
    return (
        len(found) >= (1 if names and _AXIS.search(names[0]) else 2)
        and len(found) == len(lines)
        and len(set(found)) == 1
        and bool(_LOSS.search(found[0]))
    )


def read(path: Path, text: str, per_step: float | None, every: bool = False) -> Found:
    """A row a line of the chart, at its last value, or for each of its values. Raises InputError.

    A line that ends in NaN or Infinity is of a run that diverged, and its row says so. Two runs of one name
    are two rows. Sizes, tokens and rates are taken from names that say them (`N=70M`), then sizes from names
    such as `gpt-70m`.
    """
    try:
        text = text.lstrip("\ufeff")
        head, *body = list(csv.reader(io.StringIO(text), delimiter=_parted(text.split("\n", 1)[0])))
    except (csv.Error, ValueError) as error:
        raise InputError(f"{path}: {error}") from None
    axis = head[0] or "step"
    lines, dropped, remarks = [], [], []
    for column, name in enumerate(head[1:], 1):
        if not name or name.endswith(_ENDS):
            continue
        match = _LINE.match(name)
        run, metric = (match["run"], match["metric"]) if match else ("", name)
        if metric.rsplit("/", 1)[-1] in ("_step", "_runtime", "_timestamp") or not _LOSS.search(metric):
            dropped.append(metric)
            continue
        lines.append((run.removeprefix("Group: ") or path.stem, metric, column))
    if not lines:
        raise InputError(f"{path}: no line of this chart is a loss: {listed(dropped)}")
    if dropped:
        text_ = (
            f"{path.name}: left out {len(dropped)} columns that are no loss: {listed(sorted(set(dropped)))}"
        )
        remarks.append(Remark("columns_left", text_))
    metrics = list(dict.fromkeys(metric for _, metric, _ in lines))
    if len(metrics) > 1:
        raise InputError(
            f"{path}: the chart has {len(metrics)} losses, {listed(metrics)}; export one of them, or a table"
        )
    _, unit = in_nats([], metrics[0])
    if unit is not None:
        remarks.append(Remark(unit.code, f"{path.name}: {unit.text}", path.name))
    counts: dict[str, int] = {}
    rows, averaged, gone, empty, ends = [], [], [], [], {}
    for run, _, column in lines:
        counts[run] = counts.get(run, 0) + 1
        name = run if counts[run] == 1 else f"{run} ({counts[run]})"
        points = [
            (_float(row[0]), _float(row[column]), row)
            for row in body
            if column < len(row) and row[column].strip() and _float(row[0]) is not None
        ]
        points = [point for point in points if point[1] is not None]
        if not points:
            empty.append(name)
            continue
        least, most = column + 1, column + 2
        known = head[least : most + 1] == [f"{head[column]}{end}" for end in _ENDS]
        found = []
        for x, loss, row in points:
            low, high = (_float(row[i]) if known and i < len(row) else None for i in (least, most))
            (loss, low, high), _ = in_nats((loss, low, high), metrics[0])
            one = {"name": name, axis: x, "loss": loss, **_from_name(run)}
            if low is not None and high is not None and low != high:
                one |= {"loss_min": low, "loss_max": high}
                averaged.append(name)
            one["status"] = "ok" if math.isfinite(loss) else "diverged"
            found.append(one)
        ends[name] = points[-1][0]
        if not math.isfinite(points[-1][1]):
            gone.append(name)
            found = [one for one in found if math.isfinite(one["loss"])][
                : len(found) if every else 0
            ] + found[-1:]
        rows += found if every else found[-1:]
    longest = max(ends.values(), default=0)
    early = [f"{name} at {end:g}" for name, end in ends.items() if end < _EARLY * longest]
    twice = [name for name, count in counts.items() if count > 1]
    for code, what, names in (
        ("doubled_names", "runs share a name, and are told apart by a number after it", twice),
        (
            "averaged",
            "values are averages (of a group, or of steps that the chart put together): loss_min and "
            "loss_max have their range",
            sorted(set(averaged)),
        ),
        ("diverged", "lines end in NaN or Infinity; their rows are diverged and fitted by nobody", gone),
        ("no_values", "lines have no value and no row", empty),
        (
            "ends_early",
            f"lines end before the longest, at {axis} {longest:g}: crashed, still running, or of "
            "another budget? A chart does not say; a runs table with its column State does",
            early,
        ),
    ):
        if names:
            remarks.append(Remark(code, f"{path.name}: {len(names)} {what}: {listed(names)}", path.name))
    return Found(_completed(path, rows, axis, per_step, remarks), tuple(remarks))


def _completed(path: Path, rows: list[dict], axis: str, per_step, remarks: list[Remark]) -> list[dict]:
    """params and tokens, where the names or the axis say them."""
    guessed, stepped = [], False
    for row in rows:
        if not {"params", "N", "n_params"} & row.keys() and (size := size_in(str(row["name"]))) is not None:
            row["params"] = size
            guessed.append(f"{row['name']} {size:g}")
        if not {"tokens", "D", "n_tokens"} & row.keys():
            if _TOKENS.search(axis):
                row["tokens"] = row[axis]
            elif per_step:
                row["tokens"] = row[axis] * per_step
            else:
                stepped = True
    if guessed:
        text = f"{path.name}: params read off names: {listed(guessed)}; --models says it better"
        remarks.append(Remark("params_from_name", text))
    if stepped and _TIME.search(axis):
        text = f"{path.name}: its axis is {axis!r}: export the chart by step or by tokens to have the tokens"
        remarks.append(Remark("no_tokens", text, path.name))
    elif stepped:
        text = f"{path.name}: does not say the tokens; give --tokens-per-step, or --columns 'tokens={axis}*N'"
        remarks.append(Remark("no_tokens", text, path.name))
    return rows


def _from_name(run: str) -> dict[str, float]:
    """`N=70M, lr: 3e-4` in a name, as columns."""
    found = {}
    for key, value in _SAID.findall(run[:_LONGEST]):
        scale = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}.get(value[-1].lower(), 1.0)
        number = _float(value.rstrip("kKmMbBtT").replace("_", ""))
        if number is not None:
            found[key] = number * scale
    return found


def _parted(head: str) -> str:
    """What parts the columns: semicolons where a spreadsheet with decimal commas has saved the chart."""
    return ";" if head.count(";") > head.count(",") else ","


def _float(cell: str) -> float | None:
    """The number of a cell, NaN and Infinity too, 3,5 for 3.5; None where it is none."""
    try:
        return float(cell.replace(",", "."))
    except ValueError:
        return None
