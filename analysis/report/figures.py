"""Which figures a study has, drawn with one set of colours."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from analysis import plots
from analysis.audits.audit import audit
from analysis.errors import InputError
from analysis.plots import Plot
from analysis.plots.ability import run_key
from analysis.plots.style import STYLES, styled
from analysis.rates import by_grid
from analysis.report.abilities import FEW_TASKS, by_task
from analysis.report.study import Group, Study, finished, gather
from analysis.tables.answers import by_factors
from analysis.tables.columns import nearest
from analysis.tables.table import Runs
from analysis.universes.multiverse import multiverse

# In the order of the page; `lab plot` takes these names.
KINDS = (
    "loss_compute",
    "law_contour",
    "holdout",
    "isoflop",
    "frontier",
    "transfer",
    "abilities",
    "threshold",
    "needle",
    "ability",
    "cost",
    "sobriety",
    "compression",
    "association",
)
# These take fits of their own, so that `lab plot` draws them when they are named.
TESTED = ("abilities", "ability", "threshold")  # which need verdicts
ASKED = ("deviation", "demand", "rollout", "multiverse")


def figure(source: str | Path | Runs, name: str, style: str = "page") -> Plot:
    """One figure of a store or a table by its name, as `lab plot` draws it: the `Plot`, which has a `save`.

    name: a kind, as `frontier`, or what the file is called where there are several, as `ability_copy`.
    style: page, paper, slides or notebook. Raises InputError for what there is none of.
    """
    if style not in STYLES:
        raise InputError(f"style: no {style!r}{nearest(style, STYLES)}; there are {', '.join(STYLES)}")
    kind = next((one for one in sorted((*KINDS, *ASKED), key=len, reverse=True) if name.startswith(one)), "")
    if not kind:
        raise InputError(f"no figure {name!r}{nearest(name, (*KINDS, *ASKED))}")
    study = gather(source, abilities=kind in TESTED)
    with styled(style):
        found = distinct([draw() for one, draw in drawings(study, (kind,)) if one == kind])
    named = [plot for plot in found if plot.name == name] or (found if name == kind else [])
    if not named:
        there = ", ".join(plot.name for plot in found) or "none of this kind"
        raise InputError(f"{study.path}: no figure {name!r}; there is {there}")
    return named[0]


def drawings(study: Study, asked: Collection[str] = ()) -> Iterator[tuple[str, Callable[[], Plot]]]:
    """(kind, function that draws it) for every figure that the study has the data for, and those `asked`."""
    params = [np.asarray(group.runs.columns["params"], float) for group in study.groups]
    laws = [group for group in study.groups if group.fit is not None]
    shown = laws or [group for group in study.groups if finished(group.runs).any()][:1]
    for group in shown:
        suffix = "" if len(shown) == 1 or not group.name else _slug(group.name)
        colours = plots.palette(group.runs.columns["params"])
        for kind, draw in [*_of_group(group, colours), *_asked(group, asked)]:
            yield kind, lambda draw=draw, suffix=suffix, name=group.name: _named(draw(), suffix, name)
    if rates := by_grid(study.runs):
        yield "transfer", lambda: plots.transfer(rates)
    tasks = {name: series for name, series in by_task(study).items() if any(one.x.size for one in series)}
    if len(tasks) > FEW_TASKS:
        yield "abilities", lambda: plots.abilities(tasks)
    for _, line in study.planes:
        if line.kind != "none":
            yield "threshold", lambda line=line: plots.threshold(line)
    yield from _needles(study)
    for series in tasks.values():
        ids = _ids_of(study, series[0].task)
        yield "ability", lambda series=series, ids=ids: plots.ability(series, ids=ids)
    if "device_seconds" in study.runs.columns and finished(study.runs).any():
        yield "cost", lambda: plots.cost(study.runs, plots.palette(np.concatenate(params)))
    if study.sobriety is not None:
        yield "sobriety", lambda: plots.sobriety(study.sobriety)
    for one in study.associations:
        yield "association", lambda one=one: plots.association(one)
    if study.compressed is not None:
        yield "compression", lambda: plots.compression(study.compressed)


def _ids_of(study: Study, task: str) -> dict[tuple, str]:
    """The runs of a task's scores, by what a series tells of a cell."""
    found = {}
    for row in study.runs.ability_rows:
        if row.get("task") == task and row.get("run_id"):
            for axis in ("params", "tokens", "flops", "loss_nats"):
                if isinstance(row.get(axis), int | float) and isinstance(row.get("score"), int | float):
                    key = run_key(str(row.get("metric")), axis, row.get("seed"), row[axis], row["score"])
                    found[key] = str(row["run_id"])
    return found


def _needles(study: Study) -> Iterator[tuple[str, Callable[[], Plot]]]:
    """Maps of the needle tasks whose items are still in the run folders."""
    chance = {
        str(row.get("task")): row.get("chance")
        for row in study.runs.ability_rows
        if row.get("metric") == "exact_match" and str(row.get("task")).startswith("needle")
    }
    for task in sorted(chance):
        answers = by_factors(study.runs, task, ("length", "depth"))
        if len(answers):
            yield "needle", lambda task=task, answers=answers: plots.needle(answers, task, chance[task])


def _of_group(group: Group, colours) -> Iterator[tuple[str, Callable[[], Plot]]]:
    runs, fit, forecast, iso, envelope = (
        group.runs,
        group.fit,
        group.forecast,
        group.isoflop,
        group.envelope,
    )
    ids = [str(name) for name in runs.columns.get("run_id", ())]
    yield (
        "loss_compute",
        lambda: plots.loss_compute(runs, fit, plots.learning_curves(runs), envelope, colours),
    )
    if fit is not None:
        yield "law_contour", lambda: plots.law_contour(fit, forecast, colours, ids=ids)
    if forecast is not None:
        yield "holdout", lambda: plots.holdout(forecast, colours, ids)
    if iso is not None and iso.curves:
        yield "isoflop", lambda: plots.isoflop_curves(iso, colours, runs.store)
    split = fit is not None and fit.exponents is not None
    minima = iso is not None and any(curve.minimum is not None for curve in iso.curves)
    if split or minima:
        yield "frontier", lambda: plots.frontier(fit, iso, envelope)


def _asked(group: Group, asked: Collection[str]) -> Iterator[tuple[str, Callable[[], Plot]]]:
    fit, runs = group.fit, group.runs
    if fit is None:
        return
    if "deviation" in asked and group.allocation is not None:
        yield "deviation", lambda: plots.deviation(fit, group.allocation.flops)
    if "demand" in asked and group.allocation is not None:
        yield "demand", lambda: plots.demand(fit, group.allocation.params)
    if "rollout" in asked:
        yield "rollout", lambda: plots.rollouts(audit(runs, (fit.law,), bootstrap=0))
    if "multiverse" in asked:
        yield "multiverse", lambda: plots.specification(multiverse(runs))


def _named(plot: Plot, suffix: str, name: str) -> Plot:
    if not suffix:
        return plot
    return replace(plot, name=f"{plot.name}_{suffix}", title=f"{plot.title}: {name}")


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "runs"


def distinct(figures: list[Plot]) -> list[Plot]:
    """File names that differ, also where two tasks differ only in punctuation."""
    seen: dict[str, int] = {}
    out = []
    for plot in figures:
        seen[plot.name] = seen.get(plot.name, 0) + 1
        number = seen[plot.name]
        out.append(plot if number == 1 else replace(plot, name=f"{plot.name}-{number}"))
    return out
