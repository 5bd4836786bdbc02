"""A folder of run folders: where studies are kept, what state their cells are in.

``runs/<run_id>/`` one folder a run or trunk, ``studies/<name>.toml`` and ``.json`` what was asked for. There
is no database: states are read from the folders, which can be copied, merged and deleted one by one.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from lab.files import read_json, write_json
from lab.runs import claims
from lab.runs.folder import RunFolder, completed_steps
from lab.runs.job import SCHEMA, Job
from sweeps.plan import pricing
from sweeps.plan.cells import Cell, Plan, Trunk


@dataclass(frozen=True)
class Node:
    """A cell or a trunk of a plan, as the unit that one worker claims."""

    of: Cell | Trunk
    job: Job

    @property
    def run_id(self) -> str:
        return self.of.run_id

    @property
    def is_trunk(self) -> bool:
        return isinstance(self.of, Trunk)


class Store:
    def __init__(self, root: Path):
        self.root = Path(root)

    def names(self) -> set[str]:
        """Names of the run folders."""
        try:
            with os.scandir(self.root / "runs") as entries:
                return {entry.name for entry in entries}
        except FileNotFoundError:
            return set()

    def run(self, run_id: str) -> RunFolder:
        return RunFolder(self.root / "runs" / run_id)

    def node(self, of: Cell | Trunk) -> Node:
        trunk = self.run(of.trunk) if isinstance(of, Cell) and of.trunk else None
        marks = of.branch_steps if isinstance(of, Trunk) else ()
        return Node(of, Job(of.config, of.run_id, self.run(of.run_id), trunk, marks))

    def write_study(self, plan: Plan, text: str) -> None:
        """Keep the study file and its cells, which say what belongs to the study and what is held out."""
        folder = self.root / "studies"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{plan.study.name}.json"
        seconds, tokens = pricing.Prices(plan).shares, pricing.trained_tokens(plan)
        seconds |= _predictions(path)  # what was said before a run is what it is held to
        cells = [
            {
                "run_id": cell.run_id,
                "grid": cell.grid,
                "held_out": cell.held_out,
                "trunk": cell.trunk,
                "seed": cell.config.seed,
                "source": cell.config.data.source,
                "width": cell.config.model.width,
                "layers": cell.config.model.layers,
                "params_total": cell.params.total,
                "params_embedding": cell.params.embedding,
                "tokens": cell.config.steps * cell.config.batch_tokens,
                "flops_6nd": cell.flops["flops_6nd"],
                "flops_exact": cell.flops["flops_exact"],
                "predicted_seconds": seconds[cell.run_id],
                "trained_tokens": tokens[cell.run_id],
            }
            for cell in plan.cells
        ]
        (folder / f"{plan.study.name}.toml").write_text(text)
        write_json(path, {"schema": SCHEMA, "study": plan.study.name, "cells": cells})

    def is_done(self, node: Node) -> bool:
        """A cell with a result; a trunk whose branch points are all there, or no longer needed."""
        folder = node.job.folder
        if not node.is_trunk:
            return (folder.path / "result.json").exists()
        return (folder.path / "diverged.json").exists() or set(node.job.branch_steps) <= set(
            completed_steps(folder.checkpoints)
        )

    def failure(self, run_id: str) -> dict | None:
        """What was given up on, with its error."""
        return read_json(self.run(run_id).path / "failure.json")

    def trunk_diverged(self, node: Node) -> dict | None:
        """The record of a trunk that diverged before this branch leaves it."""
        if node.job.trunk is None:
            return None
        found = read_json(node.job.trunk.path / "diverged.json")
        return found if found and found["step"] <= node.of.config.hold_steps else None

    def is_ready(self, node: Node) -> bool:
        """A branch needs its trunk's checkpoint; everything else can start at once."""
        if node.job.trunk is None or self.trunk_diverged(node):
            return True
        own = completed_steps(node.job.folder.checkpoints)
        return bool(own) or node.of.config.hold_steps in completed_steps(node.job.trunk.checkpoints)

    def claim_path(self, run_id: str) -> Path:
        return self.run(run_id).path / "claim"

    def claim(self, node: Node, owner: claims.Owner) -> claims.Claim | None:
        return claims.take(self.claim_path(node.run_id), owner)

    def is_claimed(self, node: Node) -> bool:
        held = claims.read(self.claim_path(node.run_id))
        return held is not None and not held.is_stale()

    def forget_the_dead(self, node: Node) -> None:
        """Drop the claim of a worker that died before this command: its attempts are not held against it."""
        claims.forget_the_dead(self.claim_path(node.run_id))

    def fail(self, run_id: str, attempts: int, error: str, traceback: str) -> None:
        failure = {"schema": SCHEMA, "attempts": attempts, "error": error, "traceback": traceback}
        write_json(self.run(run_id).path / "failure.json", failure)

    def forgive(self, run_id: str) -> None:
        """Forget a failure, so that the cell is tried again."""
        (self.run(run_id).path / "failure.json").unlink(missing_ok=True)


def _predictions(path: Path) -> dict[str, float]:
    """Predicted device-seconds by run id, as an earlier plan of the study said them."""
    try:
        cells = (read_json(path) or {})["cells"]
        return {c["run_id"]: c["predicted_seconds"] for c in cells if c.get("predicted_seconds")}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def check_writable(root: Path) -> None:
    """Fail before training, not after: the folder must take files.

    Raises:
        OSError: with the system's reason.
    """
    root.mkdir(parents=True, exist_ok=True)
    probe = root / ".probe"
    probe.write_text("")
    probe.unlink()
