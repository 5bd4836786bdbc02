"""What `import sweeps` offers: studies as dataclasses, their plan, their runs and their table.

No function of it needs the command line, a network or an account. jax is loaded by what needs it
(:func:`make_plan`, :func:`price`, :func:`run`), not with the package.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lab.errors import InputError
from lab.runs.trackers import Target
from sweeps.study import loader, overrides
from sweeps.study.ladders import Shape
from sweeps.study.prior import Prior
from sweeps.study.schema import Grid, RunOptions, Seeds, Size, Study, Valley
from sweeps.work.engines.options import EngineOptions

if TYPE_CHECKING:
    from analysis.tables.table import Runs
    from sweeps.plan.cells import Plan
    from sweeps.running import Outcome
    from sweeps.verbs.plan_output import Priced

__all__ = [
    "EngineOptions",
    "Grid",
    "InputError",
    "Prior",
    "RunOptions",
    "Seeds",
    "Shape",
    "Size",
    "Study",
    "Valley",
    "example",
    "load",
    "make_plan",
    "price",
    "run",
    "save",
    "table",
]

_LOCAL = EngineOptions()
_WHERE = "study"


def load(path: str | Path, sets: Sequence[str] = (), allow_include: Sequence[str | Path] = ()) -> Study:
    """The study of a TOML file.

    Args:
        sets: keys to change, as after ``--set``: ``["model.width=64"]``.
        allow_include: folders or files outside the study's folder that it may include.

    Raises:
        InputError: with all problems of the file, one line each.
    """
    return loader.load(Path(path), sets, [Path(place) for place in allow_include])


def example(design: str = "grid") -> str:
    """The commented study file of a design, as ``lab init --design`` writes it."""
    from sweeps.verbs.planning import example

    return example(design)


def save(study: Study, path: str | Path) -> None:
    """Write a study as a file for ``lab plan`` and ``lab run``; one that is there is not replaced.

    Raises:
        InputError: for a study that cannot be, and a file that is there.
    """
    from lab.files import create

    text = overrides.to_toml(loader.plain(loader.checked(study, _WHERE)))
    try:
        create(Path(path), text.encode())
    except FileExistsError:
        raise InputError(f"{path}: is there already; name another file") from None


def make_plan(study: Study) -> Plan:
    """The runs of a study, each with its id, configuration, parameters and FLOPs: ``plan.cells``, and the
    trunks that they share. Reads or builds the study's data; trains nothing.

    Raises:
        InputError: with all problems of the study or its data.
    """
    from sweeps.running import planned

    return planned(loader.checked(study, _WHERE), _WHERE)


def price(study: Study | Plan, out: str | Path | None = None, workers: int = 1) -> Priced:
    """What a study costs on this machine and will tell, as ``lab plan`` prints it: ``totals()`` (seconds,
    bytes, kWh with bounds), ``rows()`` a dictionary a run, ``promises`` widths of intervals, ``warnings``.

    Args:
        out: the store it will run in, to see what is done there already.
        workers: to divide the hours by.
    """
    from sweeps.verbs.plan_output import Priced

    plan = make_plan(study) if isinstance(study, Study) else study
    return Priced(plan, None if out is None else Path(out), workers)


def run(
    study: Study | Plan,
    out: str | Path,
    on: EngineOptions = _LOCAL,
    retry_failed: bool = False,
    log: Target | None = None,
    provenance: Literal["names", "full"] = "names",
    quiet: bool = False,
) -> Outcome:
    """Train what is missing of a study in a store, as ``lab run`` does: with workers that are processes of
    their own. Interrupted or killed, the same call goes on where it was; finished runs stay.

    Args:
        out: the store, a folder or URL, which several studies may share.
        on: the engine; ``EngineOptions(workers=2)``, ``EngineOptions("slurm", partition="gpu", gpus=1)``.
        retry_failed: try again what was given up on.
        log: the tool that records go to while runs train.
        provenance: full adds paths, the host and the working folder to the records.
        quiet: nothing on stderr; else progress and notes, as of the command.

    Returns:
        what became of each run; failures are in it, and no exception.

    Raises:
        InputError: with all problems of the study, its data, or the options.
        OSError: where the store takes no files.
    """
    from lab import terminal
    from sweeps import running
    from sweeps.store.remote import opened

    place = Path(out)
    running.check(place, on, log)
    plan = make_plan(study) if isinstance(study, Study) else study
    text = overrides.to_toml(loader.plain(plan.study))

    def tell(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def train() -> Outcome:
        store = opened(place)
        for note in store.check():
            tell(f"note: {note}")
        return running.train(plan, text, store, place, on, retry_failed, provenance, log, tell)

    if not quiet:
        return train()
    with terminal.silent():
        return train()


def table(out: str | Path) -> Runs:
    """The runs of a store, as ``analysis.read`` reads them: ``.frame`` is a pandas table of finished ones.

    Raises:
        analysis.InputError: for a folder that is no store, and one without finished runs.
    """
    from analysis.tables.table import read

    return read(out)
