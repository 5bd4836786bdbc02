"""The ledger of a store: every forecast that was registered there, beside what came of it.

STORE/forecasts/NAME.json holds a record of `analysis.audits.register`, which never changes. Outcomes are read
from the runs whenever they are shown, so that none can be kept that the runs no longer bear out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis import files
from analysis.audits.register import Scored, checked, scored
from analysis.errors import InputError
from analysis.tables.contents import is_name
from analysis.tables.table import Runs

FOLDER = "forecasts"


def place(store: Path, named: Path) -> Path:
    """Where a forecast of that name is kept: a plain name means the ledger of the store, all else is a path.

    Raises InputError for a plain name where the table is no store.
    """
    text = str(named)
    if named.suffix or len(named.parts) != 1 or not is_name(text):
        return named
    if not store.is_dir():
        raise InputError(
            f"{text}: a plain name is kept in the ledger of a store, and {store} is none; "
            f"a file is named {text}.json"
        )
    return store / FOLDER / f"{text}.json"


@dataclass(frozen=True)
class Entry:
    """One forecast. record: None where the file is none or was changed (`fault` says so); outcome: None while
    no target is trained."""

    name: str
    record: dict[str, Any] | None
    outcome: Scored | None
    fault: str = ""

    def without_loss(self) -> list[tuple[dict[str, Any], str]]:
        """Targets without a measured loss: each with "diverged", or nothing where it is not trained yet."""
        targets = [] if self.record is None else self.record["targets"]
        if self.outcome is None:
            return [(one, "") for one in targets]
        said = dict.fromkeys(self.outcome.missing, "") | dict.fromkeys(self.outcome.diverged, "diverged")
        places = [(float(one["params"]), float(one["tokens"])) for one in targets]
        return [(one, said[place]) for one, place in zip(targets, places, strict=True) if place in said]

    def to_dict(self) -> dict[str, Any]:
        outcome = None if self.outcome is None else self.outcome.to_dict()
        return {"name": self.name, "fault": self.fault, "record": self.record, "outcome": outcome}


@dataclass(frozen=True)
class Foretold:
    """All forecasts of a store, the oldest first; files that are no sound record come last."""

    entries: tuple[Entry, ...]

    @property
    def inside(self) -> tuple[int, int]:
        """(runs inside their interval, runs that came)."""
        came = [entry.outcome for entry in self.entries if entry.outcome is not None]
        return sum(one.inside for one in came), sum(len(one.cells) for one in came)

    @property
    def diverged(self) -> int:
        """Targets whose runs all diverged."""
        return sum(len(entry.outcome.diverged) for entry in self.entries if entry.outcome is not None)

    @property
    def waiting(self) -> int:
        """Targets that are not trained yet."""
        records = [entry for entry in self.entries if entry.record is not None]
        return sum(
            len(entry.record["targets"] if entry.outcome is None else entry.outcome.missing)  # type: ignore[index]
            for entry in records
        )

    def to_dict(self) -> dict[str, Any]:
        inside, came = self.inside
        return {
            "forecasts": [entry.to_dict() for entry in self.entries],
            "inside": inside,
            "came": came,
            "diverged": self.diverged,
            "waiting": self.waiting,
        }


def foretold(store: Path, runs: Runs) -> Foretold:
    """The ledger of a store; empty where nothing was ever registered. Raises InputError for what is no store.

    runs: the table of the store.
    """
    if not store.is_dir():
        raise InputError(f"{store}: is no store, and only stores keep a ledger of forecasts")
    folder = store / FOLDER
    if folder.is_symlink():
        raise InputError(f"{folder}: is a link, which is not followed here")
    found = [_entry(path, store, runs) for path in sorted(folder.glob("*.json"))]
    return Foretold(
        tuple(sorted(found, key=lambda one: (one.record is None, (one.record or {}).get("registered", ""))))
    )


def _entry(path: Path, store: Path, runs: Runs) -> Entry:
    try:
        record = checked(files.read_json(path, store), path.name)
    except (OSError, ValueError) as error:
        problems = getattr(error, "problems", (str(error),))
        return Entry(path.stem, None, None, problems[0])
    try:
        return Entry(path.stem, record, scored(record, runs))
    except InputError:
        return Entry(path.stem, record, None)
