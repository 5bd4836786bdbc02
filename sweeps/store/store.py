"""A folder of run folders: where studies are kept, what state their cells are in.

``runs/<run_id>/`` one folder a run or trunk, ``studies/<name>.toml`` and ``.json`` what was asked for. There
is no database: states are read from the folders, which can be copied, merged and deleted one by one.
"""

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lab import file_system, files
from lab.errors import InputError
from lab.runs import claims, contents
from lab.runs.folder import FAILURE, RESULT, Reading, RunFolder
from lab.runs.job import SCHEMA, Job
from sweeps.plan import pricing
from sweeps.plan.cells import Cell, Plan, Trunk
from sweeps.store import disk

State = Literal["done", "diverged", "unreadable", "failed", "running", "waiting"]


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
    """The folder of a store: its run folders, the studies that list them, and who works on which.

    Reads what is there at each call; nothing is kept in memory but its path.
    """

    def __init__(self, root: Path):
        self.root = Path(root)

    def names(self) -> set[str]:
        """Names of the run folders; none where runs/ is a link, for it may lead anywhere."""
        if (self.root / "runs").is_symlink():
            return set()
        try:
            with os.scandir(self.root / "runs") as entries:
                found = {entry.name for entry in entries if entry.is_dir(follow_symlinks=False)}
                return {name for name in found if contents.is_name(name)}
        except FileNotFoundError:
            return set()

    def run(self, run_id: str) -> RunFolder:
        """The folder of a run. Raises InputError for an id that is no plain name: it could be any path."""
        if not contents.is_name(run_id):
            raise InputError(f"{self.root}: {str(run_id)[:40]!r} is no run id")
        return RunFolder(self.root / "runs" / run_id, self.root)

    def study_files(self) -> list[Path]:
        """The lists of cells, one a study."""
        folder = self.root / "studies"
        return [] if folder.is_symlink() else sorted(folder.glob("*.json"))

    def study(self, path: Path) -> dict:
        """A study's list of cells. Raises Refused where it is torn."""
        try:
            found = files.read_json(path, self.root)
            fault = contents.fault_of_study(found)
        except files.Refused as refused:
            fault = str(refused).removeprefix(f"{path}: ")
        if fault:
            raise files.Refused(f"{path}: is damaged ({fault}); `lab run` writes it anew")
        return found

    def node(self, of: Cell | Trunk) -> Node:
        trunk = self.run(of.trunk) if isinstance(of, Cell) and of.trunk else None
        marks = of.branch_steps if isinstance(of, Trunk) else ()
        return Node(of, Job(of.config, of.run_id, self.run(of.run_id), trunk, marks))

    def write_study(self, plan: Plan, text: str) -> None:
        """Keep the study file and its cells, which say what belongs to the study and what is held out."""
        folder = self.root / "studies"
        path = folder / f"{plan.study.name}.json"
        seconds, tokens = pricing.Prices(plan).shares, pricing.trained_tokens(plan)
        seconds |= self._predictions(path)  # what was said before a run is what it is held to
        cells = [
            {
                "run_id": cell.run_id,
                "grid": cell.grid,
                "held_out": cell.held_out,
                "trunk": cell.trunk,
                "seed": cell.config.seed,
                "source": cell.config.data.label,
                "width": cell.config.model.width,
                "layers": cell.config.model.layers,
                "heads": cell.config.model.heads,
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
        files.write_text(folder / f"{plan.study.name}.toml", text, self.root)
        files.write_json(path, {"schema": SCHEMA, "study": plan.study.name, "cells": cells}, self.root)

    def _predictions(self, path: Path) -> dict[str, float]:
        """Predicted device-seconds by run id, as an earlier plan of the study said them."""
        try:
            cells = self.study(path)["cells"]
        except files.Refused:
            return {}
        return {c["run_id"]: c["predicted_seconds"] for c in cells if c.get("predicted_seconds")}

    def state(self, run_id: str, trunk: str | None, there: Collection[str]) -> State:
        """State of a cell; one whose trunk was given up failed. ``there``: what :meth:`names` said."""
        return self.state_and_result(run_id, trunk, there)[0]

    def state_and_result(
        self, run_id: str, trunk: str | None, there: Collection[str]
    ) -> tuple[State, Reading]:
        """:meth:`state`, and what was read of ``result.json`` for it."""
        read = self.run(run_id).read(RESULT) if run_id in there else Reading("missing")
        if read.state == "whole":
            return ("diverged" if read.value["row"].get("status") == "diverged" else "done"), read
        if read.state == "unread":
            return "unreadable", read
        if any(name and name in there and self.failure(name) for name in (run_id, trunk)):
            return "failed", read
        return ("running" if run_id in there and self.is_claimed(run_id) else "waiting"), read

    def is_done(self, node: Node) -> bool:
        """A cell with a whole result; a trunk that diverged, or whose branch points are all there."""
        folder = node.job.folder
        if not node.is_trunk:
            return folder.read(RESULT).state == "whole"
        there = set(folder.steps())
        return set(node.job.branch_steps) <= there or folder.diverged() is not None

    def failure(self, run_id: str) -> dict | None:
        """What was given up on, with its error."""
        return self.run(run_id).failure()

    def trunk_diverged(self, node: Node) -> dict | None:
        """The record of a trunk that diverged before this branch leaves it."""
        if node.job.trunk is None:
            return None
        found = node.job.trunk.diverged()
        return found if found and found["step"] <= node.of.config.hold_steps else None

    def is_ready(self, node: Node) -> bool:
        """A branch needs its trunk's checkpoint; everything else can start at once."""
        if node.job.trunk is None or self.trunk_diverged(node):
            return True
        return bool(node.job.folder.steps()) or node.of.config.hold_steps in node.job.trunk.steps()

    def claim_path(self, run_id: str) -> Path:
        return self.run(run_id).path / "claim"

    def claim(
        self,
        run_id: str,
        owner: claims.Owner,
        progress: int = 0,
        is_stale: Callable[[claims.Claim], bool] = claims.Claim.is_stale,
    ) -> claims.Claim | None:
        """As :func:`lab.runs.claims.take`."""
        return claims.take(self.claim_path(run_id), owner, progress, is_stale, self.root)

    def held(self, run_id: str) -> claims.Claim | None:
        """The claim that is there, dead or alive."""
        return claims.read(self.claim_path(run_id))

    def is_claimed(self, run_id: str) -> bool:
        held = self.held(run_id)
        return held is not None and not held.is_stale()

    def forget_the_dead(self, node: Node) -> None:
        """Drop the claim of a worker that died before this command: its attempts are not held against it."""
        claims.forget_the_dead(self.claim_path(node.run_id))

    def fail(self, run: str | RunFolder, attempts: int, error: str, traceback: str) -> None:
        """Give a run up; of its id, or of its folder as its owner has it."""
        failure = {"schema": SCHEMA, "attempts": attempts, "error": error, "traceback": traceback}
        folder = self.run(run) if isinstance(run, str) else run
        folder.write(FAILURE, failure)

    def forgive(self, run_id: str) -> None:
        """Forget a failure, so that the cell is tried again."""
        self.run(run_id).discard(FAILURE)

    def look_again(self) -> None:
        """Others have written: what a store at a URL remembers of its listing is old."""

    def check(self) -> list[str]:
        """:func:`check_writable` of this store."""
        return check_writable(self.root)

    def identity(self) -> str:
        """The name that the store was given when it was made."""
        return disk.identity(self.root)

    def is_seen(self, name: str) -> bool:
        """Whether this machine sees the store of that name."""
        return disk.is_seen(self.root, name)


def check_writable(root: Path) -> list[str]:
    """Fail before training, not after: the folder must take files, on a file system that can keep a store.

    Returns:
        notes on what is gone without, a line each.

    Raises:
        InputError: where the file system lacks what a store cannot go without.
        OSError: with the system's reason.
        Refused: where runs/ or studies/ is a link.
    """
    root.mkdir(parents=True, exist_ok=True)
    for name in ("runs", "studies"):
        files.make_folder(root / name, root)
    disk.probe(root)
    return file_system.check(root)
