"""The state of a store, read from its folders alone: no jax, no data, no plan."""

import json
from collections import Counter
from pathlib import Path

from lab.errors import InputError
from lab.folder import RunFolder, read_json
from sweeps import claim as claims
from sweeps.display import short


def collect(root: Path) -> dict:
    """Cells by state for each study, what runs now, what failed, and the commands that help.

    Raises:
        InputError: where there is no store.
    """
    studies = sorted((root / "studies").glob("*.json"))
    if not studies:
        raise InputError(f"{root}: no study here; should be a folder that `lab run` wrote")
    return {"out": str(root), "studies": [_study(root, path) for path in studies]}


def _study(root: Path, path: Path) -> dict:
    try:
        found = json.loads(path.read_text())
        cells = found["cells"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: is damaged; `lab run` writes it anew") from None
    counts: Counter = Counter()
    running, failures, diverged, losses = [], [], [], []
    seen: set[str] = set()
    for cell in cells:
        folder = RunFolder(root / "runs" / cell["run_id"])
        state = _state(root, cell, folder)
        counts[state] += 1
        if state == "running" or (
            cell["trunk"] and cell["trunk"] not in seen and _is_claimed(root, cell["trunk"])
        ):
            run_id = cell["run_id"] if state == "running" else cell["trunk"]
            seen.add(run_id)
            last = next(
                (m for m in reversed(RunFolder(root / "runs" / run_id).metrics()) if "loss_nats" in m), {}
            )
            running.append(
                {"run_id": run_id, "step": last.get("step", 0), "loss_nats": last.get("loss_nats")}
            )
        if state == "failed":
            failure = read_json(folder.path / "failure.json") or read_json(
                root / "runs" / cell["trunk"] / "failure.json"
            )
            failures.append({"run_id": cell["run_id"], "error": failure["error"]})
        if state == "diverged":
            diverged.append({"run_id": cell["run_id"], "reason": folder.result()["row"].get("reason")})
        if state == "done":
            row = folder.result()["row"]
            losses.append((row["flops_exact"], row["run_id"], row["loss_nats"]))
    command = f"lab run {path.with_suffix('.toml')} --out {root}"
    return {
        "study": found["study"],
        "cells": len(cells),
        "states": dict(counts),
        "running": running,
        "failures": failures,
        "diverged": diverged,
        "lowest_loss": min(
            ({"run_id": r, "loss_nats": x} for _, r, x in losses), key=lambda d: d["loss_nats"], default=None
        ),
        "next": None
        if counts["done"] + counts["diverged"] == len(cells)
        else command + (" --retry-failed" if failures else ""),
    }


def _state(root: Path, cell: dict, folder: RunFolder) -> str:
    result = folder.result()
    if result is not None:
        return "diverged" if result["row"]["status"] == "diverged" else "done"
    if (folder.path / "failure.json").exists():
        return "failed"
    if cell["trunk"] and (root / "runs" / cell["trunk"] / "failure.json").exists():
        return "failed"
    return "running" if _is_claimed(root, cell["run_id"]) else "waiting"


def _is_claimed(root: Path, run_id: str) -> bool:
    held = claims.read(root / "runs" / run_id / "claim")
    return held is not None and not held.is_stale()


def as_text(found: dict, root: Path) -> str:
    lines = []
    for study in found["studies"]:
        counts = ", ".join(f"{n} {state}" for state, n in sorted(study["states"].items()))
        lines.append(f"{study['study']}: {study['cells']} runs: {counts}")
        if study["lowest_loss"]:
            lines.append(
                f"  lowest loss {study['lowest_loss']['loss_nats']:.4f} ({study['lowest_loss']['run_id']})"
            )
        for row in study["running"]:
            loss = "" if row["loss_nats"] is None else f", loss {row['loss_nats']:.4f}"
            lines.append(f"  running {row['run_id']}: step {short(row['step'])}{loss}")
        for row in study["diverged"]:
            lines.append(f"  diverged {row['run_id']}: {row['reason']}")
        for row in study["failures"]:
            lines.append(f"  failed {row['run_id']}: {row['error']}  ({root / 'runs' / row['run_id']})")
        if study["next"]:
            lines.append(f"  to go on: {study['next']}")
    return "\n".join(lines)
