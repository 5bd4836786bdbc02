"""Claims in an object store, where nothing can be renamed: a numbered object for each attempt.

``claims/<run>/<attempt>.json`` is created by a conditional put, so one worker wins each number, and the
highest number holds the run. Its owner puts ``<attempt>.beat`` anew every few seconds. Who takes over creates
the next number; who releases deletes its own. All else (deaths, fence, the watcher's clock) is as in
:mod:`lab.runs.claims`.
"""

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab.files import Refused
from lab.objects import Entry, Objects
from lab.runs import claims

_NAME = re.compile(r"(\d{6})\.json")
_LIMIT = 1 << 16  # bytes of a claim
_LOOK_SECONDS = 2.0  # a claim that was ours a moment ago is not asked for again


def _now() -> float:
    """Seconds that go on while the machine is suspended, where it has such a clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass(frozen=True)
class ObjectClaim(claims.Claim):
    """A claim as it was put. ``path``: of its folder of objects."""

    objects: Objects | None = None
    tag: str = ""
    modified: float = 0.0  # of its last beat, by the server's clock
    _seen: dict = field(default_factory=dict, compare=False, repr=False)

    def release(self) -> None:
        """Give the run back. Beats go first: what is left of a release that was killed is a silent claim."""
        if not self._asked():
            return
        for name in sorted(self.objects.listing(f"{self.path}/"), key=lambda name: name.endswith(".json")):
            number = Path(name).stem
            if number.isdigit() and int(number) <= self.attempt:
                self.objects.delete(name)

    def is_mine(self) -> bool:
        if _now() - self._seen.get("at", -_LOOK_SECONDS) >= _LOOK_SECONDS:
            self._asked()
        return self._seen["mine"]

    def is_stale(self) -> bool:
        """For one look: by the server's clock alone, for hosts' clocks may differ."""
        return self.owner.is_gone() or self.objects.now() - self.modified > claims.STALE_SECONDS

    def last_beat(self) -> object:
        return self.modified, self.tag

    def beat(self) -> None:
        if self._asked():
            self.objects.put(f"{self.path}/{self.attempt:06}.beat", str(time.time()).encode())

    def _asked(self) -> bool:
        at = _now()
        found = newest(self.objects.listing(f"{self.path}/"))
        mine = found is not None and (found[0], found[1].tag) == (self.attempt, self.tag)
        self._seen.update(at=at, mine=mine)
        return mine


def newest(entries: Mapping[str, Entry]) -> tuple[int, Entry, Entry | None] | None:
    """The highest attempt among the objects of one run's claims, its entry, and that of its beat."""
    found = {int(m[1]): e for name, e in entries.items() if (m := _NAME.fullmatch(name.rpartition("/")[2]))}
    if not found:
        return None
    attempt = max(found)
    beats = [entry for name, entry in entries.items() if name.endswith(f"/{attempt:06}.beat")]
    return attempt, found[attempt], beats[0] if beats else None


def read(objects: Objects, run_id: str, entries: Mapping[str, Entry]) -> ObjectClaim | None:
    """Who holds a run, by the objects of its claims as they were listed."""
    found = newest(entries)
    if found is None:
        return None
    attempt, entry, beat = found
    path = Path("claims", run_id)
    try:
        value = json.loads(objects.get(f"{path}/{attempt:06}.json", _LIMIT))
    except FileNotFoundError:
        return None
    except (Refused, ValueError):
        value = None
    owner, _, deaths, progress = claims.parsed(value)
    last = beat or entry
    return ObjectClaim(path, owner, attempt, deaths, progress, objects, entry.tag, last.modified)


def take(
    objects: Objects,
    run_id: str,
    owner: claims.Owner,
    progress: int,
    is_stale: Callable[[claims.Claim], bool],
) -> ObjectClaim | None:
    """As :func:`lab.runs.claims.take`."""
    where = f"claims/{run_id}/"
    held = read(objects, run_id, objects.listing(where))
    if held is None:
        attempt, deaths = 1, 0
    elif is_stale(held):
        attempt, deaths = held.attempt + 1, 0 if progress > held.progress else held.deaths + 1
    else:
        return None
    name = f"{where}{attempt:06}.json"
    claim = claims.Claim(Path(where), owner, attempt, deaths, progress)
    try:
        objects.create(name, claims.content_of(claim))
    except FileExistsError:
        return None
    there = objects.listing(where)
    before = there.get(f"{where}{attempt - 1:06}.json")
    found = newest(there)
    if (
        found is None
        or found[0] != attempt
        or (held is not None and (before is None or before.tag != held.tag))
    ):
        objects.delete(name)  # the one that was stale is not the one that is there
        return None
    return ObjectClaim(Path("claims", run_id), owner, attempt, deaths, progress, objects, found[1].tag)
