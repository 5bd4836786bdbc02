"""`lab thresholds`: verdicts on a study folder or on any long table of ability scores."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from analysis.errors import InputError
from analysis.notes import Note
from analysis.tables.limits import LIMITS, ReadLimits
from analysis.text import line_again, rows_text
from analysis.verbs.options import Look, Reading, line_of_python

_SIZE_ROLES = ("params", "tokens", "flops", "loss")
_ROLES = ("task", "metric", "score", "correct", "items", "seed", "chance", "stderr", "cluster", "parse_rate")


@dataclass(frozen=True)
class Options:
    table: tyro.conf.Positional[str]
    """Study folder, or a CSV, TSV, Parquet or JSON file with columns task, metric, params (or tokens, flops,
    loss_nats), score or correct and items; optional seed, chance, stderr, cluster."""
    axis: Literal["params", "tokens", "flops", "loss_nats"] = "params"
    """What a threshold is a threshold in."""
    columns: str = ""
    """Names of a foreign table, as task=benchmark,score=acc,params=N."""
    chance: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Chance level of a task, as --chance task=0.25; once for each task. known: that of benchmarks whose
    level is known, where nothing else says it."""
    seed_sd: float | None = None
    """Standard deviation between seeds in logits, for tables with one seed a size."""
    alpha: float = 0.05
    """Level of a call; of the false discovery rate over tasks."""
    draws: int = 500
    """Tables simulated under the smooth curve, per series at most; more where one break among many tasks
    can only be called by a smaller p."""
    calibrate: bool = True
    """Measure false positives, power and the elbow's error on this table's own sizes, seeds and items."""
    grid: bool = True
    """Where sizes have several token budgets: does one loss collapse them, and the frontier in tokens."""
    forecast: bool = False
    """Forecast exact match from the sizes where it is at chance, and score it on the others."""
    seed: int = 0
    """Of the simulations."""
    tasks: str = ""
    """Of a wide table, a column a task: the columns that are tasks (else those of known benchmarks)."""
    out: Path | None = None
    """A folder: draw each task's figure there, as SVG, PDF, PNG and CSV."""
    style: Look = "page"
    """Of those figures; paper is one column of 3.35 inches (two for figures of many panels)."""
    limits: Reading = LIMITS
    json: bool = False
    """Print one JSON object and nothing else."""


def thresholds(argv: list[str]) -> int:
    """Serve the verb. Returns 0; raises InputError for a table or an option that cannot be used."""
    options = tyro.cli(Options, args=argv, prog="lab thresholds", description=__doc__)
    levels = _levels(tuple(part for part in options.chance if part != "known"))
    frame, runs, said = _read(options.table, options.columns, options.limits, options.tasks)
    # A table without tasks is refused below, with what to do.
    if "known" in options.chance and "task" in frame:
        levels, more = _known(frame, levels)
        said += more
    from analysis.second_process import Second
    from analysis.tables.answers import answer_lengths
    from analysis.thresholds.forecasting import foresee
    from analysis.thresholds.kept import detected, detected_over_plane
    from analysis.thresholds.show import render, render_forecast, render_plane

    progress = _progress if sys.stderr.isatty() else None
    try:
        with Second() as second:
            found = detected(
                runs,
                frame,
                options.axis,
                options.seed_sd,
                options.alpha,
                options.draws,
                options.seed,
                options.calibrate,
                levels,
                progress,
                second,
            )
        pairs = []
        if options.grid:
            pairs = detected_over_plane(
                runs,
                frame,
                options.alpha,
                min(options.draws, 199),
                options.seed,
                options.seed_sd,
                levels,
                progress=progress,
            )
        collapses, frontiers = [told for told, _ in pairs], [line for _, line in pairs]
        forecasts = None
        if options.forecast:
            lengths = answer_lengths(runs, set(frame["task"]))
            forecasts = foresee(frame, options.axis, levels, lengths, options.seed)
    except InputError as error:
        raise InputError(*(f"{options.table}: {problem}" for problem in error.problems)) from None
    if progress is not None:
        line_again(sys.stderr)
    files = [] if options.out is None else _draw(found, options.out, options.style)
    if options.json:
        out = found.to_dict()
        out["notes"] = [note.to_dict() for note in said]
        out["files"] = files
        if files:
            out["python"] = line_of_python("thresholds", "thresholds", argv)
        out["collapse"] = [one.to_dict() for one in collapses]
        out["frontier"] = [one.to_dict() for one in frontiers]
        out["forecast"] = None if forecasts is None else [one.to_dict() for one in forecasts]
        print(json.dumps(out, allow_nan=False))
        return 0
    for note in said:
        print(f"  note      {note.text}")
    print(render(found))
    if collapses:
        print(render_plane(collapses, frontiers))
    if forecasts is not None:
        print(render_forecast(forecasts))
    if files:
        print("\n".join([*files, f"  in Python: {line_of_python('thresholds', 'thresholds', argv)}"]))
    return 0


def _known(frame, levels: dict[str, float]) -> tuple[dict[str, float], list[Note]]:
    """Levels of known benchmarks for tasks that have none, and what is taken."""
    from analysis.tables.benchmarks import known_levels

    bare = frame["task"] if "chance" not in frame else frame["task"][frame["chance"].isna()]
    found = {task: one for task, one in known_levels(sorted(set(bare))).items() if task not in levels}
    if not found:
        return levels, [
            Note("chance_unknown", "--chance known: no task without a level is a known benchmark")
        ]
    said = "; ".join(f"{task} {one.chance:.3g} ({one.said}, {one.source})" for task, one in found.items())
    text = f"levels of guessing taken from known benchmarks: {said}"
    return levels | {task: one.chance for task, one in found.items()}, [Note("chance_known", text)]


def _draw(found, folder: Path, style: str) -> list[str]:
    """Files of the figures: a task each, and a sheet of all where they are many."""
    from analysis import plots
    from analysis.plots.style import styled

    tasks: dict[str, list] = {}
    for one in found.series:
        if one.x.size:
            tasks.setdefault(one.task, []).append(one)
    with styled(style):
        figures = [plots.ability(series) for series in tasks.values()]
        if len(tasks) > 4:
            figures.insert(0, plots.abilities(tasks))
    return [str(path) for figure in figures for path in plots.save(figure, folder)]


def _progress(line: str) -> None:
    line_again(sys.stderr, line)


def _levels(given: tuple[str, ...]) -> dict[str, float]:
    levels, problems = {}, []
    for part in given:
        task, separator, level = part.rpartition("=")
        try:
            levels[task] = float(level)
        except ValueError:
            separator = ""
        if not separator or not task:
            problems.append(f"--chance {part!r} is not task=level, as in arithmetic=0.25")
    if problems:
        raise InputError(*problems)
    return levels


def _read(path: str, mapping: str, limits: ReadLimits, tasks: str = ""):
    """The long ability table of a store or a file as a DataFrame, with its columns under our names; the runs
    it comes from; and what was left out or guessed."""
    from analysis.tables.benchmarks import NOT_MEASURED, melted
    from analysis.tables.columns import nearest, parse_map
    from analysis.tables.formulas import FormulaError, evaluate
    from analysis.tables.table import read

    wanted = parse_map(mapping)
    known = (*_SIZE_ROLES, "loss_nats", *_ROLES)
    problems = [f"--columns: no role {name!r}{nearest(name, known)}" for name in wanted if name not in known]
    if problems:
        raise InputError(*problems)
    sizes = {role: column for role, column in wanted.items() if role in _SIZE_ROLES}
    runs = read(path, sizes or None, limits)
    if runs.store:
        return runs.abilities, runs, []
    said = [note for note in runs.notes if note.code not in ("column_alias", "flops_6nd")]
    if wanted.get("task") is None and (wide := _wide(melted, runs, tasks)) is not None:
        import pandas

        frame, more = pandas.DataFrame(wide[0]), wide[1]
        said += more
    else:
        frame = runs.frame
    for role, column in wanted.items():
        if role in _SIZE_ROLES:
            continue
        if column in frame:
            frame[role] = frame[column]
            continue
        try:
            frame[role] = evaluate(column, {str(name): frame[name].to_numpy() for name in frame})
        except FormulaError as error:
            what = f"no column {error.unknown!r} for {role}" if error.unknown else f"{role}={column}: {error}"
            problems.append(f"{path}: {what}{nearest(error.unknown, frame.columns) if error.unknown else ''}")
    if problems:
        raise InputError(*problems)
    if "loss_nats" not in frame and "loss" in frame:
        frame["loss_nats"] = frame["loss"]
    if "status" in frame:
        good = frame["status"].isna() | (frame["status"] == "ok")
        if not good.all():
            text = f"{(~good).sum()} rows have a status other than ok and are left out"
            said.append(Note("not_finished", f"{text}: {rows_text(frame.index[~good].tolist())}"))
        frame = frame[good]
    if "score" in frame and frame["score"].dtype.kind in "fiu":
        coded = frame["score"].isin(NOT_MEASURED)
        if coded.any():
            text = f"{coded.sum()} scores are a code for not measured (such as -100) and left out"
            said.append(Note("not_measured", f"{text}: {rows_text(frame.index[coded].tolist())}"))
        frame = frame[~coded]
    return frame, runs, said


def _wide(melted, runs, tasks: str):
    """The table with a row a score, where it has a column a task."""
    names = tuple(filter(None, (name.strip() for name in tasks.split(","))))
    return melted(runs.columns, names)
