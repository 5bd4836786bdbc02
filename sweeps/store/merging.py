"""`lab merge INTO FROM ...`: stores copied together, nothing lost, nothing doubled.

Rules, by run id:

* only FROM has it: copied whole, the result last, so that a run counts as done only when all of it is there;
* one has a result: that one stands; in INTO it takes the place of whatever was unfinished or given up;
* both have results that agree: nothing to do. Results that disagree (another kind of device rounds otherwise,
  or one diverged): INTO's stands, and FROM's is kept beside it as ``other-<digest>.json`` and reported;
* neither has one: missing checkpoints are added, and the training log goes with the newest of them;
* a run that a living worker holds in INTO is left out and reported: merge again when it is done.

Copies are compared with their source by SHA-256 before they get their name. FROM is only read.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from lab.errors import InputError
from lab.files import read_json, write_json
from lab.runs import claims
from lab.runs.folder import RunFolder, completed_steps
from sweeps.arguments import Json, StudyFile
from sweeps.store.store import Store

_RESULT = "result.json"
# what belongs to the machine, not to the run; temporary files begin with a point
_LEFT = ("claim",)
# parts of a row that say where and when, not what came out
_MADE_WITH = ("pack", "device", "device_seconds", "compile_seconds", "energy_joules", "energy_source")
_CIRCUMSTANCES = frozenset((*_MADE_WITH, "git_commit", "trunk", "attempts"))


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
    for run_id in sorted(source.names()):
        folder = source.run(run_id)
        if run_id.startswith(".") or not folder.path.is_dir():
            continue
        ours = into.run(run_id)
        if (ours.path / _RESULT).exists():
            _compare(ours, folder, report)
            continue
        if not _has_anything(folder):
            continue
        claim = claims.take(into.claim_path(run_id), owner)
        if claim is None:
            report.busy.append(run_id)
            continue
        heart.hold([claim])
        try:
            if (ours.path / _RESULT).exists():  # finished between our look and our claim
                _compare(ours, folder, report)
            else:
                _take_over(ours, folder, report)
        finally:
            heart.hold([])
            claim.release()
    heart.stop()
    _studies(into, source, report)


def _has_anything(folder: RunFolder) -> bool:
    return any(not entry.name.startswith(".") and entry.name not in _LEFT for entry in folder.path.iterdir())


def _take_over(ours: RunFolder, theirs: RunFolder, report: Report) -> None:
    """What FROM has of a run that has no result in INTO."""
    run_id = ours.path.name
    is_new = not _has_anything(ours)
    result = _result(theirs)
    if (theirs.path / _RESULT).exists() and result is None:
        report.damaged.append(run_id)
        return
    if result is None and not is_new:
        before = completed_steps(ours.checkpoints)
        added = [step for step in completed_steps(theirs.checkpoints) if step not in before]
        for step in added:
            _copy(theirs.checkpoints / str(step), ours.checkpoints / str(step))
        if added and (not before or added[-1] > before[-1]) and (theirs.path / "metrics.jsonl").exists():
            _copy(theirs.path / "metrics.jsonl", ours.path / "metrics.jsonl")
        if (theirs.path / "diverged.json").exists() and not (ours.path / "diverged.json").exists():
            _copy(theirs.path / "diverged.json", ours.path / "diverged.json")
        (report.extended if added else report.same).append(run_id)
        return
    for entry in sorted(theirs.path.iterdir()):
        if entry.name in (*_LEFT, _RESULT) or entry.name.startswith("."):
            continue
        if entry.name == "checkpoints":
            for step in completed_steps(entry):
                if not (ours.checkpoints / str(step)).exists():
                    _copy(entry / str(step), ours.checkpoints / str(step))
        elif is_new or entry.name != "failure.json":
            _copy(entry, ours.path / entry.name)
    if result is None:
        report.copied.append(run_id)
        return
    (ours.path / "failure.json").unlink(missing_ok=True)
    _copy(theirs.path / _RESULT, ours.path / _RESULT)
    (report.copied if is_new else report.finished).append(run_id)


def _compare(ours: RunFolder, theirs: RunFolder, report: Report) -> None:
    """Both may have a result: equal, or kept side by side."""
    run_id = ours.path.name
    if not (theirs.path / _RESULT).exists():
        report.same.append(run_id)
        return
    mine, other = _result(ours), _result(theirs)
    if other is None:
        report.damaged.append(run_id)
    elif mine is None:  # ours cannot be read; theirs can
        _copy(theirs.path / _RESULT, ours.path / _RESULT)
        report.finished.append(run_id)
    elif _outcome(mine) == _outcome(other):
        report.same.append(run_id)
    else:
        digest = hashlib.sha256((theirs.path / _RESULT).read_bytes()).hexdigest()[:8]
        kept = ours.path / f"other-{digest}.json"
        if not kept.exists():
            _copy(theirs.path / _RESULT, kept)
        losses = [r["row"].get("loss_nats") for r in (mine, other)]
        report.conflicts.append(
            {"run_id": run_id, "loss_nats": losses[0], "other_loss_nats": losses[1], "kept": str(kept)}
        )


def _result(folder: RunFolder) -> dict | None:
    try:
        found = read_json(folder.path / _RESULT)
    except ValueError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("row"), dict) else None


def _outcome(result: dict) -> tuple:
    row = {key: value for key, value in result["row"].items() if key not in _CIRCUMSTANCES}
    return json.dumps(row, sort_keys=True), json.dumps(result.get("abilities"), sort_keys=True)


def _copy(source: Path, to: Path) -> None:
    """A file or folder, under its name only when it is all there and equal to its source."""
    to.parent.mkdir(parents=True, exist_ok=True)
    temporary = to.with_name(f".{to.name}.merge-{os.getpid()}")
    _remove(temporary)
    try:
        if source.is_dir():
            shutil.copytree(source, temporary)
        else:
            shutil.copy2(source, temporary)
        if _tree(temporary) != _tree(source):
            raise CopyError(f"{source}: the copy differs from it; does somebody write there?")
        for path in [temporary, *temporary.rglob("*")] if temporary.is_dir() else [temporary]:
            _sync(path)
        if to.is_dir():
            aside = to.with_name(f".{to.name}.aside-{os.getpid()}")
            os.rename(to, aside)
            os.rename(temporary, to)
            _remove(aside)
        else:
            os.replace(temporary, to)
        _sync(to.parent)
    finally:
        _remove(temporary)


def _tree(path: Path) -> dict[str, str]:
    """Relative name -> SHA-256 of every file."""
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    return {str(p.relative_to(path)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def _studies(into: Store, source: Store, report: Report) -> None:
    """Studies as they are; one of a name that is there, with other cells, under a longer name."""
    for path in sorted((source.root / "studies").glob("*.json")):
        theirs = read_json(path)
        to = into.root / "studies" / path.name
        if to.exists():
            if _cells(read_json(to)) == _cells(theirs):
                continue
            digest = hashlib.sha256(json.dumps(_cells(theirs), sort_keys=True).encode()).hexdigest()[:6]
            to = to.with_name(f"{path.stem}-{digest}.json")
            if to.exists():
                continue
        to.parent.mkdir(parents=True, exist_ok=True)
        if to.stem == path.stem:
            _copy(path, to)
        else:
            write_json(to, {**theirs, "study": to.stem})
        if path.with_suffix(".toml").exists():
            _copy(path.with_suffix(".toml"), to.with_suffix(".toml"))
        report.studies.append(to.stem)


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
        "busy": "runs left out: a worker holds them here; merge again later",
        "damaged": "results left out: they cannot be read",
    }
    lines = [f"{counts[name]} {text}" for name, text in said.items() if counts[name]]
    for row in report.conflicts[:20]:
        lines.append(
            f"  {row['run_id']}: loss {row['loss_nats']}, other {row['other_loss_nats']} in {row['kept']}"
        )
    lines += [f"  {run_id}: busy" for run_id in report.busy[:20]]
    lines += [f"  {run_id}: result.json cannot be read" for run_id in report.damaged[:20]]
    return "\n".join([*(lines or ["nothing to merge"]), f"in {into}"])
