"""The folder of one run: written by one process, readable by any tool.

Who owns the run takes it over first (:meth:`RunFolder.withdraw`), and from then on each write comes before
the next take-over, or fails (:mod:`lab.runs.fence`). Without that the folder is written as any other.

``spec.json`` once; ``metrics.jsonl`` and ``costs.jsonl`` appended and flushed; ``checkpoints/`` while
training; ``final/`` the trained parameters; ``result.json`` by staged file, fsync and exclusive link: the
commit point. Whatever was committed survives a kill at any moment; a torn last line of the metrics is dropped
at the next start.

All is read through :meth:`RunFolder.read`: a file is whole, torn or missing, and a torn one counts as missing
wherever a value is asked for. So a run whose result was damaged is one that has yet to be trained.
"""

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lab import file_system, files
from lab.runs import contents
from lab.runs.fence import Fence, Lost, take_over

RESULT, SPEC, FAILURE, DIVERGED = "result.json", "spec.json", "failure.json", "diverged.json"
METRICS, COSTS, ITEMS = "metrics.jsonl", "costs.jsonl", "items.parquet"
_FAULTS = {
    RESULT: contents.fault_of_result,
    SPEC: contents.fault_of_spec,
    FAILURE: contents.fault_of_failure,
    DIVERGED: contents.fault_of_diverged,
}
_LOG_BYTES = 1 << 30  # of a metrics.jsonl: a million records take a quarter of it


@dataclass(frozen=True)
class Reading:
    """What a look at a file found.

    Attributes:
        state: ``whole``; ``torn``: it is there, and not what it should be; ``missing``; ``unread``: the
            system refused it (permissions, a failing disk), which is no damage, and may be otherwise again.
        value: of a whole file.
        why: what is wrong with any other, in a few words.
    """

    state: Literal["whole", "torn", "missing", "unread"]
    value: Any = None
    why: str = ""


@dataclass(frozen=True)
class Log:
    """The whole lines of a ``metrics.jsonl``, how many others there are, and why there is no line."""

    lines: list[dict]
    others: int = 0
    why: str = ""
    there: bool = True


def completed_steps(checkpoints: Path) -> list[int]:
    """Steps of the completed checkpoints in a folder, rising; interrupted saves have other names."""
    if checkpoints.is_symlink():
        return []
    try:
        with os.scandir(checkpoints) as entries:
            found = [e.name for e in entries if e.is_dir(follow_symlinks=False)]
            return sorted(int(name) for name in found if name.isdigit() and name.isascii())
    except (FileNotFoundError, NotADirectoryError):
        return []


def delete_step(checkpoints: Path, step: int, fence: Fence | None = None) -> None:
    """At once: a kill in the middle leaves no half of a checkpoint under its name."""
    if fence is not None:
        fence.remove(checkpoints / str(step))
        return
    going = checkpoints / f".{step}.deleted"
    shutil.rmtree(going, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        (checkpoints / str(step)).rename(going)
    shutil.rmtree(going, ignore_errors=True)


class RunFolder:
    """The folder of a run.

    Args:
        root: the store that it lies in, below which no link is followed, and where its name is the run's id.
            None: a folder that the user named for this run alone.
    """

    writes = True  # False for the processes of a run that only read it (lab/machine/distributed.py)

    def __init__(self, path: Path, root: Path | None = None):
        self.path, self.root = Path(path), Path(path if root is None else root)
        self._run_id = None if root is None else self.path.name
        self.fence: Fence | None = None  # of who took the run over
        self._logs: dict[str, int] = {}  # open for its owner

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def final(self) -> Path:
        return self.path / "final"

    def is_there(self) -> bool:
        """Whether anything was written of the run."""
        return self.path.exists()

    def steps(self) -> list[int]:
        """Steps of the completed checkpoints, rising."""
        return completed_steps(self.checkpoints)

    def drop(self, step: int) -> None:
        """Delete a checkpoint."""
        delete_step(self.checkpoints, step, self.fence)

    # What a folder that is a copy of another place does beside (lab/runs/remote.py):

    @property
    def takes_parts(self) -> bool:
        """Whether all processes of a run may write a checkpoint together, each its own parts."""
        return True

    def fetch(self, step: int | None = None) -> None:
        """Before work on the run: bring it here, or what a branch at ``step`` needs of it."""

    def push(self, check: Callable[[], None] = lambda: None) -> None:
        """After each save: put what is new. ``check``: as of :meth:`commit`."""

    def forget(self, step: int) -> None:
        """A checkpoint was set aside."""

    def leave(self) -> None:
        """The claim is about to be given back."""
        while self._logs:
            os.close(self._logs.popitem()[1])
        if self.fence is not None:
            self.fence.clear()
            self.fence = None

    def discard(self, name: str) -> None:
        """Remove ``failure.json``, so that the run is tried again."""
        (self.path / name).unlink(missing_ok=True)

    def read(self, name: str) -> Reading:
        """What there is of ``spec.json``, ``result.json``, ``failure.json`` or ``diverged.json``."""
        try:
            os.lstat(os.path.join(self.path, name))  # most folders lack most of them
        except FileNotFoundError:
            return Reading("missing")
        except OSError:
            pass  # to be told by what follows
        try:
            value = files.read_json(self.path / name, self.root)
        except files.Refused as refused:
            return Reading("torn", why=str(refused).removeprefix(f"{self.path / name}: "))
        except OSError as error:
            return Reading("unread", why=error.strerror or str(error))
        if value is None and not self._is_there(name):
            return Reading("missing")
        fault = _FAULTS[name](value, self._run_id)
        return Reading("torn", why=fault) if fault else Reading("whole", value)

    def _is_there(self, name: str) -> bool:  # a file may hold null
        return os.path.lexists(self.path / name)

    def write_spec(self, spec: dict) -> None:
        """Once: a whole spec that is there stays as it is. Raises OSError where it cannot be read now."""
        found = self.read(SPEC)
        if found.state == "unread":
            raise OSError(f"{self.path / SPEC}: {found.why}")
        if found.state != "whole":
            self._write_json(SPEC, spec)

    def spec(self) -> dict | None:
        return self.read(SPEC).value

    def result(self) -> dict | None:
        return self.read(RESULT).value

    def failure(self) -> dict | None:
        """What is known of a run that was given up."""
        return self.read(FAILURE).value

    def diverged(self) -> dict | None:
        """Where a trunk diverged, and why."""
        return self.read(DIVERGED).value

    def write(self, name: str, value: dict) -> None:
        """Replace ``failure.json`` or ``diverged.json``."""
        if self.writes:
            self._write_json(name, value)

    def _write_json(self, name: str, value: dict) -> None:
        with self.replacing(name) as staged:
            files.write_json(staged, value, self.root)

    @contextlib.contextmanager
    def replacing(self, name: str) -> Iterator[Path]:
        """Where to write a file that gets its name when all of it is written. Raises Lost."""
        if self.fence is None:
            yield self.path / name  # by a rename, too (lab/files.py)
            return
        staged = self.path / f".{uuid.uuid4().hex}.tmp"
        try:
            yield staged
            self.fence.put(staged, self.path / name)
        finally:
            staged.unlink(missing_ok=True)
        files.sync_folder(self.path, self.root)

    def commit(self, result: dict, check: Callable[[], None] = lambda: None) -> None:
        """Once: the first commit stands, a later one changes nothing. Only a torn result is replaced.

        Args:
            check: raises where the run belongs to another process by now. It is asked after the result was
                staged and before it is linked; who takes a run over calls :meth:`withdraw`, then looks for a
                result. So either the old owner's commit comes before that look, or it fails.

        Raises:
            Lost: where it was taken over since.
        """
        staged = self.path / f".result.{uuid.uuid4().hex}.staged"
        content = json.dumps(result, indent=1, allow_nan=False) + "\n"
        files.create(staged, content.encode(), self.root)
        try:
            check()
            try:
                file_system.put(staged, self.path / RESULT)
            except FileNotFoundError:
                raise Lost(f"{self.path}: another process took this run over") from None
            except FileExistsError:
                if self.read(RESULT).state == "torn":
                    os.replace(staged, self.path / RESULT)
        finally:
            staged.unlink(missing_ok=True)
        files.sync_folder(self.path, self.root)

    def withdraw(self, check: Callable[[], None] = lambda: None) -> None:
        """Take the run over: what others staged is gone, and they write nothing more. The caller has its
        claim, looks at the folder only afterwards, and calls :meth:`leave` at the end.

        Args:
            check: raises where the run belongs to another process by now.
        """
        self.leave()
        self.fence = take_over(self.path, (".result.*.staged",), check)
        for name in () if self._is_there(RESULT) else (METRICS, COSTS):
            with contextlib.suppress(FileNotFoundError, files.Refused):  # to be told when it is written to
                self._put_log(name, files.read_bytes(self.path / name, self.root, _LOG_BYTES))

    def metrics(self) -> list[dict]:
        """All whole lines; what a kill tore off, and what is no record, is not there."""
        return self.log().lines

    def log(self, name: str = METRICS) -> Log:
        """All of ``metrics.jsonl``, or of ``costs.jsonl``."""
        try:
            content = files.read_bytes(self.path / name, self.root, _LOG_BYTES)
        except FileNotFoundError:
            return Log([], why="is missing", there=False)
        except files.Refused as refused:
            return Log([], why=str(refused).removeprefix(f"{self.path / name}: "))
        lines, others = contents.log_lines(content)
        return Log(lines, others, "" if lines else "holds no record")

    def costs(self) -> list[dict]:
        """All whole lines of ``costs.jsonl`` (:mod:`lab.runs.spent`)."""
        return self.log(COSTS).lines

    def append_costs(self, line: dict, after: str = "") -> None:
        """For good: what was spent on steps that a kill undid was spent all the same."""
        self._append(COSTS, (after + json.dumps(line) + "\n").encode())

    def cut_metrics(self, step: int) -> None:
        """Drop lines beyond ``step``, and what is no record, before training goes on from there."""
        self._write_log([line for line in self.metrics() if line["step"] <= step])

    def mend_metrics(self) -> None:
        """Drop what is no record."""
        self._write_log(self.metrics())

    def _write_log(self, lines: Iterable[dict]) -> None:
        content = "".join(json.dumps(line) + "\n" for line in lines).encode()
        if self.fence is None:
            files.write_bytes(self.path / METRICS, content, self.root)
        else:
            self._put_log(METRICS, content)

    def append_metrics(self, lines: Iterable[dict]) -> None:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        self._append(METRICS, text.encode())

    def _append(self, name: str, content: bytes) -> None:
        if self.fence is None:
            files.append(self.path / name, content, self.root)
        elif name not in self._logs:
            there = b""
            with contextlib.suppress(FileNotFoundError):
                there = files.read_bytes(self.path / name, self.root, _LOG_BYTES)
            self._put_log(name, there + content)
        else:
            left = memoryview(content)
            while left:
                left = left[os.write(self._logs[name], left) :]

    def _put_log(self, name: str, content: bytes) -> None:
        """A log of this content in the place of what is there, open for what is appended."""
        staged = self.path / f".{uuid.uuid4().hex}.tmp"
        files.create(staged, content, self.root)
        handle = os.open(staged, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            self.fence.put(staged, self.path / name)
        except BaseException:
            os.close(handle)
            staged.unlink(missing_ok=True)
            raise
        if name in self._logs:
            os.close(self._logs[name])
        self._logs[name] = handle
