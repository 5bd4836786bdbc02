"""A run folder whose place is an object store, worked on in a folder of this machine.

Who holds a run has its files here, as any run folder: :meth:`RemoteFolder.fetch` brings them, after each
save :meth:`RemoteFolder.push` puts what is new, and the commit is the conditional put of ``result.json``,
after all that it speaks of. A checkpoint is one object, so it is whole or not there. Objects are named as
files are, ``runs/<run>/...``; ``checkpoints/<step>.tar`` and ``final/<step>.tar`` hold the folders.
"""

import contextlib
import re
import shutil
import tarfile
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from lab import files
from lab.files import Refused
from lab.machine import distributed
from lab.objects import Entry, Objects
from lab.runs import contents
from lab.runs.file_digests import DamagedCheckpoint
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

SMALL = (SPEC, METRICS, COSTS, FAILURE, DIVERGED, ITEMS)  # beside the result
_STEP = re.compile(r"(checkpoints|final)/(\d{1,15})\.tar")
_LOG_BYTES = 1 << 30
_LOOK_SECONDS, _LOOK_SHARE = 1.0, 10.0  # listings take at most a tenth of the time


class View:
    """What is in the object store, as it was listed a moment ago."""

    def __init__(self, objects: Objects):
        self.objects = objects
        self._runs: dict[str, dict[str, Entry]] = {}
        self._claims: dict[str, dict[str, Entry]] = {}
        self._next = 0.0

    def run(self, run_id: str) -> dict[str, Entry]:
        """Objects of a run, by names relative to it."""
        self.look()
        return self._runs.get(run_id, {})

    def claims(self, run_id: str) -> dict[str, Entry]:
        self.look()
        return self._claims.get(run_id, {})

    def names(self) -> set[str]:
        self.look()
        return {name for name in self._runs if contents.is_name(name)}

    def forget(self) -> None:
        """The next look lists all anew."""
        self._next = 0.0

    def look(self, run_id: str | None = None) -> None:
        """List all that is there, seldom; what belongs to ``run_id``, now."""
        if run_id is not None:
            prefix = f"runs/{run_id}/"
            self._runs[run_id] = {n.removeprefix(prefix): e for n, e in self.objects.listing(prefix).items()}
            return
        began = time.monotonic()
        if began < self._next:
            return
        found: dict[str, dict[str, dict[str, Entry]]] = {
            "runs": defaultdict(dict),
            "claims": defaultdict(dict),
        }
        for name, entry in self.objects.listing().items():
            place, _, rest = name.partition("/")
            run_id, _, file = rest.partition("/")
            if place in found and file:
                found[place][run_id][file if place == "runs" else name] = entry
        self._runs, self._claims = dict(found["runs"]), dict(found["claims"])
        now = time.monotonic()
        self._next = now + max(_LOOK_SECONDS, _LOOK_SHARE * (now - began))


class RemoteFolder(RunFolder):
    """A run folder in an object store; ``path`` is where this process works on it."""

    def __init__(self, path: Path, root: Path, view: View):
        super().__init__(path, root)
        self._view, self._objects = view, view.objects
        self._where = f"runs/{path.name}"
        self._is_here = False  # whether the files here are those of a run that this process works on
        self._read: dict[tuple[str, str], Reading] = {}
        self._put: dict[str, tuple] = {}  # name -> size and time of the file when it was put
        self._known: set[int] = set()  # checkpoints that were fetched, or put from here

    def read(self, name: str) -> Reading:
        if self._is_here:
            return super().read(name)
        entry = self._view.run(self.path.name).get(name)
        if entry is None:
            return Reading("missing")
        if (name, entry.tag) not in self._read:
            try:
                content = self._objects.get(f"{self._where}/{name}")
            except FileNotFoundError:
                return Reading("missing")
            except Refused as refused:
                return Reading("torn", why=str(refused))
            files.write_bytes(self.path / name, content, self.root)
            self._read[name, entry.tag] = super().read(name)
        return self._read[name, entry.tag]

    @property
    def takes_parts(self) -> bool:
        return distributed.count() == 1  # several may be machines without a common folder

    def is_there(self) -> bool:
        return self._is_here or bool(self._view.run(self.path.name))

    def steps(self) -> list[int]:
        if self._is_here:
            return completed_steps(self.checkpoints)
        return sorted(self._there("checkpoints"))

    def withdraw(self, check: Callable[[], None] = lambda: None) -> None:
        """Who takes a run over looks at what its last owner left, now."""
        self._is_here = False
        self._view.look(self.path.name)

    def fetch(self, step: int | None = None) -> None:
        """Bring the run here: all of it, or for a branch its records and the checkpoint of ``step``."""
        self._view.look(self.path.name)
        there = self._view.run(self.path.name)
        if step is None:
            shutil.rmtree(self.path, ignore_errors=True)
            self._put, self._known = {}, self._there("checkpoints")
        for name in SMALL:
            if name in there:
                content = self._objects.get(f"{self._where}/{name}", _LOG_BYTES)
                files.write_bytes(self.path / name, content, self.root)
        for one in self._there("checkpoints") if step is None else {step} & self._there("checkpoints"):
            if (self.checkpoints / str(one)).exists():
                continue
            try:
                name = f"checkpoints/{one}"
                unpack(self._objects, f"{self._where}/{name}.tar", self.path / name, self.root)
            except DamagedCheckpoint:  # the one before is gone back to, or the trunk trained again
                self.forget(one)
        self._is_here = step is None

    def push(self, check: Callable[[], None] = lambda: None) -> None:
        """Put what is here and not there, records first; delete checkpoints that were here and are no more.

        Args:
            check: as of :meth:`commit`; asked before each object, for the one before may have taken long.
        """
        for name in SMALL:
            self._put_file(name, check)
        self._view.look(self.path.name)
        here, there = set(completed_steps(self.checkpoints)), self._there("checkpoints")
        for step in sorted(here - there):
            self._pack(f"checkpoints/{step}", check)
        for step in sorted((there & self._known) - here):  # others are of who took the run over
            check()
            self._objects.delete(f"{self._where}/checkpoints/{step}.tar")
        self._known |= here

    def drop(self, step: int) -> None:
        super().drop(step)
        self.forget(step)

    def forget(self, step: int) -> None:
        """Delete a checkpoint that was found damaged."""
        self._objects.delete(f"{self._where}/checkpoints/{step}.tar")
        self._view.look(self.path.name)

    def write(self, name: str, value: dict) -> None:
        super().write(name, value)
        self.push()

    def commit(self, result: dict, check: Callable[[], None] = lambda: None) -> None:
        """Write the result where there is none yet; the files that it refers to are uploaded before it."""
        super().commit(result, check)
        self.push(check)
        for step in completed_steps(self.final):
            self._pack(f"final/{step}", check)
        check()
        with contextlib.suppress(FileExistsError):  # of another worker, which trained the same bits
            self._objects.create(f"{self._where}/{RESULT}", files.read_bytes(self.path / RESULT, self.root))
        self._objects.delete(f"{self._where}/{FAILURE}")

    def discard(self, name: str) -> None:
        super().discard(name)
        self._objects.delete(f"{self._where}/{name}")
        self._view.look(self.path.name)

    def leave(self) -> None:
        """The claim is given back: from here on what others put counts, and this machine's copy goes."""
        self._is_here = False
        shutil.rmtree(self.path, ignore_errors=True)
        self._view.look(self.path.name)

    def _there(self, place: str) -> set[int]:
        found = (_STEP.fullmatch(name) for name in self._view.run(self.path.name))
        return {int(m[2]) for m in found if m and m[1] == place}

    def _put_file(self, name: str, check: Callable[[], None]) -> None:
        path = self.path / name
        try:
            now = path.stat().st_size, path.stat().st_mtime_ns
        except FileNotFoundError:
            return
        if self._put.get(name) != now:
            check()
            self._objects.upload(path, f"{self._where}/{name}")
            self._put[name] = now

    def _pack(self, name: str, check: Callable[[], None]) -> None:
        packed = self.root / f".{uuid.uuid4().hex}.tar"
        try:
            with tarfile.open(packed, "w") as tar:
                tar.add(self.path / name, arcname=".", filter=_anonymous)
            check()
            self._objects.upload(packed, f"{self._where}/{name}.tar")
        finally:
            packed.unlink(missing_ok=True)


class RemoteSpectator(RemoteFolder):
    """The same run as another of its processes looks on: it reads, and puts nothing."""

    writes = False

    def commit(self, result: dict, check: Callable[[], None] = lambda: None) -> None:
        pass

    def push(self, check: Callable[[], None] = lambda: None) -> None:
        pass

    def forget(self, step: int) -> None:
        pass

    def discard(self, name: str) -> None:
        pass


def unpack(objects: Objects, name: str, to: Path, root: Path) -> None:
    """Lay the files of a packed checkpoint down as the folder ``to``, whole or not at all.

    Raises:
        DamagedCheckpoint: where the object is no archive of regular files.
    """
    files.make_folder(to.parent, root)
    packed, staged = (to.parent / f".{uuid.uuid4().hex}.{kind}" for kind in ("tar", "saving"))
    try:
        objects.download(name, packed)
        try:
            with tarfile.open(packed) as tar:
                for member in tar:
                    if not (member.isreg() or member.isdir()):
                        raise DamagedCheckpoint(f"{objects.url}/{name}: {member.name!r} is no regular file")
                    tar.extract(member, staged, filter="data")
        except tarfile.TarError as error:
            raise DamagedCheckpoint(f"{objects.url}/{name}: {error}") from error
        staged.rename(to)
    finally:
        packed.unlink(missing_ok=True)
        shutil.rmtree(staged, ignore_errors=True)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without the names and numbers of this machine's users."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
