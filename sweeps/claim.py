"""Claims: how workers race for cells without a server.

A claim is a file made by exclusive creation, so one worker wins. Its owner touches it every few seconds; a
claim whose owner is gone, or that was not touched for long, is taken over by renaming it away (again one
winner). Each take-over raises the attempt number: it counts failures of the machine, and a worker that lost
its claim finds another number in the file and gives up. Results are a function of the run id, so even a late
write of such a worker would be the same bytes.
"""

import contextlib
import json
import os
import socket
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

BEAT_SECONDS = 5.0
STALE_SECONDS = 60.0


@dataclass(frozen=True)
class Owner:
    host: str
    boot: str  # a pid means something only until the next boot
    pid: int
    started: str  # start time of the process: pids are used again

    @classmethod
    def me(cls) -> "Owner":
        return cls(socket.gethostname(), _boot(), os.getpid(), _started(os.getpid()))

    def is_gone(self) -> bool:
        """Certainly dead. An owner on another host is never certain: there only missed beats tell."""
        if (self.host, self.boot) != (socket.gethostname(), _boot()):
            return self.host == socket.gethostname() and bool(self.boot)
        return _started(self.pid) != self.started


@dataclass(frozen=True)
class Claim:
    path: Path
    owner: Owner
    attempt: int

    def release(self) -> None:
        if self.is_mine():
            self.path.unlink(missing_ok=True)

    def is_mine(self) -> bool:
        found = read(self.path)
        return found is not None and (found.owner, found.attempt) == (self.owner, self.attempt)

    def is_stale(self) -> bool:
        return self.owner.is_gone() or _age(self.path) > STALE_SECONDS


def take(path: Path, owner: Owner) -> Claim | None:
    """The claim at ``path`` for ``owner``, or None where somebody else holds it."""
    attempt = 1
    held = read(path)
    if held is not None:
        if not held.is_stale() or not _clear(held):
            return None
        attempt = held.attempt + 1
    claim = Claim(path, owner, attempt)
    path.parent.mkdir(parents=True, exist_ok=True)
    # complete before it is visible: a link is exclusive, and its content is never half there
    temporary = path.with_name(f".{path.name}.{owner.pid}.{threading.get_ident()}")
    temporary.write_text(json.dumps({"owner": asdict(owner), "attempt": attempt}))
    try:
        os.link(temporary, path)
    except FileExistsError:
        return None
    finally:
        temporary.unlink()
    return claim


def forget_the_dead(path: Path) -> None:
    """Remove a claim whose owner is certainly dead, and with it the count of attempts."""
    held = read(path)
    if held is not None and held.owner.is_gone():
        _clear(held)


def _clear(held: Claim) -> bool:
    """Remove exactly this claim; False where another worker was faster."""
    aside = held.path.with_name(f".{held.path.name}.lost.{os.getpid()}.{threading.get_ident()}")
    try:
        os.rename(held.path, aside)
    except FileNotFoundError:
        return False
    found = read(aside)
    cleared = found is not None and (found.owner, found.attempt) == (held.owner, held.attempt)
    if not cleared:  # it had been taken over since we read it: put the new one back
        with contextlib.suppress(FileExistsError):
            os.link(aside, held.path)
    aside.unlink(missing_ok=True)
    return cleared


def read(path: Path) -> Claim | None:
    try:
        found = json.loads(path.read_text())
        return Claim(path, Owner(**found["owner"]), found["attempt"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return Claim(path, Owner("", "", 0, ""), 1)  # not ours to read; it goes stale like any other


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
                try:
                    os.utime(claim.path)
                except OSError:
                    continue  # lost; the worker notices before it commits


def _age(path: Path) -> float:
    """Seconds since the last beat by the clock of the file system: the hosts' clocks may differ."""
    probe = path.with_name(f".clock.{os.getpid()}.{threading.get_ident()}")
    try:
        probe.touch()
        now = probe.stat().st_mtime
        probe.unlink(missing_ok=True)
        return now - path.stat().st_mtime
    except OSError:
        return 0.0


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
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
