"""The state of a store, read from its folders alone: no jax, no data, no plan."""

import contextlib
import os
import shlex
import time
import tomllib
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lab.errors import InputError
from lab.files import Refused, read_json, read_text, write_json
from lab.runs.folder import FAILURE, ITEMS, METRICS, RESULT, SPEC, Reading, RunFolder
from sweeps.quantities import duration, short
from sweeps.store.damage import REMOVE, Damage, look
from sweeps.store.store import Store

_SHOWN = 12  # longer lists are shortened; --json has all of them
LOOKED_AT = (SPEC, RESULT, FAILURE, METRICS, ITEMS, "final")
_LAST = 5  # losses shown of what was finished last
_KEPT = "cache/looked.json"  # what earlier looks found in folders that have not changed since; may be deleted
_KEPT_BYTES = 1 << 30


@dataclass
class Look:
    """Looks at a store, again and again: from the second look on, speeds are measured between two looks."""

    root: Path
    _steps: dict[str, tuple[float, int]] = field(default_factory=dict)  # run id -> when, tokens
    _looked: dict[str, tuple[list[list[int]], list[Damage]]] | None = None
    _promises: dict[Path, dict | None] = field(default_factory=dict)  # by study file

    def collect(self) -> dict:
        """Cells by state for each study, what runs now, what failed, and the commands that help.

        Raises:
            InputError: where there is no store.
        """
        store = Store(self.root)
        paths = store.study_files()
        if not paths:
            raise InputError(f"{self.root}: no study here; should be a folder that `lab run` wrote")
        if self._looked is None:
            self._looked = _kept(self.root)
        before = dict(self._looked)
        there, studies, torn = store.names(), [], []
        for path in paths:
            try:
                studies.append(self._study(path, store, there))
            except Refused as refused:
                torn.append(str(refused))
        if not studies:
            raise InputError(*torn)
        if self._looked != before:
            _keep(self.root, self._looked)
        return {"out": str(self.root), "studies": studies, "torn": torn}

    def _study(self, path: Path, store: Store, there: set[str]) -> dict:
        found = store.study(path)
        cells = found["cells"]
        trunks = {cell["trunk"] for cell in cells if cell.get("trunk")}
        read = {c["run_id"]: store.state_and_result(c["run_id"], c.get("trunk"), there) for c in cells}
        states = {run_id: state for run_id, (state, _) in read.items()}
        results = {run_id: result for run_id, (_, result) in read.items() if run_id in there}
        ended = {r: one.value["row"] for r, one in results.items() if states[r] in ("done", "diverged")}
        rows = {run_id: row for run_id, row in ended.items() if states[run_id] == "done"}
        at_work = [run_id for run_id, state in states.items() if state == "running"]
        at_work += [t for t in sorted(trunks & there) if store.is_claimed(t)]
        flops = {c.get(key): _flops_per_token(c) for c in cells for key in ("trunk", "run_id")}
        names = {c["trunk"]: _named(c, "trunk") for c in cells if c.get("trunk")}
        names |= {c["run_id"]: _named(c, f"{short(c['tokens'])} tokens") for c in cells}
        running = [
            {"name": names[run_id], **self._running(store, run_id, flops.get(run_id))} for run_id in at_work
        ]
        failures = [self._failure(store, c, there) for c in cells if states[c["run_id"]] == "failed"]
        diverged = [
            {"run_id": run_id, "reason": ended[run_id].get("reason")}
            for run_id, state in states.items()
            if state == "diverged"
        ]
        counts = Counter(states.values())
        damaged = self._damaged(store, dict.fromkeys(sorted(trunks & there)) | results)
        is_over = counts["done"] + counts["diverged"] == len(cells)
        is_over = is_over and not any(one.can_be_mended for one in damaged)
        command = shlex.join(["lab", "run", str(path.with_suffix(".toml")), "--out", str(self.root)])
        lowest: dict[str, dict] = {}  # losses on different data are different quantities
        for c in cells:
            loss, grid = rows.get(c["run_id"], {}).get("loss_nats"), c.get("grid", "")
            if loss is not None and loss < lowest.get(grid, {}).get("loss_nats", float("inf")):
                lowest[grid] = {"run_id": c["run_id"], "loss_nats": loss}
        return {
            "study": found["study"],
            "cells": len(cells),
            "states": dict(counts),
            "running": running,
            "failures": failures,
            "diverged": diverged,
            "damaged": [asdict(one) for one in damaged],
            "lowest_loss": lowest,
            "last_losses": self._last(rows),
            **_costs(cells, states, rows, running),
            "promise": self._promise(path) if is_over else None,
            "next": None if is_over else command + (" --retry-failed" if failures else ""),
        }

    def _promise(self, path: Path) -> dict | None:
        """Widths of intervals, promised over delivered, once a study is over; computed at the first look."""
        if path not in self._promises:
            from sweeps.plan.promised_intervals import kept
            from sweeps.study.prior import Prior

            try:
                stated = tomllib.loads(read_text(path.with_suffix(".toml"), self.root)).get("prior", {})
                found = kept(self.root, Prior(**stated))
            except (OSError, Refused, ValueError, TypeError):
                found = None
            self._promises[path] = None if found is None else asdict(found)
        return self._promises[path]

    def _failure(self, store: Store, cell: dict, there: set[str]) -> dict:
        for run_id in (cell["run_id"], cell.get("trunk")):
            failure = run_id and run_id in there and store.failure(run_id)
            if failure:
                where = str(store.run(run_id).path / FAILURE)
                return {"run_id": cell["run_id"], "error": failure["error"], "traceback": where}
        return {"run_id": cell["run_id"], "error": "its record went away meanwhile", "traceback": None}

    def _damaged(self, store: Store, results: dict[str, Reading | None]) -> list[Damage]:
        """Damage where nobody works; a folder that has not changed since the last look is not read again.

        Args:
            results: of each run folder what was read of its result, where it may have one.
        """
        found = []
        for run_id, result in results.items():
            if store.is_claimed(run_id):
                continue
            folder = store.run(run_id)
            times = [_stamp(os.path.join(folder.path, name)) for name in ("", *LOOKED_AT)]
            if self._looked.get(run_id, (None,))[0] != times:
                whole = result if result and result.state == "whole" else None
                self._looked[run_id] = times, look(folder, result=whole)
            found += self._looked[run_id][1]
        return found

    def _running(self, store: Store, run_id: str, flops_per_token: float | None) -> dict:
        folder = store.run(run_id)
        lines = folder.metrics()
        losses = [line for line in reversed(lines) if line.get("loss_nats") is not None]
        last = next((line for line in losses if line.get("kind") is None), {})
        validated = next((line["loss_nats"] for line in losses if line.get("kind") == "val"), None)
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
            "val_loss_nats": validated,
            "tokens_per_s": speed,
            "share_of_peak": _share(folder, flops_per_token, speed),
        }

    def _last(self, rows: dict[str, dict]) -> list[dict]:
        """What was finished last, newest first."""
        times = {run_id: _mtime(self.root / "runs" / run_id / "result.json") for run_id in rows}
        newest = sorted(times, key=times.get, reverse=True)[:_LAST]
        return [
            {"run_id": run_id, **{key: rows[run_id].get(key) for key in ("width", "tokens", "loss_nats")}}
            for run_id in newest
        ]


def _kept(root: Path) -> dict[str, tuple[list[list[int]], list[Damage]]]:
    """Of earlier commands; what is no such file is as none."""
    found = {}
    try:
        for run_id, (stamps, damaged) in (read_json(root / _KEPT, root, _KEPT_BYTES) or {}).items():
            found[run_id] = stamps, [Damage(run_id, str(f), str(w), c is True) for f, w, c in damaged]
    except (OSError, Refused, AttributeError, TypeError, ValueError):
        return {}
    return found


def _keep(root: Path, looked: dict[str, tuple[list[list[int]], list[Damage]]]) -> None:
    """Where the store takes files from whoever looks."""
    kept = {
        run_id: (stamps, [(one.file, one.why, one.can_be_mended) for one in damaged])
        for run_id, (stamps, damaged) in looked.items()
    }
    with contextlib.suppress(OSError, Refused):
        write_json(root / _KEPT, kept, root)


def _stamp(path: str) -> list[int]:
    """What a change of the file changes."""
    try:
        found = os.lstat(path)
    except OSError:
        return []
    return [found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino]


def _mtime(path: Path | str) -> float:
    try:
        return os.lstat(path).st_mtime
    except OSError:
        return 0.0


def _named(cell: dict, end: str) -> str:
    """A cell as people tell it from others: its grid, shape and seed, and what it ends at."""
    shape = f"{cell.get('width')}x{cell.get('layers')}h{cell.get('heads')}"
    return f"{cell.get('grid', '')} {shape} seed {cell.get('seed')} {end}".strip()


def _flops_per_token(cell: dict) -> float | None:
    flops, tokens = cell.get("flops_exact"), cell.get("tokens")
    return flops / tokens if flops and tokens else None


def _share(folder: RunFolder, flops_per_token: float | None, tokens_per_s: float | None) -> float | None:
    """Of the published peak of the devices that the run is on; None where that is not known."""
    if not flops_per_token or not tokens_per_s:
        return None
    costs, spec = folder.costs(), folder.spec() or {}
    kind = str(costs[-1].get("device")) if costs else "cpu"
    if kind == "cpu":
        return None
    from lab.machine import chips  # which brings jax

    chip = chips.of_kind(kind)
    if chip is None:
        return None
    config, made = spec.get("config", {}), spec.get("provenance", {})
    peak = chip.flops if config.get("precision") == "bfloat16" else chip.flops_f32
    devices = made.get("devices")
    return tokens_per_s * flops_per_token / (peak * (devices if isinstance(devices, int) and devices else 1))


def _costs(cells: list[dict], states: dict[str, str], rows: dict[str, dict], running: list[dict]) -> dict:
    """Predicted against actual device-seconds of what is done, and from both the time left.

    `eta_seconds` expects as much compilation beside the training as there was so far.
    """
    predicted = {c["run_id"]: c.get("predicted_seconds") for c in cells}
    tokens = {c["run_id"]: c.get("trained_tokens") or 0 for c in cells}
    # one that diverged stopped early: it says nothing of the others' speed
    timed = [r for r in rows if rows[r].get("device_seconds") and rows[r].get("status", "ok") == "ok"]
    both = [r for r in timed if predicted[r]]
    expected = sum(predicted[r] for r in both)
    actual = sum(rows[r]["device_seconds"] for r in both)
    # only the first stretches of a study: better than no ratio at all
    ratio = actual / expected if both else 1.0
    open_ = [cell for cell in cells if states.get(cell["run_id"]) in ("waiting", "running")]
    left = _seconds_of(open_, [cell for cell in cells if cell["run_id"] in both], rows, ratio)
    speeds = [r["tokens_per_s"] for r in running if r["tokens_per_s"]]
    compiled = sum(rows[r].get("compile_seconds") or 0.0 for r in both)
    wall = 1.0 + compiled / actual if both else 1.0
    mean = sum(tokens[r] for r in both) / actual if actual else None
    return {
        "predicted_device_seconds": expected if both else None,
        "actual_device_seconds": actual if both else None,
        "compile_seconds": sum(row.get("compile_seconds") or 0.0 for row in rows.values()),
        "device_seconds_left": left,
        "workers": len(running),
        "eta_seconds": left * wall / len(running) if running else None,
        "tokens_per_s": sum(speeds) if speeds else mean * len(running) if mean and running else None,
    }


def _seconds_of(cells: list[dict], done: list[dict], rows: dict[str, dict], ratio: float) -> float:
    """Device-seconds of cells by what a token took in those of their shape that are done; of a shape without
    one, what was predicted times `ratio`. A wrong prediction of one shape says nothing of others."""
    took: dict[tuple, list[float]] = {}
    for cell in done:
        of = took.setdefault(_shape(cell), [0.0, 0.0])
        of[0] += rows[cell["run_id"]]["device_seconds"]
        of[1] += cell.get("trained_tokens") or 0
    total = 0.0
    for cell in cells:
        seconds, tokens = took.get(_shape(cell), (0.0, 0.0))
        own = cell.get("trained_tokens") or 0
        total += own * seconds / tokens if own and tokens else (cell.get("predicted_seconds") or 0.0) * ratio
    return total


def _shape(cell: dict) -> tuple:
    return tuple(cell.get(key) for key in ("source", "width", "layers", "heads"))


def is_active(found: dict) -> bool:
    """Whether anything runs or waits."""
    return any(s["states"].get(k) for s in found["studies"] for k in ("running", "waiting"))


def as_text(found: dict) -> str:
    lines = []
    for study in found["studies"]:
        counts = ", ".join(f"{n} {state}" for state, n in sorted(study["states"].items()))
        lines.append(f"{study['study']}: {study['cells']} runs: {counts}")
        lines += [f"  {line}" for line in _of_study(study)]
    return "\n".join([*lines, *found["torn"]])


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
    if study["promise"]:
        lines.append(_of_promise(study["promise"]))
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
    lines += _listed(study["damaged"], lambda row: f"damaged {row['run_id']}/{row['file']}: {row['why']}")
    if study["next"]:
        what = "to try the failed ones again" if study["failures"] else "to go on"
        lines.append(f"{what}: {study['next']}")
    elif study["damaged"]:
        lines.append(REMOVE)
    return lines


def _of_promise(promise: dict) -> str:
    shown = ", ".join(f"{name} {ratio:.2f}" for name, ratio in promise["ratios"].items())
    other = "" if promise["law"] == promise["leads"] else f"; {promise['leads']} leads on the runs"
    return (
        f"intervals of {promise['grid']}, promised over delivered width: {shown or 'nothing in common'} "
        f"({promise['law']} law and scatter of {promise['source']}{other})"
    )


def _listed(rows: list[dict], say) -> list[str]:
    more = [f"... and {len(rows) - _SHOWN} more"] if len(rows) > _SHOWN else []
    return [say(row) for row in rows[:_SHOWN]] + more


def _said_running(row: dict) -> str:
    if row["phase"] == "compiling":
        return f"running {row['run_id']} ({row['name']}): compiling"
    speed = f", {short(row['tokens_per_s'])} tokens/s" if row["tokens_per_s"] else ""
    share = f" ({row['share_of_peak']:.0%} of the peak)" if row["share_of_peak"] else ""
    validated = f", validation {row['val_loss_nats']:.4f}" if row["val_loss_nats"] is not None else ""
    loss = f"step {row['step']}, loss {row['loss_nats']:.4f}"
    return f"running {row['run_id']} ({row['name']}): {loss}{validated}{speed}{share}"
