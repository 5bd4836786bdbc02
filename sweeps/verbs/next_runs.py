"""The verb `lab next`: which runs narrow an interval most for what they cost."""

import json
import statistics
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

from lab.errors import InputError
from lab.files import create
from sweeps.arguments import Json, Places, StudyFile
from sweeps.plan import next_elbow, next_rate, next_runs
from sweeps.plan.next_cells import Candidates, Family, There, chosen_study, family, of_family, of_table
from sweeps.plan.next_targets import beyond, target_of
from sweeps.plan.pricing import Prices
from sweeps.plan.promised_intervals import BUILT_IN, Expected, of_store, stated
from sweeps.store import step_times
from sweeps.store.store import Store
from sweeps.study.prior import Prior
from sweeps.verbs.next_output import as_text, headline, of_items, of_rates

Known = next_runs.Known | next_elbow.KnownAbility | next_rate.KnownRate
Per = Literal["second", "joule", "euro"]
_SHARE = 0.2  # of what the runs at hand cost: the budget where none is said
_DEARER = 4.0  # times the dearest run at hand: the most that one run may cost where nothing is said


def next_(argv: list[str]) -> int:
    def command(
        source: StudyFile,
        study: Path | None = None,
        grid: str = "",
        target: str = "exponent",
        at: str = "",
        task: str = "",
        metric: str = "exact_match",
        prior: str = "",
        per: Per = "second",
        watts: float | None = None,
        price: float | None = None,
        cells: int = 4,
        budget: float | None = None,
        max_seconds: float | None = None,
        least: float = 0.05,
        include_held_out: bool = False,
        far: bool = False,
        allow_include: Places = (),
        out: Path | None = None,
        as_json: Json = False,
    ) -> int:
        """Which runs to train next: those that narrow a target's interval most for what they cost.

        Args:
            source: a store, a table of runs, or a study file of which nothing is trained yet.
            study: the study whose shapes and data further runs take; of a store, by default its own.
            grid: the grid of that study; by default its first one of text.
            target: what is to be known: exponent (of compute-optimal params), allocation (compute-optimal
                params), loss, a number of the law, as alpha, the elbow of a --task along params, or the best
                learning rate of a size.
            at: where: FLOPs, 10x the largest compute so far, or for loss params,tokens as 1e6,2e7; for rate a
                shape as 48x2h3 or params, and after a comma tokens.
            task: the ability whose elbow it is; its runs are of the study's own budgets.
            metric: the score that bends: one of right answers.
            prior: what is believed where runs are too few: a store, or published:chinchilla, published:epoch;
                by default the study's [prior], else 14 runs of technical English.
            per: what a run costs is counted in: seconds of a device, joule (--watts) or euro (--price).
            watts: what a device draws; by default the upper end of the study's, or of its kind of device.
            price: of a device-hour.
            cells: at most so many runs.
            budget: what they may cost together, in that unit; by default a fifth of what the runs at hand
                would cost again, of a study without any what its own grid costs.
            max_seconds: what one run may cost; by default four times the dearest at hand.
            least: the part of the interval's width that they must take off, or the answer is to stop.
            include_held_out: runs marked as held out inform the law too.
            far: choose also for a target beyond 1,000 times the compute of the runs, or 100 times their
                params or tokens.
            allow_include: a folder or file outside the study's folder that it may include; may be repeated.
            out: write the runs as a study file, which `lab run` takes.
            as_json: print one JSON object.
        """
        from analysis.fits.reach import first, refuse_far

        if cells < 1:
            raise InputError(f"--cells: should be at least 1, is {cells}")
        if not 0 <= least < 1:
            raise InputError(f"--least: should lie between 0 and 1, is {least}")
        for name, value in (
            ("budget", budget),
            ("max-seconds", max_seconds),
            ("watts", watts),
            ("price", price),
        ):
            if value is not None and not 0 < value < np.inf:
                raise InputError(f"--{name}: should be a positive number, is {value}")
        asked = Asked(source, study, grid, prior, include_held_out, allow_include)
        if (target == "elbow") != bool(task):
            raise InputError("--target elbow: is of a --task" if not task else "--task: is of --target elbow")
        if target == "elbow" and at:
            raise InputError("--at: an elbow lies where it lies")
        best = None
        if target == "rate":
            known, candidates, of, best = asked.rate(at)
        else:
            known, candidates, of = asked.ability(task, metric) if task else asked.seen()
        if out is not None and of is None:
            raise InputError(
                "--out: a study file needs the shapes and data of a study; name one with --study"
            )
        rate = _unit_price(per, candidates, of, watts, price)
        dearest = max_seconds if max_seconds is not None else _dearest(known, candidates)
        candidates = _affordable(candidates, dearest)
        limit = budget if budget is not None else rate * _budget(known, candidates, of, asked)
        more: dict = {}
        warnings: list = []
        if isinstance(known, next_elbow.KnownAbility):
            left = next_elbow.untrained(known, candidates)
            limits = next_runs.Limits(limit, cells, least, rate)
            made, more = next_elbow.proposed(known, task, left, limits)
        elif isinstance(known, next_rate.KnownRate):
            warnings = next_rate.beyond(known, best.at)
            refuse_far(warnings, far)
            left = next_rate.untrained(known, candidates)
            made, more = next_rate.proposed(known, best, left, next_runs.Limits(limit, cells, least, rate))
        else:
            found = target_of(target, at, known, candidates)
            warnings = beyond(found, at, known, candidates)
            refuse_far(warnings, far)
            left = next_runs.untrained(known, candidates)
            made = next_runs.proposed(known, found, left, limit, cells, least, rate)
            more = {"contradicts": known.contradicts}
        if out is not None and made.steps:
            text = study_text(of, left, made, _name(asked, of))
            try:
                create(out, text.encode())
            except FileExistsError:
                raise InputError(f"{out}: is there already; name another file") from None
        unit = candidates.unit if per == "second" else per
        if as_json:
            more |= {"unit": unit, "budget": limit, "out": out and str(out)}
            print(json.dumps(made.to_dict() | more | {"warnings": [note.to_dict() for note in warnings]}))
        else:
            if warnings:
                print(first(warnings))
            print(as_text(made, unit, limit))
            if best is not None:
                print(of_rates(more))
            if said := more.get("contradicts") or ("items" in more and of_items(more)):
                print(said)
            if out is not None and made.steps:
                print(f"\n{out} written: lab plan {out}, then lab run {out} --out STORE")
        return 0

    return tyro.cli(command, args=argv, prog="lab next")


@dataclass(frozen=True)
class Asked:
    """Of what the next runs are asked for."""

    source: Path
    study: Path | None = None
    grid: str = ""
    prior: str = ""
    include_held_out: bool = False
    allowed: tuple[Path, ...] = ()

    @property
    def is_study(self) -> bool:
        return self.source.suffix == ".toml"

    @cached_property
    def there(self) -> There:
        """What a store has and what its runs took; of a table or a study nothing is known."""
        if not self.source.is_dir():
            return There()
        store = Store(self.source)
        spent = step_times.spent(store, store.study_files())
        checkpoints = {one: tuple(store.run(one).steps()) for one in spent.trunks}
        new = statistics.median(spent.beyond.values()) if spent.beyond else 0.0
        # What programs cost that were compiled here before is not told apart, and little.
        return There(step_times.seen(store), checkpoints, new, 0.0, frozenset(spent.beyond))

    def seen(self) -> tuple[next_runs.Known, Candidates, Family | None]:
        """What is known, what could be trained, and the family of shapes. Raises InputError."""
        from analysis.errors import InputError as Unusable
        from analysis.tables.table import read

        if self.is_study:
            of = self.family(self.source)
            return next_runs.of_prior(self.expected(of)), of_family(of, self.there), of
        runs = read(self.source)
        path = self.study_of(runs)
        of = None if path is None else self.family(path)
        try:
            known = next_runs.of_runs(runs, self.expected(of), self.include_held_out)
        except Unusable as error:
            if of is None:
                raise
            # Nothing is trained yet: the prior alone speaks.
            known = next_runs.of_prior(self.expected(of))
            known = next_runs.replace(known, source=f"{known.source}; of {self.source}: {error.problems[0]}")
        if of is not None:
            return known, of_family(of, self.there), of
        return known, of_table(known.params, known.tokens, _rate(runs)), None

    def ability(self, task: str, metric: str) -> tuple[next_elbow.KnownAbility, Candidates, Family | None]:
        """As :meth:`seen`, of an ability."""
        from analysis.tables.table import read

        if self.is_study:
            raise InputError(f"{self.source}: nothing is trained yet; an elbow is one of runs")
        runs = read(self.source)
        known = next_elbow.of_scores(runs, task, metric)
        path = self.study_of(runs)
        if path is None:
            return known, next_elbow.of_sizes(known), None
        of = self.family(path, task)
        candidates = next_elbow.counted_alike(known, of.cells, of_family(of, self.there))
        if np.isfinite(known.tokens):  # of the budget that the scores are of
            nearest = np.abs(np.log(candidates.tokens / known.tokens))
            candidates = candidates.where(nearest <= nearest.min() + 1e-9)
        return known, candidates, of

    def rate(self, at: str) -> tuple[next_rate.KnownRate, Candidates, Family | None, object]:
        """As :meth:`seen`, of learning rates; and the best one at the place that --at names."""
        from analysis.designs.rate import best_rate
        from analysis.tables.table import read

        if self.is_study:
            raise InputError(f"{self.source}: nothing is trained yet; a best rate is one of runs")
        runs = read(self.source)
        path = self.study_of(runs)
        of = None if path is None else self.family(path, of_rates=True)
        grids = (self.grid,) if self.grid else () if of is None else of.grids
        known = next_rate.of_runs(runs, grids)
        best = best_rate(known.runs, next_rate.place(at, known, of))
        if of is None:
            return known, next_rate.of_table(known, best), None, best
        candidates, of = next_rate.of_study(known, best, of, self.there)
        return known, candidates, of, best

    def family(self, path: Path, task: str = "", of_rates: bool = False) -> Family:
        from lab.machine import devices
        from lab.verbs.common import load_data
        from sweeps.study import loader

        devices.check_environment()
        devices.check_platform()
        raw = loader.resolved(path, (), self.allowed)
        return family(raw, str(path), load_data, self.grid, task, of_rates)

    def study_of(self, runs) -> Path | None:
        """The study file: the one named, or of a store that of its largest grid."""
        if self.study is not None or not self.source.is_dir():
            return self.study
        folder = self.source / "studies"
        names = [str(name) for name in runs.columns.get("study", np.zeros(0)).tolist() if name]
        # A run of several studies counts for the first of them, which is the one that the others follow.
        first = [name.split("+")[0] for name in names]
        for name in sorted(set(first), key=first.count, reverse=True):
            if (folder / f"{name}.toml").is_file():
                return folder / f"{name}.toml"
        raise InputError(f"{folder}: keeps no study of these runs; name one with --study")

    def expected(self, of: Family | None) -> Expected:
        """What is believed without any run."""
        if self.prior.startswith("published:"):
            return _published(self.prior.removeprefix("published:"))
        if self.prior:
            from analysis.errors import InputError as Unusable

            try:
                return of_store(Path(self.prior))
            except Unusable as error:
                raise InputError(*(f"--prior: {problem}" for problem in error.problems)) from None
        if of is None or of.plan.study.prior == Prior():
            return BUILT_IN
        return stated(of.plan.study.prior, "the study's [prior]")


# Of text in subword tokens, 7e7 to 1.6e10 params: arXiv 2203.15556, appendix D.3; arXiv 2404.10102, table 1.
PUBLISHED = {
    "chinchilla": {"E": 1.69, "A": 406.4, "alpha": 0.34, "B": 410.7, "beta": 0.28},
    "epoch": {"E": 1.8172, "A": 482.01, "alpha": 0.3478, "B": 2085.43, "beta": 0.3658},
}


def _published(name: str) -> Expected:
    if name not in PUBLISHED:
        raise InputError(f"--prior: published:{name} is none; there are {', '.join(PUBLISHED)}")
    return Expected(
        "chinchilla", PUBLISHED[name], BUILT_IN.scatter, f"published:{name}, the built-in scatter"
    )


def _rate(runs) -> float | None:
    from analysis.costs.hardware import measured

    return measured(runs)


def _unit_price(
    per: Per, candidates: Candidates, of: Family | None, watts: float | None, price: float | None
):
    """What a second costs in the unit asked for."""
    from sweeps.plan.pricing import watts as drawn

    if per == "second":
        return 1.0
    if candidates.unit != "seconds":
        raise InputError(f"--per {per}: the table has no device_seconds, so what a run takes is not known")
    if per == "euro":
        if price is None:
            raise InputError("--per euro: needs --price, of a device-hour")
        return price / 3600
    if watts is None and of is None:
        raise InputError("--per joule: needs --watts, what a device draws")
    return watts if watts is not None else drawn(of.plan)[1]


def _have(known: Known, candidates: Candidates) -> np.ndarray:
    """What each run at hand would cost, by the candidate nearest to it."""
    tokens = np.broadcast_to(known.tokens, known.params.shape)
    rates = []
    for n, d in zip(known.params, tokens, strict=True):
        away = np.abs(np.log(candidates.params / n))
        if np.isfinite(d):
            away = away + np.abs(np.log(candidates.tokens / d))
        nearest = int(np.argmin(away))
        ratio = n / candidates.params[nearest]
        ratio *= d / candidates.tokens[nearest] if np.isfinite(d) else 1.0
        rates.append(candidates.alone[nearest] * ratio)
    return np.array(rates)


def _dearest(known: Known, candidates: Candidates) -> float:
    if not len(known.params):
        return float("inf")
    return _DEARER * float(_have(known, candidates).max())


def _affordable(candidates: Candidates, dearest: float) -> Candidates:
    """Those of which one costs at most that. Raises InputError where none does."""
    found = candidates.where(candidates.alone <= dearest * (1 + 1e-9))
    if len(candidates) and not len(found):
        raise InputError(
            f"--max-seconds: no run costs as little as {dearest:.3g} {candidates.unit}; "
            f"the cheapest costs {candidates.alone.min():.3g}"
        )
    return found


def _budget(
    known: Known,
    candidates: Candidates,
    of: Family | None,
    asked: Asked,
) -> float:
    """In the candidates' own unit."""
    if len(known.params):
        return max(_SHARE * float(_have(known, candidates).sum()), float(candidates.alone.min()))
    shares = Prices(of.plan, asked.there.seen).shares
    return sum(shares[cell.run_id] for cell in of.cells)


def _name(asked: Asked, of: Family) -> str:
    """A name that no study of the store has."""
    base = of.plan.study.name.split("-next")[0]
    folder = asked.source / "studies"
    count = 1
    while (folder / f"{base}-next{count}.toml").exists():
        count += 1
    return f"{base}-next{count}"


def study_text(of: Family, left: Candidates, made: next_runs.Proposal, name: str) -> str:
    from sweeps.study.overrides import to_toml

    chosen = [left.cells[index] for index in made.indices]
    return f"# {headline(made)}\n{to_toml(chosen_study(of, name, chosen))}"
