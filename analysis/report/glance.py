"""The first screen: what a study found, as answers in plain words to the questions people open it with."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from analysis.allocations.optimum import allocate
from analysis.audits.results import Prediction
from analysis.errors import InputError
from analysis.fits.reach import CODES
from analysis.fits.results import Allocation
from analysis.laws.law import tidy_formula
from analysis.plots.ability import verdict_words, words
from analysis.plots.panel import elbow_of
from analysis.plots.style import FORMATS, plain
from analysis.report.abilities import by_task, headline
from analysis.report.findings import formula, totals
from analysis.report.html import Markup, count, duration, number, power, span, text
from analysis.report.study import Group, Study, finished

MORE = 10  # times the compute of the largest run: one step of a ladder further
_NAMED = 6  # tasks of one verdict that are named
_SAID = {
    "emergent": "appears",
    "smooth": "grows smoothly, without a threshold",
    "flat": "does not move over these sizes",
    "inverse": "gets worse with size",
    "u_shaped": "gets worse, then better",
    "seed_bimodal": "is learned by some seeds and not by others",
    "metric_artifact": "jumps by its metric alone, and grows smoothly underneath",
    "floor_limited": "is still at chance",
    "invalid": "cannot be judged",
    "undecided": "cannot be told yet",
}


@dataclass(frozen=True)
class Further:
    """The best use of `MORE` times the compute, and the loss that a run of it should have."""

    best: Allocation
    loss: float
    low: float | None
    high: float | None
    level: float


def glance(study: Study) -> str:
    """Question and answer, as an HTML list."""
    rows = "".join(
        f"<div><dt>{text(asked)}</dt><dd>{said if isinstance(said, Markup) else text(said)}</dd></div>"
        for asked, said in answers(study)
    )
    return f'<dl class="answers">{rows}</dl>'


def answers(study: Study) -> Iterator[tuple[str, str]]:
    """(question, answer), plain text or `Markup`, of what the study can answer."""
    group = study.law
    if group is not None:
        ahead = further(group)
        yield "The law", _law(group)
        yield "How sure", _sure(group)
        yield "Checked on runs it never saw", _checked(group)
        if ahead is not None:
            yield f"With {MORE} times the compute", _ahead(study, group, ahead)
    else:
        ahead = None
        why = next((group.refusals["law"] for group in study.groups if "law" in group.refusals), "")
        if why and not study.thresholds:
            yield "The law", f"None yet: {why}."
    if study.thresholds:
        yield "Abilities", _abilities(study)
    yield "Cost", _cost(study)
    yield "To run next", _next(study, ahead)


def further(group: Group) -> Further | None:
    """None where the law has no best split, or so far from its runs that it should not be asked."""
    flops = MORE * float(np.nanmax(np.asarray(group.runs.columns["flops"], float)[finished(group.runs)]))
    try:
        best = allocate(group.fit, flops)
    except InputError:
        return None
    if any(note.code == CODES[0] for note in best.warnings):
        return None
    try:
        told: Prediction | None = group.forecast and group.forecast.predict(best.params, best.tokens)
    except InputError:
        told = None
    if told is None or told.low is None:
        low, high = best.intervals.get("loss", (None, None))
        return Further(best, best.loss, low, high, best.level)
    loss, low, high = (float(np.ravel(value)[0]) for value in (told.loss, told.low, told.high))
    return Further(best, loss, low, high, told.level)


def _law(group: Group) -> Markup:
    fit = group.fit
    out = f'<span class="formula">{formula(tidy_formula(fit.law, fit.params))}</span>'
    said = ""
    if {"params", "tokens"} <= set(fit.law.inputs):
        said = "More parameters (N) and more tokens (D) lower the loss (L) ever more slowly"
        said += f", towards {plain(fit.params['E'])}{_unit(group)}." if fit.params.get("E", 0) > 0 else "."
    return Markup(f"{out} {text(said)}" if said else out)


def _unit(group: Group) -> str:
    return " nats a token" if group.runs.store else ""


def _sure(group: Group) -> str:
    fit = group.fit
    size = np.expm1(float(np.median(np.abs(np.asarray(fit.data["residual"], float)))))
    said = f"Half of the {fit.points} fitted runs lie within {size:.1%} of it."
    kept = [name for name in ("alpha", "beta", "alpha_N", "alpha_D", "E") if name in fit.intervals]
    greek = {"alpha": "α", "beta": "β", "alpha_N": "α of N", "alpha_D": "α of D", "E": "the floor"}
    spans = [f"{greek[name]} anything {_from(*fit.intervals[name])}" for name in kept]
    if spans:
        said += f" Other runs of this kind could have given for {', for '.join(spans)} ({fit.level:.0%})."
    if not fit.certificate.converged:
        said += " The fit did not settle: take it as a sketch."
    return said


def _from(low: float, high: float) -> str:
    """An end that the runs do not bound is said so; nobody reads `inf`."""
    show = lambda value: f"{value:.2g}"
    if np.isfinite(low) and np.isfinite(high):
        return f"from {span(low, high, show)}"
    if np.isfinite(low):
        return f"from {show(low)} up, without an upper end"
    return f"up to {show(high)}, without a lower end" if np.isfinite(high) else "at all"


def _checked(group: Group) -> str:
    forecast = group.forecast
    if forecast is None or forecast.score is None:
        why = group.refusals.get("forecast", "no run was held out")
        return f"Not checked: {why}."
    score = forecast.score
    ratio, error = f"{score.compute_ratio:.2g} times the compute", f"{score.mean_abs_error_percent:.2g}%"
    if score.cells == 1:
        said = f"1 run of {ratio} was kept from the fit. Its loss was foretold with an error of {error}"
    else:
        said = f"{score.cells} runs of up to {ratio} were kept from the fit. "
        said += f"Their loss was foretold with an error of {error} on average"
    inside = [cell.inside for cell in forecast.cells if cell.inside is not None]
    if inside:
        said += f"; {sum(inside)} of {len(inside)} lie in the {forecast.level:.0%} interval given"
    return said + "."


def _ahead(study: Study, group: Group, ahead: Further) -> str:
    best = ahead.best
    said = f"Best spent on {count(best.params)} parameters and {count(best.tokens)} tokens, "
    said += f"for a loss of {plain(ahead.loss)}"
    if ahead.low is not None and ahead.high is not None:
        said += f" ({span(ahead.low, ahead.high)}, {ahead.level:.0%})"
    losses = np.asarray(group.runs.columns["loss"], float)[finished(group.runs)]
    said += f"; the best run here has {plain(float(losses.min()))}."
    rate = None if study.costs is None else study.costs.flops_per_s
    if rate:
        said += f" At this study's speed that one run takes about {duration(best.flops / rate)}."
    return said


def _abilities(study: Study) -> str:
    told: dict[str, list[str]] = {}
    for task, series in by_task(study).items():
        first = headline(series)
        kind = "emergent" if first.breaks_in else first.verdict
        said = f"{task} ({verdict_words(first).removeprefix('emergent ')})" if first.breaks_in else task
        elbow = elbow_of(first)
        if kind == "emergent" and elbow.value is not None:
            show = FORMATS.get(first.axis, plain)
            unit = {"params": "parameters", "loss_nats": "nats of loss"}.get(first.axis, first.axis)
            where = "" if elbow.interval is None else f" ({span(*elbow.interval, show)})"
            said += f" at about {show(elbow.value)}{where} {unit}"
        told.setdefault(kind, []).append(said)
    return " ".join(_verdict(kind, tasks) for kind, tasks in told.items())


def _verdict(kind: str, tasks: list[str]) -> str:
    said = _SAID.get(kind, words(kind))
    named = ", ".join(tasks[:_NAMED]) + (f" and {len(tasks) - _NAMED} more" if len(tasks) > _NAMED else "")
    lead = said[:1].upper() + said[1:]
    return f"{lead}: {named}."


def _cost(study: Study) -> str:
    flops, seconds = totals(study)
    said = [f"{power(flops)} FLOPs of training"] if flops > 0 else []
    said += [f"{duration(seconds)} of device time"] if seconds > 0 else []
    found = study.costs
    if found is not None and found.measured is not None:
        said.append(f"{number(found.measured.kwh, 2)} kWh by counters, over {found.coverage:.0%} of the time")
    elif found is not None and found.total.seconds > 0:
        low, middle, high = (number(one.kwh, 2) for one in found.estimate)
        said.append(f"about {middle} kWh ({low} to {high}, estimated: nothing measured it)")
    return ", ".join(said) + "." if said else "Nothing is recorded."


def _next(study: Study, ahead: Further | None) -> Markup:
    """What would teach most: what is missing, what is undecided, what is narrow; then the next rung."""
    where = shlex.quote(str(study.path))
    told: list[tuple[str, str]] = []
    status = study.runs.role("status")
    waiting = 0 if status is None else sum(value in ("unfinished", "failed") for value in status.tolist())
    if waiting:
        toml = next(iter(study.provenance.studies), None)
        file = shlex.quote(str(study.path / "studies" / toml)) if toml else "STUDY.toml"
        runs = "run that is" if waiting == 1 else "runs that are"
        told.append((f"The {waiting} {runs} missing", f"lab run {file} --out {where}"))
    firsts = [headline(series) for series in by_task(study).values()]
    open_ = [one for one in firsts if one.verdict in ("undecided", "floor_limited") and not one.breaks_in]
    if open_:
        names = ", ".join(one.task for one in open_[:3]) + (" and others" if len(open_) > 3 else "")
        more = "larger sizes" if all(one.verdict == "floor_limited" for one in open_) else "seeds or sizes"
        told.append((f"More {more}, to settle {names}".replace("More larger", "Larger"), ""))
    group = study.law
    if group is not None:
        narrow = [name for name in ("params", "tokens") if _factor(group, name) < 10]
        if narrow:
            spans = " and ".join(f"{name} (a factor of {_factor(group, name):.2g})" for name in narrow)
            told.append((f"A wider range of {spans}: that narrows the law most", ""))
    if ahead is not None:
        best = ahead.best
        said = (
            f"One run of {count(best.params)} parameters on {count(best.tokens)} tokens, which tests the law"
        )
        command = f"lab allocate {where} --flops {best.flops:.2g}"
        told.append((said, "" if len(told) > 1 else command))
    if not told:
        told.append(("More sizes and token budgets", ""))
    parts = [
        text(said) + (f": <code>{text(command)}</code>" if command else "") for said, command in told[:3]
    ]
    return Markup("; ".join([parts[0], *(part[:1].lower() + part[1:] for part in parts[1:])]) + ".")


def _factor(group: Group, name: str) -> float:
    values = np.asarray(group.fit.data.get(name, [1.0, np.inf]), float)
    return float(values.max() / values.min())
