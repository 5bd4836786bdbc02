"""A worker that is stopped before any of its writes wakes to find its run another's, and changes nothing."""

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.deaths import Reaper, death
from benchmarks.kills import TINY
from lab.data import load
from lab.objects import Entry
from lab.runs import claims
from lab.runs.fence import Lost
from lab.runs.remote import RemoteFolder, View
from sweeps.plan.cells import make
from sweeps.store import digest
from sweeps.store.store import Store
from sweeps.study import loader as studies
from sweeps.work.worker import Worker

OTHER = replace(claims.Owner.me(), host="elsewhere")
# Where files get and lose their names, and logs grow.
DECISIVE = re.compile(r"rename (?!.*(orbax|claim))|write |link .*result")


def undisturbed(folder: Path, budgets: str):
    """A study of these budgets; its store where nobody was stopped, and each write below runs/, in order."""
    from lab.machine import devices

    devices.enable_compilation_cache()
    text = TINY.replace("seeds = [0, 1]", "seeds = [0]").replace("[10_000, 20_000]", budgets)
    folder.mkdir()
    (folder / "tiny.toml").write_text(text.replace("retries = 1_000", "keep_trunks = true"))
    plan, root = make(studies.load(folder / "tiny.toml"), load), folder / "calm"
    root.mkdir()
    with death(root) as watched:
        assert Worker(plan, Store(root), lambda event: None).work() == 0
    return plan, root, [text for text in watched.done if " runs/" in text]


class Sleeper(Reaper):
    """Sleeps before operation ``at`` for as long as another takes to train that run and to commit it."""

    calm: Path

    def meets(self, operation: str, path, *more) -> None:
        path = "" if isinstance(path, int) else os.fspath(path)
        if self.dead or not path.startswith(f"{self.root}/runs/"):
            return
        self.done.append("")
        if len(self.done) - 1 == self.at:
            self.dead = True
            self.run = Path(self.root, "runs", Path(path).relative_to(f"{self.root}/runs").parts[0])
            self.other_trains_it()

    def other_trains_it(self) -> None:
        store = Store(Path(self.root))
        self.run.mkdir(exist_ok=True)
        self.claim = store.claim(self.run.name, OTHER, 0, lambda held: True)
        self.has_it = self.claim is not None
        if not self.has_it:
            return
        folder = store.run(self.run.name)
        folder.withdraw()
        for name in os.listdir(self.run):
            if name != "claim" and not name.startswith("."):
                one = self.run / name
                shutil.rmtree(one) if one.is_dir() else one.unlink()
        shutil.copytree(self.calm / "runs" / self.run.name, self.run, dirs_exist_ok=True)
        folder.leave()
        if self.at % 2:
            self.claim.release()
        self.was = there(self.run)


def there(run: Path) -> dict:
    """Each file of a run with what changes when it is written or put anew; of logs, which every owner puts
    anew, what is in them."""
    found = {str(path.relative_to(run)): path for path in run.rglob("*") if path.is_file()}
    named = {name: path for name, path in found.items() if not re.search(r"(^|/)\.", name)}
    return {n: p.read_bytes() if p.suffix == ".jsonl" else _state(p.stat()) for n, p in named.items()}


def _state(about: os.stat_result) -> tuple[int, ...]:
    return about.st_ino, about.st_size, about.st_mtime_ns


def kinds(done: list[str]) -> list[int]:
    """The number of the first operation of each kind below runs/, and how many there are of all."""
    found: dict[str, int] = {}
    for number, text in enumerate(done):
        kind = re.sub(r"(?<=runs/)\w+|[0-9a-f]{32}|\d+", "", text)
        found.setdefault(kind, number)
    return sorted(found.values())


def sleep(plan, calm, root: Path, at: int) -> list[str]:
    """What is wrong after a sleep before operation ``at`` below runs/."""
    with death(root, at, type("Sleeper", (Sleeper,), {"calm": calm})) as sleeper:
        assert Worker(plan, Store(root), lambda event: None).work() == 0
    assert sleeper.dead, "there is no such operation"
    wrong = []
    if sleeper.has_it:
        now = there(sleeper.run)
        wrong += [f"{name} changed" for name in sorted({n for n, _ in now.items() ^ sleeper.was.items()})]
    if digest.runs(root) != digest.runs(calm):
        wrong.append("another digest")
    wrong += [f"{path.name} is left" for path in root.rglob(".*")]
    return wrong


def test_a_worker_that_is_stopped_before_any_write_changes_nothing_that_is_anothers(tmp_path):
    """Before: 69 of 145 places to stop at did, among them the log of a run that was committed."""
    plan, root, done = undisturbed(tmp_path / "study", "[10_240]")
    places = [at for at in kinds(done) if DECISIVE.match(done[at])]
    wrong = {f"{at} {done[at]}": sleep(plan, root, tmp_path / str(at), at) for at in places}
    assert not {place: what for place, what in wrong.items() if what}
    assert len(places) == 8, [done[at] for at in places]


@pytest.mark.weekly
def test_nor_does_one_that_is_stopped_anywhere(tmp_path):
    """In a trunk and its two branches."""
    plan, root, done = undisturbed(tmp_path / "study", "[7_680, 15_360]")
    wrong = {f"{at} {text}": sleep(plan, root, tmp_path / str(at), at) for at, text in enumerate(done)}
    assert not {place: what for place, what in wrong.items() if what}


class Memory:
    """An object store; ``sleep`` is called before the put or deletion of the name that it is set for."""

    url = "memory://"

    def __init__(self):
        self.held: dict[str, bytes] = {}
        self.sleep: tuple[str, Callable] | None = None

    def listing(self, prefix: str = "") -> dict[str, Entry]:
        found = {name: content for name, content in self.held.items() if name.startswith(prefix)}
        return {n: Entry(len(c), hashlib.sha256(c).hexdigest(), 0.0) for n, c in found.items()}

    def get(self, name: str, limit: int = 0) -> bytes:
        return self.held[name]

    def create(self, name: str, content: bytes) -> None:
        if name in self.held:
            raise FileExistsError(name)
        self.held[name] = content

    def upload(self, path: Path, name: str) -> None:
        self._meets(name)
        self.held[name] = path.read_bytes()

    def download(self, name: str, path: Path) -> None:
        path.write_bytes(self.held[name])

    def delete(self, name: str) -> None:
        self._meets(name)
        self.held.pop(name, None)

    def _meets(self, name: str) -> None:
        if self.sleep and self.sleep[0] in name:
            (_, call), self.sleep = self.sleep, None
            call()


def test_in_an_object_store_what_another_put_is_neither_replaced_after_a_look_nor_deleted(tmp_path):
    """Before: all that was to be put followed one look, and each checkpoint that is not here was deleted."""
    objects = Memory()

    def folder(who: str) -> RemoteFolder:
        (tmp_path / who).mkdir()
        found = RemoteFolder(tmp_path / who / "runs" / "a", tmp_path / who, View(objects))
        found.fetch()
        return found

    def save(folder: RemoteFolder, step: int, check=lambda: None) -> None:
        folder.append_metrics([{"step": step, "loss_nats": float(step)}])
        (folder.checkpoints / str(step)).mkdir(parents=True)
        for before in (step for step in folder.steps()[:-1]):
            shutil.rmtree(folder.checkpoints / str(before))
        folder.push(check)

    def look() -> None:
        if was:
            raise Lost

    was: dict = {}

    def other_trains_it() -> None:
        save(folder("other"), 60)
        was.update(objects.held)

    sleeper = folder("sleeper")
    save(sleeper, 20)
    objects.sleep = "metrics.jsonl", other_trains_it  # while the first of the objects is under way
    with pytest.raises(Lost):
        save(sleeper, 40, look)
    assert set(objects.held) == set(was) == {f"runs/a/{n}" for n in ("metrics.jsonl", "checkpoints/60.tar")}
    sleeper.push()  # had it not looked
    assert set(was) <= set(objects.held)
