"""What all engines have in common: the command that starts a worker, and how a worker can end."""

from dataclasses import dataclass
from pathlib import Path

from lab import python
from lab.machine.provenance import Detail
from lab.objects import url_of
from lab.runs.trackers import Target

# How `lab worker` ends. 2 is a usage error, 130 an interruption after which everything is saved.
DONE, SOME_FAILED, NO_STORE, STORE_FAULT, CREW_BROKEN, WRONG_DEVICES, INTERRUPTED = 0, 1, 3, 4, 5, 6, 130
_EXPECTED = (DONE, SOME_FAILED, NO_STORE, STORE_FAULT, CREW_BROKEN, WRONG_DEVICES, INTERRUPTED)

NO_SHARED_FOLDER = (
    "workers must share the store's folder. Where machines share none, train a part of the study on each "
    "(`lab run STUDY --part K/N --out DIR`), copy the folders together (rsync), and `lab merge` them"
)


def crashed(code: int, said: str) -> bool:
    """Whether a worker ended as none should. Python ends with 1 after a traceback, as a worker does after
    failed cells: what it wrote on stderr tells them apart."""
    return code not in _EXPECTED or (code == SOME_FAILED and "Traceback (most recent call last)" in said)


@dataclass(frozen=True)
class Launch:
    """A study in a store, as workers are told of it.

    Attributes:
        study: the study file's copy in the store: later edits of the file do not reach running workers.
        store_id: the identity of the store, by which a worker knows that it sees the same folder.
        part: ``K/N`` where only a share of the study is to be trained.
        cpu_devices: virtual CPU devices of a worker, for packs of runs.
        log: the tool that records go to while runs train.
    """

    study: Path
    out: Path
    store_id: str
    part: str | None = None
    cpu_devices: int = 1
    provenance: Detail = "names"
    log: Target | None = None

    def command(self, *more: object) -> list[str]:
        """The command of one worker, with the interpreter that runs this, for any working folder."""
        return python.command(*self.arguments(*more))

    def arguments(self, *more: object) -> list[str]:
        """The command without the interpreter, for other nodes."""
        words = ["-m", "lab", "worker", _seen_anywhere(self.study), "--out", _seen_anywhere(self.out)]
        words += ["--store-id", self.store_id, "--cpu-devices", self.cpu_devices]
        words += ["--part", self.part] if self.part else []
        words += ["--provenance", self.provenance] if self.provenance != "names" else []
        words += ["--log", self.log] if self.log else []
        return [str(word) for word in (*words, *more)]


def _seen_anywhere(place: Path) -> str:
    """For any working folder: an object store's URL, else the whole path."""
    return url_of(place) or str(place.absolute())
