"""The whole way from a table to verdicts; `analysis.thresholds.detect` calls this."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from analysis.errors import InputError
from analysis.notes import Note
from analysis.thresholds import calibration, family, findings, metric_effect, outliers, scores, verdict
from analysis.thresholds.findings import BENT, SMOOTH, Findings
from analysis.thresholds.result import Calibration, Gates, Places, SeedSd, Series, Threshold, Thresholds
from analysis.thresholds.scores import Cells

_WORTH_SHARING = 4  # series: of fewer, the start of another process takes what it saves


@dataclass(frozen=True)
class _Ruling:
    verdict: str
    notes: tuple[Note, ...]
    q_value: float | None
    broken: bool | None = None
    share: float | None = None
    breaks_in: str | None = None


def run(
    abilities, axis, seed_sd, alpha, draws, seed, calibrate, chance=None, progress=None, second=None
) -> Thresholds:
    """See `analysis.thresholds.detect`. chance: level by task; progress: called with one line a series;
    second: an `analysis.second_process.Second` that takes part of them."""
    problems = []
    if not 0 < alpha < 1:
        problems.append(f"alpha {alpha!r} is not between 0 and 1")
    if draws < 99:
        problems.append(f"draws {draws!r}: at least 99, for a p-value of 0.01")
    if seed_sd is not None and not (np.isfinite(seed_sd) and seed_sd >= 0):
        problems.append(f"seed_sd {seed_sd!r}: a standard deviation in logits, 0 or more")
    if problems:
        raise InputError(*problems)
    whole = scores.build(_frame(abilities), axis, chance)
    whole = findings.spread_zero_faults([findings.check_gates(one, whole) for one in whole])
    built = [outliers.set_aside(one) for one in whole]
    noises = _noises(built, seed_sd)
    names = [f"{one.task}/{one.metric}" for one in built]
    found = _shared(
        second,
        progress,
        names,
        [
            (_unfit, one, sd, freedom)
            if one.faults
            else (findings.study, one, sd, freedom, alpha, draws, np.random.default_rng([seed, number]))
            for number, (one, (sd, freedom, _)) in enumerate(zip(built, noises, strict=True))
        ],
    )
    found, level = _in_family(found, alpha, draws, seed)
    rulings = _rule(found, alpha)
    cards = _shared(
        second,
        progress,
        [f"power of {name}" for name in names],
        [
            (calibration.measure, one.design, one.evidence, level, np.random.default_rng([seed, number, 1]))
            if one.evidence is not None
            and (calibrate if isinstance(calibrate, bool) else one.cells.metric in calibrate)
            else None
            for number, one in enumerate(found)
        ],
    )
    series = [
        _series(one, whole[number], ruling, _places(one, ruling.verdict), said, cards[number])
        for number, (one, ruling, (_, _, said)) in enumerate(zip(found, rulings, noises, strict=True))
    ]
    listed = sorted(range(len(series)), key=lambda number: built[number].first)
    return Thresholds(tuple(series[number] for number in listed), axis, alpha)


def _unfit(cells: Cells, sd: SeedSd, freedom: int) -> Findings:
    """Of a series whose data did not pass the gates."""
    return Findings(cells, *findings.design_of(cells, None)[:2], sd, freedom)


def _shared(second, progress, names: list[str], jobs: list[tuple | None]) -> list:
    """What each job (a function and its arguments) gives, None where there is none. Each has random numbers
    of its own, so that it does not matter where it is computed."""
    count = sum(job is not None for job in jobs)
    later = partial if second is None or count < _WORTH_SHARING else second.call
    waits = [None if job is None else later(*job) for job in jobs]
    made: dict[int, object] = {}
    # The last first: what the other process has not begun is computed here.
    for number in reversed(range(len(jobs))):
        if (wait := waits[number]) is not None:
            if progress is not None:
                progress(f"{len(made) + 1}/{count} {names[number]}")
            made[number] = wait()
    return [made.get(number) for number in range(len(jobs))]


def _frame(abilities):
    """The long table as a DataFrame; a run that two studies share counts once."""
    frame = abilities
    if hasattr(abilities, "abilities"):
        own = abilities.abilities
        frame = own if len(own) or getattr(abilities, "store", False) else abilities.frame
    keys = [name for name in ("run_id", "task", "metric", "cluster") if name in frame]
    if "run_id" in keys and frame["run_id"].notna().all():
        frame = frame[~frame.duplicated(keys)]
    if "status" in frame:
        frame = frame[frame["status"].isna() | (frame["status"] == "ok")]
    return frame


def _noises(built: list[Cells], given: float | None) -> list[tuple[SeedSd, int, tuple[Note, ...]]]:
    """The seed sd of each series: its own, else the given one, else that of the other tasks."""
    own = [findings.own_seed_sd(one) if not one.faults else (None, 0) for one in built]
    out = []
    for one, (value, freedom) in zip(built, own, strict=True):
        if value is not None:
            out.append((SeedSd(value, "estimated"), freedom, ()))
            continue
        if given is not None and one.measure.unit == "logits":
            out.append((SeedSd(float(given), "given"), 0, ()))
            continue
        donors = [
            (other.task, sd, df)
            for other, (sd, df) in zip(built, own, strict=True)
            if sd is not None and other.metric == one.metric
        ]
        if donors:
            variance = sum(df * sd**2 for _, sd, df in donors) / sum(df for _, _, df in donors)
            names = ", ".join(sorted({task for task, _, _ in donors}))
            note = Note("seed_sd_pooled", f"the spread between seeds is that of {names}")
            out.append((SeedSd(float(np.sqrt(variance)), "pooled"), 0, (note,)))
        else:
            out.append((SeedSd(None, "unknown"), 0, ()))
    return out


def _q_values(found: list[Findings]) -> list[float | None]:
    return family.q_values([one.cells.task for one in found], [one.p_value for one in found])


def _in_family(found: list[Findings], alpha: float, draws: int, seed: int) -> tuple[list[Findings], float]:
    """The findings with p-values fine enough for as many tasks as there are, and the power at the level at
    which one more of them would be called; that level."""
    tasks = {one.cells.task for one in found if one.p_value is not None}
    q = _q_values(found)
    more = family.draws_for(draws, alpha, len(tasks))
    for i, one in enumerate(found):
        if more > draws and one.p_value is not None and one.p_value <= alpha < q[i]:
            found[i] = findings.sharpen(one, more, np.random.default_rng([seed, i, 3]))
    q = _q_values(found)
    called = {
        one.cells.task for one, value in zip(found, q, strict=True) if value is not None and value <= alpha
    }
    level = family.level_of_one(alpha, len(tasks), len(called))
    for i, one in enumerate(found):
        if q[i] is not None and q[i] > alpha and one.slope_p is not None and one.slope_p <= alpha:
            found[i] = findings.with_power(one, level, np.random.default_rng([seed, i, 4]))
    return found, level


def _rule(found: list[Findings], alpha: float) -> list[_Ruling]:
    """Verdicts of each series by itself, all in one family; then companions."""
    q = _q_values(found)
    first = []
    for one, value in zip(found, q, strict=True):
        word, notes = verdict.decide(one, value, alpha)
        first.append(_Ruling(word, tuple(notes), value, None if one.p_value is None else word == "emergent"))
    return [_with_companion(i, found, first, alpha) for i in range(len(found))]


def _with_companion(i: int, found: list[Findings], first: list[_Ruling], alpha: float) -> _Ruling:
    """The ruling on a thresholded metric in the light of the best continuous one of the same task."""
    one, ruling = found[i], replace(first[i], broken=None)
    if one.cells.measure.rank is not None or one.cells.continuous:
        return first[i]
    others = [
        (other.cells.measure.rank, j)
        for j, other in enumerate(found)
        if other.cells.task == one.cells.task
        and other.cells.measure.rank is not None
        and not other.cells.faults
    ]
    for _, j in sorted(others):
        other = found[j]
        smooth = other.shape(*SMOOTH)
        share = (
            None
            if smooth is None or one.cells.faults
            else metric_effect.explained(one.cells, other.cells, smooth)
        )
        if other.p_value is None:
            notes = verdict.pair(one, other, share)
            return replace(ruling, notes=ruling.notes + tuple(notes), share=share if notes else None)
        word, notes, broken = verdict.combine(
            one, ruling.verdict, other, first[j].verdict, first[j].q_value, share, alpha
        )
        kept = ruling.notes if word == ruling.verdict else ()
        elsewhere = other.cells.metric if broken and word != "emergent" else None
        out = replace(ruling, verdict=word, notes=tuple(notes) + kept, broken=broken, share=share)
        return replace(out, breaks_in=elsewhere)
    return ruling


def _places(found: Findings, word: str) -> Places:
    """The thresholds that mean something under a verdict: an elbow only where a break was called.

    Where no seeds let a break be tested, its place stays as what it is, that of a break if there is one.
    """
    own = found.places
    if word == "emergent" or (word == "undecided" and found.p_value is None):
        return own
    if word in ("smooth", "metric_artifact", "undecided"):
        return replace(own, elbow=Threshold())
    return Places(elbow=Threshold(), half=Threshold(), detectable=own.detectable)


def _series(
    found: Findings,
    whole: Cells,
    ruling: _Ruling,
    places: Places,
    said: tuple[Note, ...],
    card: Calibration | None,
) -> Series:
    """whole: the cells with those that were set aside, which are shown but not fitted."""
    one = found.cells
    notes = one.faults + ruling.notes + one.notes + said
    if found.below_chance:
        notes += (Note("below_chance", "scores lie below the chance level, which is then no floor"),)
    grid = np.zeros(0)
    leading, smooth = found.shape(), found.shape(*SMOOTH)
    if ruling.verdict == "emergent" and found.shape(*BENT) is not None:
        leading = found.shape(*BENT)  # the break was tested against every smooth curve, not ranked among them
    if leading is not None:
        notes += verdict.direction(found, leading)
        grid = np.linspace(one.x[0], one.x[-1], 160)
    return Series(
        task=one.task,
        metric=one.metric,
        axis=one.axis,
        verdict=ruling.verdict,
        leading=None if leading is None else leading.name,
        seed_sd=found.seed_sd,
        p_value=found.p_value,
        q_value=ruling.q_value,
        thresholds=places,
        models=found.weights,
        calibration=card,
        gates=Gates(
            valid=not one.faults,
            above_chance=bool(found.beats_chance[-1]) if found.beats_chance.size else None,
            continuous_break=ruling.broken,
            metric_explains=ruling.share,
        ),
        warnings=notes,
        chance=one.chance,
        x=whole.place[whole.size],
        score=whole.score,
        seed=whole.seed,
        items=whole.raw_items,
        grid=(-grid if one.axis == "loss_nats" else 10.0**grid) if grid.size else grid,
        leading_curve=found.curve(leading, grid) if grid.size else grid,
        smooth_curve=found.curve(smooth, grid) if grid.size and smooth is not None else np.zeros(0),
        breaks_in=ruling.breaks_in,
    )
