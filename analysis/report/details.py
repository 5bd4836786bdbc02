"""What stands below the figures: the table of runs, the costs, the settings, and how to go on."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import Any

import numpy as np

from analysis import files
from analysis.costs.ledger import Ledger
from analysis.costs.show import measured_words
from analysis.report.findings import totals
from analysis.report.html import Markup, duration, items, number, power, table, text
from analysis.report.study import Study
from analysis.tables import contents
from analysis.tables.table import numbers

_MOST_ROWS = 400
_COLUMNS = (
    ("run_id", "run", "content-addressed id: the folder under runs/"),
    ("status", "status", ""),
    ("why", "not fitted because", ""),
    ("grid", "grid", ""),
    ("seed", "seed", ""),
    ("params", "params", "parameters as the law counts them"),
    ("tokens", "tokens", "training tokens"),
    ("flops", "FLOPs", "6 params tokens"),
    ("loss", "loss", "validation loss, nats per token"),
    ("bits_per_byte", "bits/byte", ""),
    ("learning_rate", "rate", "peak learning rate"),
    ("device_seconds", "seconds", "device seconds"),
)
_WHOLE = ("seed",)


def runs_table(study: Study) -> str:
    """All runs, those that are not ok first; of very many, the first few hundred."""
    runs = study.runs
    status = np.array([str(value) for value in runs.columns.get("status", ["ok"] * len(runs))], object)
    order = np.array(sorted(range(len(runs)), key=lambda row: _place(runs, status, row)), int)
    shown = order[:_MOST_ROWS]
    reasons = why_not(study)
    there = [column for column in _COLUMNS if column[0] in runs.columns or (column[0] == "why" and reasons)]
    rows, classes = [], []
    for index in shown.tolist():
        rows.append(
            [reasons.get(index, "") if name == "why" else _value(runs, name, index) for name, *_ in there]
        )
        classes.append("" if status[index] == "ok" else "off")
    counted = ", ".join(f"{number} {name}" for name, number in Counter(status.tolist()).most_common())
    said = f"{len(runs)} runs: {counted}."
    if len(order) > len(shown):
        command = f"lab table {shlex.quote(str(study.path))}"
        said += f" The first {len(shown)} are shown; {command} prints them all."
    header = [(name, help) for _, name, help in there]
    ids = runs.columns.get("run_id", ())
    marks = [str(ids[index]) for index in shown.tolist()] if len(ids) else []
    return f"<p>{text(said)}</p>" + table(header, rows, "Runs", sortable=True, classes=classes, marks=marks)


def _place(runs, status, row: int) -> tuple:
    """Runs that are not ok first; then by grid, params, tokens and seed."""
    keys = [str(runs.columns["grid"][row])] if "grid" in runs.columns else []
    for name in ("params", "tokens", "seed"):
        value = float(numbers(runs.columns[name][row : row + 1])[0]) if name in runs.columns else 0.0
        keys.append(value if np.isfinite(value) else np.inf)
    return (status[row] == "ok", *keys, row)


def why_not(study: Study) -> dict[int, str]:
    """Row of the table -> why it is in no fit."""
    found: dict[int, str] = {}
    ids = study.runs.columns.get("run_id")
    place = {} if ids is None else {str(name): index for index, name in enumerate(ids.tolist())}
    for group in study.groups:
        own = group.runs.columns.get("run_id")
        for excluded in group.fit.excluded if group.fit is not None else ():
            row = excluded.row if own is None else place.get(str(own[excluded.row]), excluded.row)
            found[row] = excluded.reason
    status = study.runs.role("status")
    for index, value in enumerate([] if status is None else status.tolist()):
        if value != "ok":
            found[index] = _failure(study, index) or f"status is {value!r}, not 'ok'"
    return found


def _failure(study: Study, index: int) -> str:
    """The one line that a run left behind when it was given up."""
    if not study.runs.store:
        return ""
    name = str(study.runs.columns["run_id"][index])
    try:
        said = files.read_json(study.path / "runs" / name / "failure.json", study.path)
    except (OSError, files.Refused):
        return ""
    if said is None or contents.fault_of_failure(said):
        return ""
    return f"{said['error']} (after {said.get('attempts')} attempts)"[:300]


def _value(runs, name: str, index: int) -> Any:
    value = runs.columns[name][index]
    if name == "run_id":
        return Markup(f"<code>{text(value)}</code>")
    if isinstance(value, np.generic):
        value = value.item()
    if name in _WHOLE and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def cost_text(study: Study) -> str:
    """FLOPs, device time and energy, each measured or said to be missing."""
    flops, seconds = totals(study)
    columns = study.runs.columns
    pairs = [("training compute", f"{power(flops)} FLOPs" if flops > 0 else "not known")]
    pairs.append(("device time", duration(seconds) if seconds > 0 else "not recorded"))
    found = study.costs
    if found is not None:
        compiled = found.total.compile_seconds
        pairs.append(("of it compilation", duration(compiled) if compiled > 0 else "none recorded"))
    if found is not None and found.flops_per_s is not None:
        pairs.append(("speed", f"{power(found.flops_per_s)} FLOP/s a device, evaluation counted"))
    devices = sorted({str(value) for value in columns.get("device", []) if isinstance(value, str) and value})
    if devices:
        pairs.append(("devices", ", ".join(devices[:6])))
    return items([*pairs, *_energy(study, found)])


def _energy(study: Study, found: Ledger | None) -> list[tuple[str, str]]:
    """What counters read, beside an estimate with its bounds; what a point of loss cost."""
    if found is None:
        return [("energy", "not measured, and no device time is recorded to estimate it from")]
    measured = measured_words(found).removeprefix("measured: ")
    low, middle, high = (number(one.kwh, 2) for one in found.estimate)
    said = [
        (
            "energy measured",
            f"not measured{measured.removeprefix('nothing')}" if not found.coverage else measured,
        ),
        (
            "energy estimated",
            f"{low} to {high} kWh, middle {middle}: {found.how}; an estimate, no measurement",
        ),
    ]
    lost = [(n, spent) for status, (n, spent) in found.by_status().items() if status != "ok"]
    if lost and found.total.seconds > 0:
        share = sum(spent.seconds for _, spent in lost) / found.total.seconds
        said.append(("of it on no finished run", f"{share:.0%} of the device time"))
    if found.points[1:]:
        first, last = found.points[1], found.points[-1]
        price = f"{number(last.joules_a_point, 2)} J"
        if first is not last:
            price = (
                f"from {number(first.joules_a_point, 2)} J among the cheapest runs to {price} among the best"
            )
        said.append(("a hundredth of a nat", f"{price} ({found.basis})"))
    where = shlex.quote(str(study.path))
    return [*said, ("carbon", f"not stated; lab energy {where} --carbon FR gives it, and every run's part")]


def settings(study: Study) -> str:
    """Study files, versions, digests and settings."""
    source = study.provenance
    parts = []
    for name, content in source.studies.items():
        parts.append(
            f"<details><summary>Study file <code>{text(name)}</code></summary>"
            f'<pre tabindex="0">{text(content)}</pre></details>'
        )
    machine = {key: value for key, value in source.common.items() if not key.startswith("run.")}
    ours = {key: value for key, value in source.common.items() if key.startswith("run.")}
    for title, values, shown in (
        ("Versions, data and machine", machine, True),
        ("Settings that all runs share", ours, False),
        ("Settings that differ between runs", source.varied, False),
    ):
        if values:
            rows = [(Markup(f"<code>{text(key)}</code>"), value) for key, value in sorted(values.items())]
            inner = table((("setting", ""), ("value", "")), rows, title)
            parts.append(f"<details{' open' if shown else ''}><summary>{title}</summary>{inner}</details>")
    if not parts:
        parts.append("<p>This table carries no settings: it was not written by a study.</p>")
    else:
        parts.append(f'<p class="fine">Read from the specs of {source.specs} runs.</p>')
    return "".join(parts)


def go_on(study: Study) -> str:
    """Commands that lead on from here."""
    where = shlex.quote(str(study.path))
    rows = where + _only(study)
    toml = next(iter(study.provenance.studies), None)
    commands = []
    if study.runs.store and study.path.is_dir():
        status = study.runs.role("status")
        waiting = 0 if status is None else sum(value in ("unfinished", "failed") for value in status.tolist())
        said = f"train the {waiting} runs that are missing" if waiting else "train what you add to the study"
        file = shlex.quote(str(study.path / "studies" / toml)) if toml else "STUDY.toml"
        commands.append((f"lab run {file} --out {where}", said))
    commands += [
        (f"lab fit {rows} --bootstrap 4000", "the law again, with more draws"),
        (f"lab forecast {rows} --holdout-factor 3", "hold out more, and see how far the law carries"),
        (f"lab allocate {rows} --flops {_ten_times(study)}", "the best size and tokens for a budget"),
    ]
    if len(study.runs.ability_rows):
        commands.append((f"lab thresholds {where} --axis loss_nats", "the abilities against loss"))
    commands.append((f"lab plot {where} --out figures", "the figures as SVG, PDF, PNG and CSV, for a paper"))
    listed = "".join(
        f"<li><code>{text(command)}</code><span>{text(said)}</span></li>" for command, said in commands
    )
    return f'<ul class="commands">{listed}</ul>'


def _ten_times(study: Study) -> str:
    """Ten times the most compute of the runs, which their law may be asked about."""
    group = study.law
    flops = np.asarray((group.runs if group is not None else study.runs).columns.get("flops", [1e14]), float)
    most = np.nanmax(flops, initial=0.0)
    return f"{10 * most:.1g}" if most > 0 else "1e15"


def _only(study: Study) -> str:
    """The option that keeps to the runs of the law, where a store has other runs too."""
    group = study.law
    if group is None or len(study.groups) < 2:
        return ""
    others = [other for other in study.groups if other is not group]
    told = []
    for name in ("grid", "source"):
        value = str(group.runs.columns[name][0])
        same = [other for other in others if str(other.runs.columns[name][0]) == value]
        if len(same) < len(others):
            told.append(f"{name}={value}")
            others = same
    return f" --where {shlex.quote(','.join(told))}"
