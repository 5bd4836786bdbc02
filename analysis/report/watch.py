"""What is told of a study while it runs: its state, its curves, and which runs its last report knew.

Nothing is computed that nobody needs: curves are drawn anew when the store has changed and somebody looks,
and a report is written when it would say something new.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from analysis import plots
from analysis.errors import InputError
from analysis.plots import Plot
from analysis.report.build import inline
from analysis.report.html import duration, table, text
from analysis.report.study import MOST_GROUPS, parts
from analysis.tables.table import Runs, read

ENOUGH = 8  # finished runs that a law is fitted to; `lab report` says of fewer what is missing
_GROWN = 1.25  # the next report is due when so many times the runs of the last one have finished
_REST = 4  # drawing takes at most one part in this and one of the time
_SHOWN = 12
_FILES = ("result.json", "failure.json", "diverged.json", "metrics.jsonl")


def digest(store: Path) -> str:
    """Changes when a run of the store begins, goes on, ends or fails, and when a study joins; by names, sizes
    and times alone, so that no file is read."""
    found = hashlib.sha256()
    for path in sorted((store / "studies").glob("*.json")):
        found.update(_stamp(path))
    try:
        with os.scandir(store / "runs") as folders:
            names = sorted(entry.name for entry in folders if entry.is_dir(follow_symlinks=False))
    except OSError:
        names = []
    for name in names:
        found.update(name.encode("utf-8", "surrogateescape"))
        for file in _FILES:
            found.update(_stamp(store / "runs" / name / file))
    return found.hexdigest()[:16]


def _stamp(path: Path) -> bytes:
    try:
        seen = os.lstat(path)
    except OSError:
        return b"-"
    return f"{path.name} {seen.st_size} {seen.st_mtime_ns} ".encode()


@dataclass(frozen=True)
class Counts:
    """Runs of a store by state, over all its studies."""

    done: int
    ended: int
    cells: int
    active: bool

    @staticmethod
    def of(state: Mapping[str, Any]) -> Counts:
        """state: what `lab status --json` prints."""
        studies = state["studies"]
        number = {
            kind: sum(study["states"].get(kind, 0) for study in studies)
            for kind in ("done", "diverged", "failed", "running", "waiting")
        }
        ended = number["done"] + number["diverged"] + number["failed"]
        cells = sum(study["cells"] for study in studies)
        return Counts(number["done"], ended, cells, bool(number["running"] or number["waiting"]))


def is_due(now: Counts, before: Counts | None) -> bool:
    """Whether a report would say something new: enough runs, a quarter more than in the last, or all over.

    before: the runs that the last report knew.
    """
    if not now.active:
        return before is None or before != now
    if now.done < ENOUGH:
        return False
    return before is None or now.done >= _GROWN * before.done


@dataclass
class Live:
    """What is shown of a store. state: gives what `lab status --json` prints; may be asked by threads."""

    store: Path
    state: Callable[[], dict]
    every: float = 2.0
    reported: Counts | None = None
    writing: bool = False
    failed: str = ""  # why the last report could not be written
    drawn: int = 0  # times that curves were drawn
    _lock: Lock = field(default_factory=Lock)
    _state: tuple[float, dict] | None = None
    _digest: str = ""
    _curves: str = ""
    _rested: float = 0.0

    def current(self) -> dict:
        """The state, at most `every` seconds old."""
        with self._lock:
            return self._now()

    def fragment(self) -> str:
        """What changes while a study runs, as HTML; equal where nothing has changed."""
        with self._lock:
            state = self._now()
            self._draw()
            return f"{progress(state)}{running(state)}{troubles(state)}{self._curves}{self._report(state)}"

    def _now(self) -> dict:
        if self._state is None or time.monotonic() - self._state[0] >= self.every:
            self._state = time.monotonic(), self.state()
        return self._state[1]

    def _draw(self) -> None:
        now = digest(self.store)
        began = time.monotonic()
        if now == self._digest or began < self._rested:
            return
        self._digest, self._curves = now, curves(self.store)
        self.drawn += 1
        self._rested = time.monotonic() + _REST * (time.monotonic() - began)

    def _report(self, state: Mapping[str, Any]) -> str:
        known, now = self.reported, Counts.of(state)
        if self.failed and not self.writing:
            return f'<p class="fine">The report could not be written: {text(self.failed)}</p>'
        if known is None:
            if self.writing:
                return '<p class="fine">The first report is being written.</p>'
            more = f"Laws are fitted and the report is written once {ENOUGH} runs have finished."
            return f'<p class="fine">{more}</p>' if now.active else ""
        said = f"The report below knows {known.done} of {now.cells} runs"
        said += "; a new one is being written." if self.writing else "."
        version = f"{known.done}-{known.ended}-{known.cells}"
        return (
            f'<p class="fine" id="known" data-version="{version}">{said} '
            '<a href="report.html" target="_blank">Open it by itself</a></p>'
        )


def progress(state: Mapping[str, Any]) -> str:
    """How far each study is, and the time left."""
    parts = []
    for study in state["studies"]:
        states, cells = study["states"], study["cells"]
        done = states.get("done", 0)
        ended = done + states.get("diverged", 0) + states.get("failed", 0)
        kinds = [k for k in ("waiting", "unfinished", "diverged", "failed") if states.get(k)]
        said = [f"{done} of {cells} runs done"]
        # A trunk that several runs wait for is none of the runs: what trains is counted from what works.
        said += [f"{study['workers']} in training"] if study["workers"] else []
        said += [f"{states[kind]} {kind}" for kind in kinds]
        if study["eta_seconds"] is not None:
            first = "" if study["actual_device_seconds"] else " of training, before any compilation"
            said.append(f"about {duration(_short(study['eta_seconds']))} left{first}")
        elif study["next"] is None:
            said.append("all over")
        elif not study["workers"]:
            said.append("nobody works on it now")
        name = text(study["study"])
        head = f"<h2>{name}</h2>" if len(state["studies"]) > 1 else ""
        parts.append(
            f'<div class="state">{head}<p role="status">{text(", ".join(said))}</p>'
            f'<progress max="{cells}" value="{ended}" aria-label="runs ended of {name}"></progress></div>'
        )
    return "".join(parts)


def _short(value: float) -> float:
    """To two digits: the others change at every look, and say nothing."""
    return float(f"{value:.2g}")


def running(state: Mapping[str, Any]) -> str:
    """A table of what runs now."""
    rows = [
        (
            one["name"],
            one["phase"],
            one["tokens"],
            one["loss_nats"],
            one["val_loss_nats"],
            None if one["tokens_per_s"] is None else _short(one["tokens_per_s"]),
        )
        for study in state["studies"]
        for one in study["running"]
    ]
    marks = [one["run_id"] for study in state["studies"] for one in study["running"]]
    if not rows:
        return ""
    head = (("run", ""), ("phase", ""), ("tokens", ""), ("loss", "of training, nats a token"))
    head += (("validated", "loss on held-out text, nats a token"), ("tokens/s", ""))
    return table(head, rows[:_SHOWN], "What runs now", marks=marks[:_SHOWN], right=(2, 3, 4, 5))


def troubles(state: Mapping[str, Any]) -> str:
    """What failed, diverged or is damaged, with the command that goes on."""
    told, commands = [], []
    for study in state["studies"]:
        told += [f"failed {one['run_id']}: {one['error']}" for one in study["failures"]]
        reasons = Counter(one["reason"] for one in study["diverged"])
        told += [f"{number} diverged: {reason}" for reason, number in reasons.items()]
        if reasons:
            told.append("Diverged runs are shown and never fitted; a lower learning rate is a new run.")
        told += [f"damaged {one['run_id']}/{one['file']}: {one['why']}" for one in study["damaged"]]
        if study["next"] and (study["failures"] or not study["workers"]):
            commands.append(study["next"])
    told += state["torn"]
    if not told and not commands:
        return ""
    shown = "".join(f"<li>{text(one)}</li>" for one in told[:_SHOWN])
    if len(told) > _SHOWN:
        shown += f"<li>and {len(told) - _SHOWN} more: <code>lab status</code> has all</li>"
    listed = f'<ul class="plain">{shown}</ul>' if told else ""
    go_on = "".join(f"<p>To go on: <code>{text(one)}</code></p>" for one in commands)
    return f'<div class="card{" warn" if told else ""}">{listed}{go_on}</div>'


def curves(store: Path) -> str:
    """Loss against compute of the runs and of those on the way, a figure for each grid that has losses.

    A store of which the table cannot be read just now says so: it may be whole at the next look.
    """
    try:
        runs = read(store)
        drawn = [(name, _curves_of(part)) for name, part in parts(runs)[:MOST_GROUPS]]
    except InputError as error:
        return f'<p class="fine">{text("; ".join(error.problems))}</p>'
    shown = [
        _figure(f"live-curves-{index}", name, plot)
        for index, (name, plot) in enumerate(drawn)
        if plot is not None
    ]
    if not shown:
        return '<p class="fine">No losses yet: programs are being compiled.</p>'
    return f'<div class="gallery">{"".join(shown)}</div>'


def _curves_of(runs: Runs) -> Plot | None:
    ways = plots.learning_curves(runs)
    plot = plots.loss_compute(runs, None, ways)
    return plot if len(plot.data) else None


def _figure(name: str, title: str, plot: Plot) -> str:
    head = f"{plot.title}: {title}" if title else plot.title
    return (
        f'<figure id="{name}"><h3>{text(head)}</h3><div class="paper">{inline(plot.svg(), name)}</div>'
        f"<figcaption><p>{text(plot.caption)}</p></figcaption></figure>"
    )
