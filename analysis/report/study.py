"""Everything a report says, computed before a line of it is written. What cannot be had is None, with why."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from analysis.allocations import optimum
from analysis.audits import forecasting
from analysis.audits.leading import leading_fit
from analysis.bias.planted import Association, associations
from analysis.costs.ledger import Ledger, ledger
from analysis.errors import InputError
from analysis.fits import fitting
from analysis.fits.results import Allocation, Fit
from analysis.isoflops import minima
from analysis.notes import Note
from analysis.report.provenance import Provenance, provenance
from analysis.resources.compressed import Compressed, compressed
from analysis.resources.sobriety import Sobriety, sobriety
from analysis.second_process import Second
from analysis.tables.table import Runs, read

# Draws for intervals, as many as `lab fit` and `lab forecast` take: what they computed is kept, and not
# computed again.
DRAWS = 1000
MOST_GROUPS = 4
# Most simulated data sets a series: the smallest p-value is one over these. Along the parameters as many as
# `lab thresholds` takes, so that both say the same, and what it found is not simulated again.
THRESHOLD_DRAWS = {"params": 500, "loss_nats": 99}
PLANE_DRAWS = 199
# A card for each task; those of its other metrics say the same of the same runs, and cost as much.
CARDS = ("exact_match", "accuracy", "acc", "em")


@dataclass(frozen=True, eq=False)
class Group:
    """Runs of one grid and source: what one law can describe. `refusals` says why a part is None."""

    name: str
    runs: Runs
    fit: Fit | None
    chinchilla: Fit | None
    forecast: Any | None
    isoflop: Any | None
    envelope: Any | None
    allocation: Allocation | None
    refusals: dict[str, str]


@dataclass(frozen=True, eq=False)
class Study:
    """A store (or a foreign table) with all that was found in it. groups: those with a law first.

    planes: loss collapse and frontier of the tasks whose sizes have several token budgets.
    """

    name: str
    path: Path
    runs: Runs
    groups: tuple[Group, ...]
    thresholds: tuple[Any, ...]
    refusals: dict[str, str]
    provenance: Provenance
    planes: tuple[tuple[Any, Any], ...] = ()

    @cached_property
    def costs(self) -> Ledger | None:
        """What the runs spent; None where nothing is recorded."""
        try:
            return ledger(self.runs)
        except InputError:
            return None

    @cached_property
    def sobriety(self) -> Sobriety | None:
        """Which runs are worth what they take; None of too few."""
        try:
            return None if self.costs is None else sobriety(self.runs, self.costs)
        except InputError:
            return None

    @cached_property
    def compressed(self) -> Compressed | None:
        """What fewer bits and weights did to the runs; None where `lab compress` has measured nothing."""
        try:
            return compressed(self.runs)
        except InputError:
            return None

    @cached_property
    def associations(self) -> tuple[Association, ...]:
        """What models make of associations that were planted; empty where none was."""
        try:
            return associations(self.runs)
        except InputError:
            return ()

    @property
    def law(self) -> Group | None:
        """The group whose law comes first, or None when no law could be fitted."""
        return next((group for group in self.groups if group.fit is not None), None)

    @property
    def warnings(self) -> list[Note]:
        """Of all results, each text once; remarks that only say how a column was read are left out."""
        found: list[Note] = []
        for group in self.groups:
            own = [] if group.fit is None else list(group.fit.warnings)
            # The forecast fits fewer rows and says the same of them.
            more = [] if group.forecast is None else group.forecast.warnings
            own += [note for note in more if note.code not in {known.code for known in own}]
            found += own + ([] if group.isoflop is None else list(group.isoflop.warnings))
        found += [note for note in self.runs.notes if note.code in ("unreadable_files", "params_missing")]
        return list({note.text: note for note in found}.values())


def gather(
    source: str | Path | Runs,
    draws: int = DRAWS,
    abilities: bool = True,
    say: Callable[[str], None] = lambda text: None,
    second: Second | None = None,
) -> Study:
    """Read a store folder or a table, fit, and detect unless `abilities` is false.

    say: told of each part; second: a process to share the work with.

    Raises InputError only when there is nothing to read.
    """
    runs = source if isinstance(source, Runs) else read(source)
    path = Path(runs.source)
    groups = []
    with Second() if second is None else nullcontext(second) as other:
        # Laws and the thresholds along each axis need nothing from each other, and each takes seconds.
        tested = {}
        if abilities and len(runs.ability_rows):
            say(f"testing {len(runs.ability_rows)} ability scores for thresholds")
            tested = {axis: other.call(thresholds, runs, draws, axis) for axis in THRESHOLD_DRAWS}
        for name, part in parts(runs)[:MOST_GROUPS]:
            say(f"fitting {len(part)} runs{f' of {name}' if name else ''}")
            groups.append(_group(name, part, draws))
        # The last first: what the other process has not begun is computed here.
        found = {axis: tested[axis]() for axis in reversed(tested)}
    series = tuple(one for axis in tested for one in found[axis][0])
    planes = tuple(one for axis in tested for one in found[axis][1])
    refusals = {f"abilities along {axis}": found[axis][2] for axis in tested if found[axis][2]}
    groups.sort(key=lambda group: (group.fit is None, -len(group.runs)))
    return Study(
        _name(runs, path),
        path,
        runs,
        tuple(groups),
        series,
        refusals,
        provenance(runs, path),
        planes,
    )


def subset(runs: Runs, keep: np.ndarray) -> Runs:
    """The rows where `keep`, without the ability scores."""
    columns = {name: values[keep] for name, values in runs.columns.items()}
    written = {role: values[keep] for role, values in runs.written.items()}
    return replace(runs, columns=columns, ability_rows=(), written=written)


def finished(runs: Runs) -> np.ndarray:
    """Which rows are ok, by status where there is one, and have a positive loss (rows,)."""
    loss = np.asarray(runs.columns.get("loss", np.full(len(runs), np.nan)), float)
    status = runs.role("status")
    good = np.isfinite(loss) & (loss > 0)
    return good if status is None else good & (np.asarray(status) == "ok")


def _name(runs: Runs, path: Path) -> str:
    studies = sorted({str(name) for name in runs.columns.get("study", []) if isinstance(name, str) and name})
    return studies[0] if len(studies) == 1 else path.resolve().stem if path.is_file() else path.resolve().name


def parts(runs: Runs) -> list[tuple[str, Runs]]:
    """Runs by grid and source, those with most distinct sizes and budgets first; one part has no name."""
    names = [name for name in ("grid", "source") if runs.store and name in runs.columns]
    if not names:
        return [("", runs)] if len(runs) else []
    texts = [[str(value) if value is not None else "" for value in runs.columns[name]] for name in names]
    keys = np.array([" · ".join(filter(None, words)) for words in zip(*texts, strict=True)], object)
    found = [(str(key), subset(runs, keys == key)) for key in sorted(set(keys.tolist()))]
    alone = len(found) == 1
    found.sort(key=lambda item: -_cells(item[1]))
    return [("" if alone else name, part) for name, part in found]


def _cells(runs: Runs) -> int:
    good = finished(runs)
    pairs = zip(runs.columns["params"][good], runs.columns["tokens"][good], strict=True)
    sizes, budgets = zip(*pairs, strict=True) if good.any() else ((), ())
    return min(len(set(sizes)), len(set(budgets))) * 10_000 + int(good.sum())


def _group(name: str, runs: Runs, draws: int) -> Group:
    refusals: dict[str, str] = {}

    def attempt(what: str, function, *arguments, **options):
        try:
            return function(*arguments, **options)
        except InputError as error:
            refusals[what] = _reasons(error, runs)
            return None

    # One law speaks on the page, that of `lab fit`; Chinchilla's stands beside any other.
    fit = attempt("law", leading_fit, runs, bootstrap=draws)
    forecast = attempt("forecast", forecasting.forecast, runs, bootstrap=draws)
    chinchilla = isoflop = envelope = allocation = None
    if fit is not None:
        chinchilla = (
            fit if fit.law.name == "chinchilla" else attempt("chinchilla", fitting.fit, runs, bootstrap=0)
        )
        isoflop = attempt("isoflop", minima.isoflop, runs, law=fit, bootstrap=draws)
        envelope = attempt("envelope", minima.envelope, runs)
        flops = np.asarray(runs.columns["flops"], float)[finished(runs)]
        allocation = attempt("allocation", optimum.allocate, fit, float(flops.max()))
    return Group(name, runs, fit, chinchilla, forecast, isoflop, envelope, allocation, refusals)


def _reasons(error: InputError, runs: Runs) -> str:
    """In a line; the page is about one table, and need not say which in each of its sentences."""
    return "; ".join(problem.removeprefix(f"{runs.source}: ") for problem in error.problems)


def thresholds(runs: Runs, draws: int, axis: str) -> tuple[tuple[Any, ...], tuple[Any, ...], str]:
    """(series along one axis; collapse and frontier, with those along params; why there are none)."""
    from analysis.thresholds.kept import detected, detected_over_plane

    frame = runs.abilities
    cards = CARDS if axis == "params" else False
    try:
        found = detected(runs, frame, axis, draws=max(99, min(draws, THRESHOLD_DRAWS[axis])), calibrate=cards)
    except InputError as error:
        return (), (), _reasons(error, runs)
    if axis != "params":
        return found.series, (), ""
    planes = detected_over_plane(runs, frame, draws=max(99, min(draws, PLANE_DRAWS)))
    return found.series, tuple(pair for pair in planes if pair[0].metric in CARDS and _tested(*pair)), ""


def _tested(collapse: Any, frontier: Any) -> bool:
    """Whether there was anything to test: else both give the same reason why not."""
    return collapse.text != frontier.text
