"""A store in an object store, by URL: the same runs, claims and results as in a folder, as objects.

Each process works in a folder of its own on its own machine (:mod:`lab.runs.remote`), which goes when it
ends: what counts is what it has put. So machines need no folder in common; the same command on each of them
joins in.
"""

import atexit
import contextlib
import json
import shutil
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

from lab import files
from lab.errors import InputError
from lab.files import Refused
from lab.objects import Objects, url_of
from lab.runs import claims, contents, object_claims
from lab.runs.remote import RemoteFolder, View
from sweeps.plan.cells import Plan
from sweeps.store import disk
from sweeps.store.store import Node, Store


class RemoteStore(Store):
    """A store at a URL.

    Args:
        work: a folder of this machine, for this process alone.
    """

    def __init__(self, url: str, work: Path):
        super().__init__(work)
        self.objects = Objects(url)
        self._view = View(self.objects)

    def names(self) -> set[str]:
        return self._view.names()

    def run(self, run_id: str) -> RemoteFolder:
        if not contents.is_name(run_id):
            raise InputError(f"{self.objects.url}: {str(run_id)[:40]!r} is no run id")
        return RemoteFolder(self.root / "runs" / run_id, self.root, self._view)

    def study_files(self) -> list[Path]:
        names = [name for name in self.objects.listing("studies/") if name.endswith(".json")]
        return sorted(self.fetch(name) for name in names if contents.is_name(name.removeprefix("studies/")))

    def write_study(self, plan: Plan, text: str) -> None:
        names = [f"studies/{plan.study.name}.{ending}" for ending in ("json", "toml")]
        self.fetch(names[0])
        super().write_study(plan, text)
        for name in names:
            self.objects.put(name, files.read_bytes(self.root / name, self.root))

    def fetch(self, name: str) -> Path:
        """Bring an object here, where it is there; the path that it has or would have."""
        try:
            files.write_bytes(self.root / name, self.objects.get(name), self.root)
        except FileNotFoundError:
            (self.root / name).unlink(missing_ok=True)
        return self.root / name

    def claim(
        self,
        run_id: str,
        owner: claims.Owner,
        progress: int = 0,
        is_stale: Callable[[claims.Claim], bool] = claims.Claim.is_stale,
    ) -> claims.Claim | None:
        return object_claims.take(self.objects, run_id, owner, progress, is_stale)

    def held(self, run_id: str) -> claims.Claim | None:
        return object_claims.read(self.objects, run_id, self._view.claims(run_id))

    def forget_the_dead(self, node: Node) -> None:
        held = self.held(node.run_id)
        if held is not None and held.owner.is_gone():
            held.release()

    def look_again(self) -> None:
        self._view.forget()

    def check(self) -> list[str]:
        self.objects.check()
        return []

    def identity(self) -> str:
        found = self._identity()
        if found is None:
            content = json.dumps({"schema": 1, "id": uuid.uuid4().hex}).encode()
            with contextlib.suppress(FileExistsError):  # another machine was faster
                self.objects.create("store.json", content)
            found = self._identity()
        return found or ""

    def is_seen(self, name: str) -> bool:
        return self._identity() == name

    def _identity(self) -> str | None:
        path = self.fetch("store.json")
        try:
            return disk.name_in(files.read_json(path, self.root))
        except Refused:
            return None


def opened(place: Path) -> Store:
    """The store in a folder or at a URL."""
    url = url_of(place)
    if url is None:
        return Store(place)
    work = Path(tempfile.mkdtemp(prefix="lab-store-"))
    atexit.register(shutil.rmtree, work, ignore_errors=True)
    return RemoteStore(url, work)
