"""What is damaged in the run folders of a store, what of it can be mended, and what has to be told.

Where nobody is at work, :func:`mend` sets torn records aside, so that a run whose result is torn is trained
again and one whose failure is torn is tried again; it writes specifications anew and drops lines that are no
records. What only training could bring back (parameters, the log, answers on items) is told: the row stands.
"""

import os
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lab import files
from lab.errors import InputError
from lab.runs import file_digests
from lab.runs.folder import (
    COSTS,
    DIVERGED,
    FAILURE,
    ITEMS,
    METRICS,
    RESULT,
    SPEC,
    Reading,
    RunFolder,
    completed_steps,
)
from sweeps.plan.cells import Cell, Plan, Trunk
from sweeps.store.store import Node, Store

CHECKPOINTS, FINAL = "checkpoints", "final"
_PARQUET = b"PAR1"
REMOVE = "its row stands; to train such a run again, remove its folder and give `lab run` once more"
_SET_ASIDE = {
    RESULT: "set aside; the run is trained again",
    FAILURE: "set aside; the run is tried again",
    DIVERGED: "set aside; the trunk is trained again",
}


@dataclass(frozen=True)
class Damage:
    """One file of a run folder that is not what it should be.

    Attributes:
        can_be_mended: without training again what has its result.
        mended: what was done about it; empty where nothing was.
    """

    run_id: str
    file: str
    why: str
    can_be_mended: bool = False
    mended: str = ""

    def __str__(self) -> str:
        said = f"; {self.mended}" if self.mended else ""
        return f"{self.run_id}/{self.file}: {self.why}{said}"


def look(folder: RunFolder, reads_parameters: bool = False, result: Reading | None = None) -> list[Damage]:
    """What is damaged in a folder that nobody writes to.

    Args:
        reads_parameters: and compares them with their digests; they are looked for alone otherwise.
        result: what was just read of ``result.json``.
    """
    found: list[tuple[str, str, bool]] = []
    read = {name: folder.read(name) for name in (SPEC, FAILURE, DIVERGED)}
    read[RESULT] = result or folder.read(RESULT)
    found += [(n, one.why, one.state == "torn") for n, one in read.items() if one.state in ("torn", "unread")]
    result = read[RESULT].value
    if read[SPEC].state == "missing" and (result or completed_steps(folder.checkpoints)):
        found.append((SPEC, "is missing", True))
    for name, is_right in ((COSTS, os.path.isfile), (CHECKPOINTS, os.path.isdir), (FINAL, os.path.isdir)):
        path = folder.path / name
        if (
            os.path.lexists(path)
            and (path.is_symlink() or not is_right(path))
            and not (result and name == FINAL)
        ):
            found.append((name, f"is no {'file' if name == COSTS else 'folder'}", True))
    log = folder.log()
    if log.others:
        found.append((METRICS, f"{log.others} lines are no records", True))
    if result and result["row"].get("status", "ok") == "ok":
        early = log.why or _ends_early(log.lines, result["row"])
        found += [(METRICS, early, False)] if early else []
        parameters = _of_parameters(folder, reads_parameters)
        found += [(FINAL, parameters, False)] if parameters else []
        items = _of_items(folder, result)
        found += [(ITEMS, items, False)] if items else []
    elif log.why and log.there:
        found.append((METRICS, log.why, True))
    return [Damage(folder.path.name, *one) for one in found]


def _of_parameters(folder: RunFolder, reads: bool) -> str:
    steps = completed_steps(folder.final)
    if not steps:
        return "the trained parameters are missing"
    try:
        if reads:
            file_digests.check(folder.final / str(steps[-1]))
    except file_digests.DamagedCheckpoint as damaged:
        return str(damaged).removeprefix(f"{folder.final}/")
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _ends_early(log: list[dict], row: dict) -> str:
    if not log or not row.get("tokens") or not row.get("batch_tokens"):
        return ""
    steps, last = int(row["tokens"] // row["batch_tokens"]), max(line["step"] for line in log)
    return f"ends at step {last} of {steps}" if last < steps else ""


def _of_items(folder: RunFolder, result: dict) -> str:
    path = folder.path / ITEMS
    try:
        with files.opened(path, folder.root, limit=1 << 40) as file:
            head, size = file.read(4), file.seek(0, os.SEEK_END)
            file.seek(max(size - 4, 0))
            whole = size >= 12 and head == file.read(4) == _PARQUET
    except FileNotFoundError:
        answered = any(score["task"] != "text" for score in result.get("abilities") or ())
        return "is missing" if answered else ""
    except files.Refused as refused:
        return str(refused).removeprefix(f"{path}: ")
    return "" if whole else "is no whole Parquet file"


def check_links(store: Store, run_ids: Iterable[str]) -> None:
    """Raises InputError where a run folder of a study is a link: it may lead out of the store."""
    runs = store.root / "runs"
    try:
        with os.scandir(runs) as entries:
            links = {entry.name for entry in entries if entry.is_symlink()}
    except FileNotFoundError:
        return
    if found := sorted(links.intersection(run_ids)):
        raise InputError(*(f"{runs / name}: is a link, which is not followed; remove it" for name in found))


def mend(store: Store, plan: Plan, nodes: Sequence[Node]) -> list[Damage]:
    """Repair what can be, in folders that no living worker holds. Returns all damage that was found."""
    found = []
    for node in nodes:
        if not store.is_claimed(node.run_id):
            found += [_mend(node, plan, damage) for damage in look(node.job.folder)]
    return found


def left(store: Store, found: Iterable[Cell | Trunk], reads_parameters: bool = True) -> list[Damage]:
    """Damage in folders that nobody holds, after all was done."""
    there = store.names()
    ids = [of.run_id for of in found if of.run_id in there and not store.is_claimed(of.run_id)]
    return [damage for run_id in ids for damage in look(store.run(run_id), reads_parameters)]


def _mend(node: Node, plan: Plan, damage: Damage) -> Damage:
    folder, name = node.job.folder, damage.file
    if not damage.can_be_mended:
        return damage
    if name == METRICS and (not os.path.lexists(folder.path / name) or os.path.isfile(folder.path / name)):
        folder.mend_metrics()
        return replace(damage, mended="dropped")
    if os.path.lexists(folder.path / name):
        os.rename(folder.path / name, _free(folder.path / f"{name}.damaged"))
    if name == SPEC:
        folder.write_spec(node.job.spec(plan.dataset(node.of.config), {}))
        return replace(damage, mended="written anew, without what it was made with")
    return replace(damage, mended=_SET_ASIDE.get(name, "set aside"))


def _free(path: Path) -> Path:
    return path.with_name(f"{path.name}-{uuid.uuid4().hex[:8]}") if os.path.lexists(path) else path
