"""`lab thresholds`: verdicts on a study folder or on any long table of ability scores."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from analysis.errors import InputError
from analysis.thresholds.result import Series, Thresholds, short

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
    """Chance level of a task, as --chance task=0.25; once for each task."""
    seed_sd: float | None = None
    """Standard deviation between seeds in logits, for tables with one seed a size."""
    alpha: float = 0.05
    """Level of a call; of the false discovery rate over tasks."""
    draws: int = 500
    """Most tables simulated under the smooth curve, per series."""
    calibrate: bool = False
    """Measure false positives and power on this table's own sizes, seeds and items."""
    seed: int = 0
    """Of the simulations."""
    json: bool = False
    """Print one JSON object and nothing else."""


def thresholds(argv: list[str]) -> int:
    """Serve the verb. Returns 0; raises InputError for a table or an option that cannot be used."""
    options = tyro.cli(Options, args=argv, prog="lab thresholds", description=__doc__)
    levels = _levels(options.chance)
    frame = _read(options.table, options.columns)
    from analysis.thresholds.detector import run

    try:
        found = run(
            frame,
            options.axis,
            options.seed_sd,
            options.alpha,
            options.draws,
            options.seed,
            options.calibrate,
            chance=levels,
            progress=_progress if sys.stderr.isatty() else None,
        )
    except InputError as error:
        raise InputError(*(f"{options.table}: {problem}" for problem in error.problems)) from None
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    print(json.dumps(found.to_dict(), allow_nan=False) if options.json else render(found))
    return 0


def _progress(line: str) -> None:
    print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)


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


def _read(path: str, mapping: str):
    """The long ability table of a store or a file as a DataFrame, with its columns under our names."""
    from analysis.columns import nearest, parse_map
    from analysis.table import read

    wanted = parse_map(mapping)
    known = (*_SIZE_ROLES, "loss_nats", *_ROLES)
    problems = [f"--columns: no role {name!r}{nearest(name, known)}" for name in wanted if name not in known]
    if problems:
        raise InputError(*problems)
    sizes = {role: column for role, column in wanted.items() if role in _SIZE_ROLES}
    runs = read(path, sizes or None)
    if runs.store:
        return runs.abilities
    frame = runs.frame
    for role, column in wanted.items():
        if role in _SIZE_ROLES:
            continue
        if column not in frame:
            problems.append(f"{path}: no column {column!r} for {role}{nearest(column, frame.columns)}")
        else:
            frame[role] = frame[column]
    if problems:
        raise InputError(*problems)
    if "loss_nats" not in frame and "loss" in frame:
        frame["loss_nats"] = frame["loss"]
    return frame


def render(found: Thresholds) -> str:
    """Verdicts as text: a line for each series, its thresholds, and what must be said with it."""
    lines = []
    for one in found.series:
        lines.append(f"{one.task} / {one.metric}: {one.verdict.upper()}{_evidence(one)}")
        for name, place in vars(one.thresholds).items():
            if place.value is not None:
                ends = (
                    "" if place.interval is None else f"  [{place.interval[0]:.3g}, {place.interval[1]:.3g}]"
                )
                lines.append(f"    {name:<10} {place.value:.3g} {one.axis}{ends}")
        if one.calibration is not None:
            card = one.calibration
            lines.append(
                f"    this design: false positives {card.false_positive_rate:.1%}, power for a strong break "
                f"{card.power:.0%} ({card.draws} simulated tables each)"
            )
        lines += [f"    {note.text}" for note in one.warnings]
    return "\n".join(lines)


def _evidence(one: Series) -> str:
    parts = []
    if one.leading is not None:
        parts.append(f"leading {one.leading} ({dict(one.models)[one.leading]:.0%})")
    if one.p_value is not None:
        parts.append(f"p {short(one.p_value)}")
        parts.append(f"q {short(one.q_value)}")
    if one.seed_sd.value is not None:
        parts.append(f"seed sd {one.seed_sd.value:.2g} {one.seed_sd.source}")
    if one.gates.metric_explains is not None:
        parts.append(f"metric explains {one.gates.metric_explains:.0%}")
    return f"  ({', '.join(parts)})" if parts else ""
