"""The state of a store, read from its folders alone: no jax, no data, no plan."""

import json
import shlex
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from lab.errors import InputError
from lab.files import read_json
from lab.runs import claims
from lab.runs.folder import RunFolder
from sweeps.quantities import duration, short
from sweeps.store.store import Store

_SHOWN = 12  # longer lists are shortened; --json has all of them
_LAST = 5  # losses shown of what was finished last


@dataclass
class Look:
    """Looks at a store, again and again: from the second look on, speeds are measured between two looks."""

    root: Path
    _steps: dict[str, tuple[float, int]] = field(default_factory=dict)  # run id -> when, tokens

    def collect(self) -> dict:
        """Cells by state for each study, what runs now, what failed, and the commands that help.

        Raises:
            InputError: where there is no store.
        """
        studies = sorted((self.root / "studies").glob("*.json"))
        if not studies:
            raise InputError(f"{self.root}: no study here; should be a folder that `lab run` wrote")
        there = Store(self.root).names()
        return {"out": str(self.root), "studies": [self._study(path, there) for path in studies]}

    def _study(self, path: Path, there: set[str]) -> dict:
        try:
            found = json.loads(path.read_text())
            cells = found["cells"]
            trunks = {cell["trunk"] for cell in cells if cell["trunk"]}
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{path}: is damaged; `lab run` writes it anew") from None
        ended = {c["run_id"]: self._row(c["run_id"]) for c in cells if c["run_id"] in there}
        states = {c["run_id"]: self._state(c, there, ended.get(c["run_id"])) for c in cells}
        rows = {run_id: row for run_id, row in ended.items() if states[run_id] == "done"}
        running = [self._running(run_id) for run_id, state in states.items() if state == "running"]
        running += [self._running(t) for t in sorted(trunks & there) if self._is_claimed(t)]
        failures = [self._failure(c) for c in cells if states[c["run_id"]] == "failed"]
        diverged = [
            {"run_id": run_id, "reason": ended[run_id].get("reason")}
            for run_id, state in states.items()
            if state == "diverged"
        ]
        counts = Counter(states.values())
        is_over = counts["done"] + counts["diverged"] == len(cells)
        command = shlex.join(["lab", "run", str(path.with_suffix(".toml")), "--out", str(self.root)])
        lowest: dict[str, dict] = {}  # losses on different data are different quantities
        for c in cells:
            loss = rows.get(c["run_id"], {}).get("loss_nats")
            if loss is not None and loss < lowest.get(c["grid"], {}).get("loss_nats", float("inf")):
                lowest[c["grid"]] = {"run_id": c["run_id"], "loss_nats": loss}
        return {
            "study": found["study"],
            "cells": len(cells),
            "states": dict(counts),
            "running": running,
            "failures": failures,
            "diverged": diverged,
            "lowest_loss": lowest,
            "last_losses": self._last(rows),
            **_costs(cells, states, rows, running),
            "next": None if is_over else command + (" --retry-failed" if failures else ""),
        }

    def _state(self, cell: dict, there: set[str], row: dict | None) -> str:
        run_id, trunk = cell["run_id"], cell["trunk"]
        if row:
            return "diverged" if row.get("status") == "diverged" else "done"
        if run_id in there and (self.root / "runs" / run_id / "failure.json").exists():
            return "failed"
        if trunk in there and (self.root / "runs" / trunk / "failure.json").exists():
            return "failed"
        return "running" if run_id in there and self._is_claimed(run_id) else "waiting"

    def _row(self, run_id: str) -> dict:
        """The row of a result; empty where there is none, or none that can be read."""
        try:
            result = read_json(self.root / "runs" / run_id / "result.json")
        except ValueError:
            return {}
        return (result or {}).get("row", {})

    def _failure(self, cell: dict) -> dict:
        for run_id in (cell["run_id"], cell["trunk"]):
            failure = run_id and read_json(self.root / "runs" / run_id / "failure.json")
            if failure:
                where = str(self.root / "runs" / run_id / "failure.json")
                return {"run_id": cell["run_id"], "error": failure["error"], "traceback": where}
        return {"run_id": cell["run_id"], "error": "its record went away meanwhile", "traceback": None}

    def _is_claimed(self, run_id: str) -> bool:
        held = claims.read(self.root / "runs" / run_id / "claim")
        return held is not None and not held.is_stale()

    def _running(self, run_id: str) -> dict:
        lines = RunFolder(self.root / "runs" / run_id).metrics()
        last = next((line for line in reversed(lines) if line.get("loss_nats") is not None), {})
        tokens, now = last.get("tokens", 0), time.monotonic()
        since, before = self._steps.setdefault(run_id, (now, tokens))
        speed = (tokens - before) / (now - since) if now > since and tokens > before else None
        # no line at all: the program is being compiled, or the first calls are under way
        phase = "training" if last else "compiling"
        return {
            "run_id": run_id,
            "phase": phase,
            "step": last.get("step", 0),
            "tokens": tokens,
            "loss_nats": last.get("loss_nats"),
            "tokens_per_s": speed,
        }

    def _last(self, rows: dict[str, dict]) -> list[dict]:
        """What was finished last, newest first."""
        times = {run_id: _mtime(self.root / "runs" / run_id / "result.json") for run_id in rows}
        newest = sorted(times, key=times.get, reverse=True)[:_LAST]
        return [
            {"run_id": run_id, **{key: rows[run_id].get(key) for key in ("width", "tokens", "loss_nats")}}
            for run_id in newest
        ]


def _mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _costs(cells: list[dict], states: dict[str, str], rows: dict[str, dict], running: list[dict]) -> dict:
    """Predicted against actual device-seconds of what is done, and from both the time left."""
    predicted = {c["run_id"]: c.get("predicted_seconds") for c in cells}
    tokens = {c["run_id"]: c.get("trained_tokens") or 0 for c in cells}
    both = [r for r in rows if predicted[r] and rows[r].get("device_seconds")]
    expected = sum(predicted[r] for r in both)
    actual = sum(rows[r]["device_seconds"] for r in both)
    # only the first stretches of a study: better than no ratio at all
    ratio = actual / expected if both else 1.0
    left = sum(predicted[r] or 0.0 for r, state in states.items() if state in ("waiting", "running"))
    speeds = [r["tokens_per_s"] for r in running if r["tokens_per_s"]]
    mean = sum(tokens[r] for r in both) / actual if actual else None
    return {
        "predicted_device_seconds": expected if both else None,
        "actual_device_seconds": actual if both else None,
        "compile_seconds": sum(row.get("compile_seconds") or 0.0 for row in rows.values()),
        "device_seconds_left": left * ratio,
        "workers": len(running),
        "eta_seconds": left * ratio / len(running) if running else None,
        "tokens_per_s": sum(speeds) if speeds else mean * len(running) if mean and running else None,
    }


def is_active(found: dict) -> bool:
    """Whether anything runs or waits."""
    return any(s["states"].get(k) for s in found["studies"] for k in ("running", "waiting"))


def as_text(found: dict) -> str:
    lines = []
    for study in found["studies"]:
        counts = ", ".join(f"{n} {state}" for state, n in sorted(study["states"].items()))
        lines.append(f"{study['study']}: {study['cells']} runs: {counts}")
        lines += [f"  {line}" for line in _of_study(study)]
    return "\n".join(lines)


def _of_study(study: dict) -> list[str]:
    lines = []
    if study["workers"]:
        left = "" if study["eta_seconds"] is None else f", about {duration(study['eta_seconds'])} left"
        speed = f", {short(study['tokens_per_s'])} tokens/s" if study["tokens_per_s"] else ""
        lines.append(f"{study['workers']} running{speed}{left}")
    if study["actual_device_seconds"]:
        predicted, actual = study["predicted_device_seconds"], study["actual_device_seconds"]
        lines.append(
            f"device time of finished runs: {duration(actual)}, predicted {duration(predicted)} "
            f"({actual / predicted:.2f} times), and {duration(study['compile_seconds'])} of compilation"
        )
    for grid, lowest in study["lowest_loss"].items():
        lines.append(f"lowest loss of {grid}: {lowest['loss_nats']:.4f} ({lowest['run_id']})")
    if study["last_losses"]:
        shown = (
            f"{r['loss_nats']:.4f} (width {r['width']}, {short(r['tokens'])} tokens)"
            for r in study["last_losses"]
        )
        lines.append(f"finished last: {', '.join(shown)}")
    lines += _listed(study["running"], _said_running)
    lines += _listed(study["diverged"], lambda row: f"diverged {row['run_id']}: {row['reason']}")
    if study["diverged"]:
        lines.append(
            "diverged runs are shown and never fitted; a lower learning rate in the study is a new run"
        )
    lines += _listed(
        study["failures"], lambda row: f"failed {row['run_id']}: {row['error']}  ({row['traceback']})"
    )
    if study["next"]:
        what = "to try the failed ones again" if study["failures"] else "to go on"
        lines.append(f"{what}: {study['next']}")
    return lines


def _listed(rows: list[dict], say) -> list[str]:
    more = [f"... and {len(rows) - _SHOWN} more"] if len(rows) > _SHOWN else []
    return [say(row) for row in rows[:_SHOWN]] + more


def _said_running(row: dict) -> str:
    if row["phase"] == "compiling":
        return f"running {row['run_id']}: compiling"
    speed = f", {short(row['tokens_per_s'])} tokens/s" if row["tokens_per_s"] else ""
    return f"running {row['run_id']}: step {row['step']}, loss {row['loss_nats']:.4f}{speed}"
