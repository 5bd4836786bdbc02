"""`lab merge INTO FROM ...`: stores copied together, nothing lost, nothing doubled.

Rules, by run id:

* only FROM has it: copied whole, the result last, so that a run counts as done only when all of it is there;
* one has a result: that one stands; in INTO it takes the place of whatever was unfinished or given up;
* both have results that agree: nothing to do. Results that disagree (another kind of device rounds otherwise,
  or one diverged): INTO's stands, and FROM's is kept beside it as ``other-<digest>.json`` and reported;
* neither has one: missing checkpoints are added, and the training log goes with the newest of them;
* a run that a living worker holds in INTO is left out and reported: merge again when it is done.

Copies are compared with their source by SHA-256 before they get their name. FROM is only read, and may be of
anybody's making: copied are regular files of the names that a store has, with the modes of new files.
"""

import hashlib
import json
import os
import re
import shutil
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from lab import files
from lab.errors import InputError
from lab.runs import claims
from lab.runs.contents import is_name, kind_of
from lab.runs.folder import COSTS, DIVERGED, FAILURE, ITEMS, METRICS, RESULT, SPEC, RunFolder, completed_steps
from sweeps.arguments import Json, StudyFile
from sweeps.store.damage import check_links
from sweeps.store.store import Store

_FILES = (SPEC, METRICS, COSTS, RESULT, FAILURE, DIVERGED, ITEMS)
_OTHER = re.compile(r"other-[0-9a-f]{8}\.json")
_FOLDERS = ("checkpoints", "final")
# what belongs to the machine, not to the run; temporary files begin with a point
_LEFT = re.compile(r"claim|\..*|.*\.damaged(-[0-9a-f]{8})?")
_DEPTH = 8  # of folders in a checkpoint
_PIECE = 1 << 20


@dataclass
class Report:
    """What a merge did, by run id."""

    copied: list[str] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)  # were unfinished in INTO, have a result now
    extended: list[str] = field(default_factory=list)  # got checkpoints
    same: list[str] = field(default_factory=list)
    conflicts: list[dict] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)  # results in FROM that cannot be read: left out
    strange: list[str] = field(default_factory=list)  # what is no file of a store: left out
    studies: list[str] = field(default_factory=list)

    def to_dict(self) -> dict:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


class CopyError(OSError):
    """A copy that is not what was copied."""


def merge(argv: list[str]) -> int:
    def command(
        into: StudyFile, sources: tyro.conf.Positional[tuple[Path, ...]], as_json: Json = False
    ) -> int:
        """Copy the runs and studies of other stores into one.

        Args:
            into: the store that takes them; made where it is not there.
            sources: stores to copy from; they are only read.
            as_json: print one JSON object.
        """
        _check(into, sources)
        report = Report()
        for source in sources:
            into_one(Store(into), Store(source), report)
        print(json.dumps(report.to_dict()) if as_json else as_text(report, into))
        return 1 if report.busy or report.damaged else 0

    return tyro.cli(command, args=argv, prog="lab merge")


def _check(into: Path, sources: tuple[Path, ...]) -> None:
    problems = [] if sources else ["sources: name one store or more to copy from"]
    for source in sources:
        if not (source / "runs").is_dir() and not (source / "studies").is_dir():
            problems.append(f"{source}: not a store folder: it has neither runs/ nor studies/")
        elif into.exists() and source.resolve() == into.resolve():
            problems.append(f"{source}: is the store to merge into; name another one")
    if into.is_dir() and any(into.iterdir()) and not (into / "runs").is_dir() | (into / "studies").is_dir():
        problems.append(f"{into}: holds other files and is no store; choose another folder")
    if problems:
        raise InputError(*problems)


def into_one(into: Store, source: Store, report: Report) -> None:
    """Merge one store into another, run by run, and then its studies."""
    (into.root / "runs").mkdir(parents=True, exist_ok=True)
    owner, heart = claims.Owner.me(), claims.Heartbeat()
    names = source.names()
    check_links(into, names)
    report.strange += sorted(str(path) for path in _listed(source.root / "runs") if path.name not in names)
    for run_id in sorted(names):
        folder, ours = source.run(run_id), into.run(run_id)
        if _has_result(ours):
            _compare(ours, folder, report)
            continue
        if not _has_anything(folder):
            continue
        claim = claims.take(into.claim_path(run_id), owner, root=into.root)
        if claim is None:
            report.busy.append(run_id)
            continue
        heart.hold([claim])
        try:
            if _has_result(ours):  # finished between our look and our claim
                _compare(ours, folder, report)
            else:
                _take_over(ours, folder, report)
        finally:
            heart.hold([])
            claim.release()
    heart.stop()
    _studies(into, source, report)
    _forecasts(into, source, report)


def _forecasts(into: Store, source: Store, report: Report) -> None:
    """Registered forecasts, which never change; one of a name that is there under a longer name."""
    folder = source.root / "forecasts"
    for path in [] if folder.is_symlink() else sorted(folder.glob("*.json")):
        if not is_name(path.stem):
            report.strange.append(str(path))
            continue
        try:
            theirs = files.read_bytes(path, source.root)
            digest = hashlib.sha256(theirs).hexdigest()[:6]
            for name in (path.name, f"{path.stem}-{digest}.json"):
                to = into.root / "forecasts" / name
                try:
                    files.create(to, theirs, into.root)
                    break
                except FileExistsError:
                    if files.read_bytes(to, into.root) == theirs:
                        break
        except files.Refused:
            report.strange.append(str(path))


def _has_anything(folder: RunFolder) -> bool:
    return any(_is_known(path.name) for path in _listed(folder.path))


def _is_known(name: str) -> bool:
    return name in (*_FILES, *_FOLDERS) or _OTHER.fullmatch(name) is not None


def _has_result(folder: RunFolder) -> bool:
    return os.path.lexists(folder.path / RESULT)


def _listed(folder: Path) -> list[Path]:
    """What lies in a folder, but for what belongs to the machine; nothing where it is a link."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not _LEFT.fullmatch(path.name))


def _take_over(ours: RunFolder, theirs: RunFolder, report: Report) -> None:
    """What FROM has of a run that has no result in INTO."""
    run_id = ours.path.name
    is_new = not _has_anything(ours)
    result = theirs.result()
    if result is None and _has_result(theirs):
        report.damaged.append(run_id)
        return
    if result is None and not is_new:
        before = completed_steps(ours.checkpoints)
        added = [step for step in completed_steps(theirs.checkpoints) if step not in before]
        for step in added:
            _copy_folder(theirs, ours, f"checkpoints/{step}", report)
        if added and (not before or added[-1] > before[-1]):
            _copy(theirs, ours, METRICS, report)
        if added:
            _join_costs(ours, theirs)
        if ours.diverged() is None:
            _copy(theirs, ours, DIVERGED, report)
        (report.extended if added else report.same).append(run_id)
        return
    for path in _listed(theirs.path):
        name = path.name
        if name in _FOLDERS:
            for step in completed_steps(path):
                if not (ours.path / name / str(step)).exists():
                    _copy_folder(theirs, ours, f"{name}/{step}", report)
        elif not _is_known(name):
            report.strange.append(str(path))
        elif name == COSTS:
            _join_costs(ours, theirs)
        elif name != RESULT and (is_new or name != FAILURE):
            _copy(theirs, ours, name, report)
    if result is None:
        report.copied.append(run_id)
        return
    (ours.path / FAILURE).unlink(missing_ok=True)
    _copy(theirs, ours, RESULT, report)
    (report.copied if is_new else report.finished).append(run_id)


def _join_costs(ours: RunFolder, theirs: RunFolder) -> None:
    """Attempts on either side were paid for."""
    known = {line.get("attempt") for line in ours.costs()}
    for line in theirs.costs():
        if line.get("attempt") not in known:
            ours.append_costs(line)


def _compare(ours: RunFolder, theirs: RunFolder, report: Report) -> None:
    """Both may have a result: equal, or kept side by side."""
    run_id = ours.path.name
    if not _has_result(theirs):
        report.same.append(run_id)
        return
    read = ours.read(RESULT)
    mine, other = read.value, theirs.result()
    if read.state == "unread":  # it may be whole: nothing takes its place
        report.busy.append(run_id)
    elif other is None:
        report.damaged.append(run_id)
    elif mine is None:  # ours is torn; theirs is whole
        _copy(theirs, ours, RESULT, report)
        report.finished.append(run_id)
    elif _agree(mine, other):
        report.same.append(run_id)
    else:
        digest = hashlib.sha256(files.read_bytes(theirs.path / RESULT, theirs.root)).hexdigest()[:8]
        kept = ours.path / f"other-{digest}.json"
        if not kept.exists():
            _copy(theirs, ours, RESULT, report, kept.name)
        losses = [r["row"].get("loss_nats") for r in (mine, other)]
        report.conflicts.append(
            {"run_id": run_id, "loss_nats": losses[0], "other_loss_nats": losses[1], "kept": str(kept)}
        )


def _agree(mine: dict, other: dict) -> bool:
    """Whether two results of one run are the same.

    A column that one of them lacks was not yet written by the version that trained it; the configuration is
    the same in both, since the id is.
    """
    ours, theirs = mine["row"], other["row"]
    shared = [key for key in ours.keys() & theirs.keys() if kind_of(key) != "circumstance"]
    same = all(ours[key] == theirs[key] for key in shared)
    return same and mine.get("abilities") == other.get("abilities")


def _copy(theirs: RunFolder, ours: RunFolder, name: str, report: Report, to: str | None = None) -> None:
    """A regular file, under its name only when it is all there and equal to its source."""
    try:
        _copy_file(theirs.path / name, theirs.root, ours.path / (to or name), ours.root)
    except FileNotFoundError:
        return
    except files.Refused:
        report.strange.append(str(theirs.path / name))


def _copy_folder(theirs: RunFolder, ours: RunFolder, name: str, report: Report) -> None:
    """A checkpoint, under its name only when all of it is there."""
    to = ours.path / name
    temporary = to.with_name(f".{uuid.uuid4().hex}.tmp")
    files.make_folder(temporary, ours.root)
    try:
        for path in _regular(theirs.path / name, report):
            at = path.relative_to(theirs.path / name)
            _copy_file(path, theirs.root, temporary / at, ours.root)
        os.rename(temporary, to)
        files.sync_folder(to.parent, ours.root)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _regular(folder: Path, report: Report, depth: int = _DEPTH) -> list[Path]:
    """The regular files below a folder; what else is there is strange."""
    found = []
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_file(follow_symlinks=False):
                found.append(Path(entry.path))
            elif entry.is_dir(follow_symlinks=False) and depth:
                found += _regular(Path(entry.path), report, depth - 1)
            else:
                report.strange.append(entry.path)
    return found


def _copy_file(source: Path, source_root: Path, to: Path, root: Path) -> None:
    with files.writing(to, root) as copy:
        read = _stream(source, source_root, copy)
        copy.seek(0)
        written = hashlib.sha256()
        while piece := copy.read(_PIECE):
            written.update(piece)
        if not read == written.hexdigest() == _stream(source, source_root, None):
            raise CopyError(f"{source}: the copy differs from it; does somebody write there?")


def _stream(source: Path, root: Path, to) -> str:
    """SHA-256 of a file, which is copied on the way where ``to`` is given."""
    sha = hashlib.sha256()
    with files.opened(source, root, limit=1 << 50) as file:
        while piece := file.read(_PIECE):
            sha.update(piece)
            if to is not None:
                to.write(piece)
    return sha.hexdigest()


def _studies(into: Store, source: Store, report: Report) -> None:
    """Studies as they are; one of a name that is there, with other cells, under a longer name."""
    for path in source.study_files():
        try:
            theirs = source.study(path)
        except files.Refused:
            report.strange.append(str(path))
            continue
        if not is_name(path.name):
            report.strange.append(str(path))
            continue
        to = into.root / "studies" / path.name
        if (mine := _study(into, to)) is not None:
            if _cells(mine) == _cells(theirs):
                continue
            digest = hashlib.sha256(json.dumps(_cells(theirs), sort_keys=True).encode()).hexdigest()[:6]
            to = to.with_name(f"{path.stem}-{digest}.json")
            if _study(into, to) is not None:
                continue
        said = theirs if to.stem == path.stem else {**theirs, "study": to.stem}
        files.write_json(to, said, into.root)
        text = path.with_suffix(".toml")
        try:
            _copy_file(text, source.root, to.with_suffix(".toml"), into.root)
        except FileNotFoundError:
            pass
        except files.Refused:
            report.strange.append(str(text))
        report.studies.append(to.stem)


def _study(store: Store, path: Path) -> dict | None:
    try:
        return store.study(path) if path.exists() else None
    except files.Refused:  # torn: nothing is lost by what takes its place
        return None


def _cells(study: dict) -> list:
    """The cells without what was predicted for one machine."""
    return [{k: v for k, v in cell.items() if k != "predicted_seconds"} for cell in study["cells"]]


def as_text(report: Report, into: Path) -> str:
    counts = Counter({name: len(found) for name, found in report.to_dict().items()})
    said = {
        "copied": "runs copied",
        "finished": "runs finished by the other store's result",
        "extended": "unfinished runs given newer checkpoints",
        "same": "runs were the same",
        "studies": "studies added",
        "conflicts": "runs with another result: this store's stands, the other is kept beside it",
        "busy": "runs left out: a worker holds them here, or they cannot be read now; merge again later",
        "damaged": "results left out: they cannot be read",
        "strange": "left out: links, devices, and names that a store does not have",
    }
    lines = [f"{counts[name]} {text}" for name, text in said.items() if counts[name]]
    for row in report.conflicts[:20]:
        lines.append(
            f"  {row['run_id']}: loss {row['loss_nats']}, other {row['other_loss_nats']} in {row['kept']}"
        )
    lines += [f"  {run_id}: busy" for run_id in report.busy[:20]]
    lines += [f"  {run_id}: result.json cannot be read" for run_id in report.damaged[:20]]
    lines += [f"  {path}: left out" for path in report.strange[:20]]
    return "\n".join([*(lines or ["nothing to merge"]), f"in {into}"])
