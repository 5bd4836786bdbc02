"""The abilities of a study in words and in one table: verdicts, thresholds, and what the design can tell."""

from __future__ import annotations

from analysis.plots.ability import label, verdict_words, words
from analysis.plots.panel import elbow_of
from analysis.plots.style import FORMATS, plain
from analysis.report.html import Markup, items, number, span, table, text
from analysis.report.study import Study
from analysis.thresholds.result import VERDICTS

FEW_TASKS = 4  # up to so many abilities are read one by one; more are looked up in a table and on a sheet


def body(study: Study) -> str:
    """What the card of the abilities holds, as HTML."""
    if not study.thresholds:
        return items(study.refusals.items())
    tasks = by_task(study)
    rows = []
    for series in tasks.values():
        first = headline(series)
        plainly, tested = evidence(first, series)
        rows.append(
            f"<li>{chip(first)}<div><b>{text(first.task)}</b> {text(plainly)}"
            f'<span class="tested">{text(tested)}</span></div></li>'
        )
    said = f'<ul class="verdicts">{"".join(rows)}</ul>'
    title = "How this was computed: all metrics, p-values, noise"
    full = f"<details><summary>{title}</summary>{verdicts(tasks)}</details>"
    if len(tasks) > FEW_TASKS:
        # Of many, people look for a task in a table before they read of it.
        said = f"<details><summary>What each verdict rests on</summary>{said}</details>"
        out = short_verdicts(tasks) + said + full
    else:
        out = said + full
    out += over_plane(study)
    if study.refusals:
        out += (
            f'<p class="fine">{text("; ".join(f"{key}: {why}" for key, why in study.refusals.items()))}</p>'
        )
    return out


def short_verdicts(tasks: dict[str, list]) -> str:
    """Task, verdict and elbow: what is looked up first."""
    rows = [
        (Markup(f"<b>{text(name)}</b>"), Markup(chip(first)), label(first.metric), _at(first))
        for name, series in tasks.items()
        for first in [headline(series)]
    ]
    header = (
        ("task", ""),
        ("verdict", ""),
        ("judged by", ""),
        ("appears at", "the elbow, with its interval"),
    )
    return f'<div class="tasks">{table(header, rows, "Verdicts by task", True)}</div>'


def chip(one) -> str:
    """The verdict, coloured."""
    return f'<span class="chip v-{text(one.verdict)}">{text(verdict_words(one))}</span>'


def verdicts(tasks: dict[str, list]) -> str:
    """One table of all tasks and metrics along the headline's axis, with the elbow in loss beside it."""
    rows, classes = [], []
    for series in tasks.values():
        first = headline(series)
        own = [one for one in series if one.axis == first.axis]
        for one in sorted(own, key=lambda one: one is not first):
            loss = [x for x in series if x.axis == "loss_nats" and x.metric == one.metric and x is not one]
            task = (
                f"<b>{text(one.task)}</b>" if one is first else f'<span class="again">{text(one.task)}</span>'
            )
            rows.append(
                (
                    Markup(task),
                    _short(one.metric),
                    Markup(chip(one)),
                    words(one.leading or "–"),
                    _at(one),
                    number(elbow_of(loss[0]).value, 3) if loss else "–",
                    "–" if one.p_value is None else _p(one.p_value).removeprefix("= "),
                    "–" if one.q_value is None else _p(one.q_value).removeprefix("= "),
                    f"{len(one.sizes)} × {one.seeds}",
                    _seed_sd(one.seed_sd),
                    _card_of(one.calibration),
                )
            )
            classes.append("" if one is first else "second")
    header = (
        ("task", ""),
        ("metric", ""),
        ("verdict", ""),
        ("best shape", "the best-supported shape, whatever the verdict"),
        ("elbow", "where the slope changes, with its 95% interval"),
        ("in loss", "the elbow on the axis of the validation loss, nats a token"),
        ("p", "of a break, against the best smooth curve with the noise of the seeds"),
        ("q", "p corrected for the number of tasks (false discovery rate)"),
        ("seeds", "sizes × seeds a size"),
        (
            "seed sd",
            "between seeds, in logits (in log nats for nats); where it is not of this row, from where",
        ),
        (
            "false · power · elbow",
            "false positives at a nominal 5%, power for a strong break, and the factor within which its "
            "elbow is found: simulated on the very sizes, seeds and items of the row",
        ),
    )
    return f'<div class="tasks">{table(header, rows, "Verdicts by task and metric", True, classes)}</div>'


def _at(one) -> str:
    elbow = elbow_of(one)
    if elbow.value is None:
        return "–"
    show = FORMATS.get(one.axis, plain)
    ends = "" if elbow.interval is None else f" <small>({text(span(*elbow.interval, show))})</small>"
    return Markup(text(show(elbow.value)) + ends)


def _card_of(card) -> str:
    if card is None:
        return "–"
    factor = "" if card.elbow_factor is None else f" · ×{card.elbow_factor:.2g}"
    return f"{card.false_positive_rate:.1%} · {card.power:.0%}{factor}"


def _short(metric: str) -> str:
    return "nats" if metric == "gold_nats" else label(metric)


def _seed_sd(sd) -> str:
    if sd.value is None:
        return "–"
    return f"{sd.value:.2g}" + ("" if sd.source == "estimated" else f" {sd.source}")


def over_plane(study: Study) -> str:
    """Loss collapse and frontiers, where sizes have several token budgets."""
    rows = []
    for told, line in study.planes:
        said = f"loss {words(told.verdict)}: {told.text}. Frontier: {line.text}."
        rows.append(f"<li><div><b>{text(told.task)}</b> {text(said)}</div></li>")
    if not rows:
        return ""
    return f'<h4>Over parameters and tokens</h4><ul class="plain">{"".join(rows)}</ul>'


def by_task(study: Study) -> dict[str, list]:
    """Series of each task; abilities that appear come first."""
    tasks: dict[str, list] = {}
    for one in study.thresholds:
        tasks.setdefault(one.task, []).append(one)
    return dict(sorted(tasks.items(), key=lambda item: VERDICTS.index(headline(item[1]).verdict)))


def headline(series: list):
    """The series whose verdict stands for the task: exact match against size, or what is nearest to it."""
    return min(series, key=lambda one: (one.axis != "params", one.metric != "exact_match"))


def evidence(first, series: list) -> tuple[str, str]:
    """What was seen, and what was tested, plain text."""
    said = "No cell can be used." if not first.x.size else _rise(first, series)
    tested = ""
    if first.p_value is not None:
        kind = "rejects" if first.p_value <= 0.05 else "does not reject"
        tested += f"By itself this metric {kind} a smooth curve (p {_p(first.p_value)})."
    others = [one for one in series if one is not first and one.axis == first.axis]
    if others:
        listed = ", ".join(f"{label(one.metric)} {words(one.verdict)}" for one in others)
        tested += f" By other metrics: {listed}."
    return said, (tested + "".join(f" Note: {note.text}." for note in first.warnings[:2])).strip()


def _rise(first, series: list) -> str:
    show = FORMATS.get(first.axis, plain)
    low, high = _score_ends(first)
    said = f"{label(first.metric)} goes from {number(low, 2)} at the smallest size to {number(high, 2)}"
    said += f" at the largest ({len(first.sizes)} sizes × {first.seeds} seeds"
    said += ")" if first.chance is None else f"; chance is {_chance(first.chance)})"
    elbow = elbow_of(first)
    if elbow.value is not None:
        unit = {"params": "parameters", "loss_nats": "nats of loss"}.get(first.axis, first.axis)
        where = "" if elbow.interval is None else f" ({span(*elbow.interval, show)})"
        said += f", with an elbow at {show(elbow.value)}{where} {unit}"
    loss = next((one for one in series if one.axis == "loss_nats" and one.metric == first.metric), None)
    if loss is not None and loss.thresholds.elbow.value is not None and loss.verdict == "emergent":
        said += f", in loss at {number(loss.thresholds.elbow.value, 3)} nats"
    return said + "."


def _chance(value: float) -> str:
    return "below 0.0001" if value < 1e-4 else number(value, 2)


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.2g}"


def _score_ends(one) -> tuple[float, float]:
    if not one.x.size:
        return float("nan"), float("nan")
    sizes = one.sizes
    ends = sizes[[0, -1]] if one.axis != "loss_nats" else sizes[[-1, 0]]
    return tuple(float(one.score[one.x == end].mean()) for end in ends)
