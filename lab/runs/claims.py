"""Claims: how workers race for cells without a server.

A claim is a file made by exclusive creation, so one worker wins. Its owner touches it every few seconds; a
claim whose owner is dead, or that was silent for long, is taken over by renaming it away (again one winner).

* **Attempt** rises with each take-over, and a worker that lost its claim finds another number in
  the file, and writes nothing more (:mod:`lab.runs.fence` closes the gap between the two).
* **Deaths** counts owners that died in a row without getting further: a cell that kills its workers is given
  up, one that was on machines that failed is not.
* **Silence** is measured by the watcher's own steady clock (:class:`Watch`): no two clocks are ever compared.
"""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from lab import file_system, files
from lab.runs.fence import Lost

BEAT_SECONDS = 5.0
STALE_SECONDS = 60.0


@dataclass(frozen=True)
class Owner:
    host: str
    boot: str  # a pid means something only until the next boot,
    space: str  # and only in its pid namespace: containers of one host share the name and the boot
    pid: int
    started: str  # start time of the process: pids are used again

    @classmethod
    def me(cls) -> "Owner":
        return cls(socket.gethostname(), _boot(), _space(), os.getpid(), _started(os.getpid()))

    def is_gone(self) -> bool:
        """Certainly dead: a process of this host, boot and pid namespace that is no more.

        Of all others only silence tells, also of one with this host's name: two machines may share it.
        """
        here = (socket.gethostname(), _boot(), _space())
        return (self.host, self.boot, self.space) == here and _started(self.pid) != self.started


@dataclass(frozen=True)
class Claim:
    """A claim as it was written. ``progress`` is how far the cell was then, in steps."""

    path: Path
    owner: Owner
    attempt: int = 1
    deaths: int = 0
    progress: int = 0

    def release(self) -> None:
        if self.is_mine():
            _clear(self)  # it may be taken over between the look and what follows

    def is_mine(self) -> bool:
        found = read(self.path)
        return found is not None and (found.owner, found.attempt) == (self.owner, self.attempt)

    def is_stale(self) -> bool:
        """For one look: by the age of the last beat, on the clock of the file system.

        A beat that is still to come by that clock is none: the clock was put back, or the file came from a
        machine whose clock was off. An owner that lives would have beaten again.
        """
        return self.owner.is_gone() or abs(_age(self.path)) > STALE_SECONDS

    def last_beat(self) -> object:
        """What another beat changes. Raises OSError or Refused where it cannot be told."""
        # opened: network file systems then ask the server for its times
        with files.opened(self.path, self.path.parent) as file:
            return os.fstat(file.fileno()).st_mtime_ns

    def beat(self) -> None:
        """Show that the owner lives."""
        if self.is_mine():  # the claim of who took over must fall silent when that one does
            os.utime(self.path)


class Watch:
    """For repeated looks: stale is who is dead, or was seen with the same beat for ``STALE_SECONDS``."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._seen: dict[Path, tuple[tuple, float]] = {}

    def is_stale(self, claim: Claim) -> bool:
        if claim.owner.is_gone():
            return True
        try:
            beat = (claim.owner, claim.attempt, claim.last_beat())
        except (OSError, files.Refused):
            return False
        seen, since = self._seen.get(claim.path, (None, 0.0))
        if seen != beat:
            self._seen[claim.path] = (beat, self._clock())
            return False
        return self._clock() - since > STALE_SECONDS


def take(
    path: Path,
    owner: Owner,
    progress: int = 0,
    is_stale: Callable[[Claim], bool] = Claim.is_stale,
    root: Path | None = None,
) -> Claim | None:
    """The claim at ``path`` for ``owner``, or None where somebody else holds it.

    Args:
        progress: steps of the newest checkpoint: an owner that died after getting further is not counted.
        is_stale: whether a claim that is there may be taken over.
        root: the store, below which no link is followed.
    """
    claim = Claim(path, owner, progress=progress)
    held = read(path)
    if held is not None:
        if not is_stale(held) or not _clear(held):
            return None
        deaths = 0 if progress > held.progress else held.deaths + 1
        claim = Claim(path, owner, held.attempt + 1, deaths, progress)
    # complete before it is visible: a link is exclusive, and its content is never half there
    temporary = _private(path)
    try:
        content = content_of(claim)
        files.create(temporary, content, root)
        try:
            os.link(temporary, path)
        except OSError as error:
            if error.errno not in file_system.NO_LINKS:
                raise
            files.create(path, content, root)  # exclusive too; who reads it half written waits
    except FileExistsError:
        return None
    finally:
        temporary.unlink(missing_ok=True)
    return claim


def check(claim: Claim, name: str) -> None:
    """Raises Lost where the claim is of another owner by now; ``name``: what people call the run."""
    if not claim.is_mine():
        raise Lost(f"{name} was taken over from attempt {claim.attempt}")


def forget_the_dead(path: Path) -> None:
    """Remove a claim whose owner is certainly dead, and with it the count of deaths."""
    held = read(path)
    if held is not None and held.owner.is_gone():
        _clear(held)


def _clear(held: Claim) -> bool:
    """Remove exactly this claim; False where another worker was faster."""
    aside = _private(held.path)
    try:
        os.rename(held.path, aside)
    except FileNotFoundError:
        return False
    found = read(aside)
    cleared = found is not None and (found.owner, found.attempt) == (held.owner, held.attempt)
    if not cleared:  # it had been taken over since we read it: put the new one back
        with contextlib.suppress(FileExistsError):
            file_system.put(aside, held.path)
    aside.unlink(missing_ok=True)
    return cleared


def read(path: Path) -> Claim | None:
    """The claim in a file: of nobody where the file holds none, None where there is no file."""
    try:
        found = files.read_json(path, path.parent)
        if found is None and not os.path.lexists(path):
            return None
    except files.Refused:
        found = None
    return Claim(path, *parsed(found))


def parsed(found: object) -> tuple[Owner, int, int, int]:
    """Owner, attempt, deaths and progress of a claim as JSON; where it is none, of an unknown owner, whose
    claim goes stale."""
    try:
        owner = Owner(**found["owner"])
        counts = [found[name] for name in ("attempt", "deaths", "progress")]
        if not all(type(value) is str for value in (owner.host, owner.boot, owner.space, owner.started)):
            raise TypeError
        if not all(type(value) is int and 0 <= value < 1 << 62 for value in (owner.pid, *counts)):
            raise TypeError
        return owner, *counts
    except (KeyError, TypeError):
        return Owner("", "", "", 0, ""), 1, 0, 0


def _private(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")  # pids repeat between hosts


def content_of(claim: Claim) -> bytes:
    """What is written of a claim."""
    counts = {name: getattr(claim, name) for name in ("attempt", "deaths", "progress")}
    return json.dumps({"owner": asdict(claim.owner), **counts}).encode()


class Heartbeat:
    """Touches a worker's claims from a thread of its own: a long compilation must not look like death."""

    def __init__(self):
        self._claims: set[Claim] = set()
        self._lock = threading.Lock()
        self._done = threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    def hold(self, claims: list[Claim]) -> None:
        with self._lock:
            self._claims = set(claims)

    def stop(self) -> None:
        self._done.set()

    def _beat(self) -> None:
        while not self._done.wait(BEAT_SECONDS):
            with self._lock:
                claims = list(self._claims)
            for claim in claims:
                with contextlib.suppress(OSError):
                    claim.beat()


def _age(path: Path) -> float:
    """Seconds since the last beat by the clock of the file system: the hosts' clocks may differ.

    Who may not write there (`lab status` of another user) asks this host's clock: better than to call each
    claim alive.
    """
    probe = _private(path)
    try:
        probe.touch()
        now = probe.stat().st_mtime
        probe.unlink(missing_ok=True)
    except OSError:
        now = None
    try:
        beat = path.stat().st_mtime
        return max(time.time() - beat, 0.0) if now is None else now - beat
    except OSError:
        return 0.0


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _space() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Start time of a process in clock ticks, empty where it does not live or cannot be told."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        if Path("/proc/self/stat").exists():
            return ""
        try:
            os.kill(pid, 0)
        except OSError:
            return ""
        return "alive"
    fields = stat.rsplit(")", 1)[1].split()
    return "" if fields[0] == "Z" else fields[19]
