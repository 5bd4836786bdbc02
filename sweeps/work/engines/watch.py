"""Events for a display from the store alone, for engines whose workers are out of earshot."""

import json
import os
import time
from pathlib import Path

from sweeps.plan.cells import Plan
from sweeps.plan.study_parts import Part
from sweeps.store.store import Node, Store

_TAIL_BYTES = 2000


class StoreWatch:
    """What changed since the last look. Reads only folders that are there and not over."""

    def __init__(self, plan: Plan, store: Store, part: Part | None = None):
        found = [*plan.trunks, *plan.cells]
        self.store = store
        self.open = {of.run_id: store.node(of) for of in (part.of(found) if part else found)}
        self._steps: dict[str, tuple[int, float]] = {}
        self.events()  # what was over before is no news

    def cells_open(self) -> int:
        """Cells that have no result and were not given up."""
        gone = {n.run_id for n in self.open.values() if not n.is_trunk and self._trunk_failed(n)}
        return sum(not node.is_trunk and node.run_id not in gone for node in self.open.values())

    def events(self) -> list[dict]:
        try:
            there = set(os.listdir(self.store.root / "runs"))
        except FileNotFoundError:
            return []
        found = []
        for run_id in [name for name in self.open if name in there]:
            node = self.open[run_id]
            if self.store.is_done(node):
                found.append({"kind": "done", "run_id": run_id, "slot": run_id, "text": node.job.outcome()})
            elif failure := self.store.failure(run_id):
                found.append({"kind": "failed", "run_id": run_id, "slot": run_id, "text": failure["error"]})
            elif progress := self._progress(node):
                found.append({"kind": "progress", "run_id": run_id, "slot": run_id, "progress": progress})
                continue
            else:
                continue
            del self.open[run_id]
        return found

    def _trunk_failed(self, node: Node) -> bool:
        return bool(node.of.trunk and self.store.failure(node.of.trunk) and not self.store.is_ready(node))

    def _progress(self, node: Node) -> dict | None:
        line = _last_line(node.job.folder.path / "metrics.jsonl")
        step, now = line.get("step", 0), time.monotonic()
        before, since = self._steps.get(node.run_id, (0, now))
        if step == before:
            return None
        self._steps[node.run_id] = (step, now)
        speed = (step - before) * node.of.config.batch_tokens / max(now - since, 1e-9) if since < now else 0.0
        return {
            "phase": "train",
            "step": step,
            "steps": node.job.end,
            "loss_nats": line["loss_nats"],
            "tokens_per_s": speed,
        }


def _last_line(path: Path) -> dict:
    """The last whole line that holds a training loss, from the end of the file."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return {}
    for line in reversed(lines):
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict) and "loss_nats" in found and "kind" not in found:
            return found
    return {}
