"""Where `lab train` keeps its run: in the folder that was named, or as ``runs/<run id>`` below a URL."""

import atexit
import shutil
import tempfile
from pathlib import Path
from typing import Protocol

from lab import file_system
from lab.machine import distributed
from lab.objects import Objects, url_of
from lab.runs import claims, object_claims
from lab.runs.folder import RunFolder
from lab.runs.remote import RemoteFolder, RemoteSpectator, View
from lab.runs.spectator import folder_of_process


class Destination(Protocol):
    """``name``: as people know it; ``folder``: the run's, as this process may use it."""

    name: str
    folder: RunFolder

    def check(self) -> list[str]:
        """Notes on what it lacks. Raises InputError, one line, where no run can be kept here."""

    def claim(self) -> claims.Claim | None:
        """The run for this process, None where another has it."""

    def held(self) -> claims.Claim | None:
        """By whom it is held."""


class LocalDestination:
    """A folder of this run alone."""

    def __init__(self, out: Path):
        self.name, self._out = str(out), out
        self.folder = folder_of_process(out)
        self._claim = self.folder.path / "claim"

    def check(self) -> list[str]:
        self._out.mkdir(parents=True, exist_ok=True)
        return file_system.check(self._out)

    def claim(self) -> claims.Claim | None:
        return claims.take(self._claim, claims.Owner.me(), root=self.folder.root)

    def held(self) -> claims.Claim | None:
        return claims.read(self._claim)


class RemoteDestination:
    """Objects of a store at a URL. Each process works in a folder of its own, which goes when it ends."""

    def __init__(self, url: str, run_id: str):
        self.name, self._run_id = f"{url}/runs/{run_id}", run_id
        self._objects = Objects(url)
        work = Path(tempfile.mkdtemp(prefix="lab-run-"))
        atexit.register(shutil.rmtree, work, ignore_errors=True)
        kind = RemoteFolder if distributed.is_primary() else RemoteSpectator
        self.folder = kind(work / "runs" / run_id, work, View(self._objects))

    def check(self) -> list[str]:
        self._objects.check()
        return []

    def claim(self) -> claims.Claim | None:
        return object_claims.take(
            self._objects, self._run_id, claims.Owner.me(), 0, object_claims.ObjectClaim.is_stale
        )

    def held(self) -> claims.Claim | None:
        return object_claims.read(
            self._objects, self._run_id, self._objects.listing(f"claims/{self._run_id}/")
        )


def destination_of(out: Path, run_id: str) -> Destination:
    """Where ``--out`` says. Raises InputError where the client for such URLs is not installed."""
    url = url_of(out)
    return LocalDestination(out) if url is None else RemoteDestination(url, run_id)
