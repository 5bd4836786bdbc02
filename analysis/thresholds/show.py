"""The text of `lab thresholds`."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.thresholds.collapse import Collapse
from analysis.thresholds.forecasting import Foresight
from analysis.thresholds.frontier import Frontier
from analysis.thresholds.result import Calibration, Series, Threshold, Thresholds, short


def render(found: Thresholds) -> str:
    """A block for each series: its verdict, its thresholds, and what must be said with it."""
    lines = []
    for one in found.series:
        elsewhere = f", EMERGENT IN {one.breaks_in.upper()}" if one.breaks_in else ""
        lines.append(f"{one.task} / {one.metric}: {one.verdict.upper()}{elsewhere}{_evidence(one)}")
        for name, place in vars(one.thresholds).items():
            if place.value is not None:
                doubt = ", if there is one" if name == "elbow" and one.verdict != "emergent" else ""
                lines.append(f"    {name:<10} {_placed(place)} {one.axis}{doubt}")
        if one.calibration is not None:
            lines.append(f"    this design: {card(one.calibration)}")
        lines += [f"    {note.text}" for note in one.warnings]
    return "\n".join([*lines, *_open(found)])


def _open(found: Thresholds) -> list[str]:
    """What to do where the scores do not tell."""
    names = [f"{one.task} / {one.metric}" for one in found.series if one.verdict == "undecided"]
    if not names:
        return []
    which = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return [
        "",
        f"UNDECIDED ({which}): these scores rule out neither a smooth rise nor a break. To settle it, train "
        "more seeds at the sizes where the score changes, or sizes between them; what is short stands under "
        "each verdict.",
    ]


def card(one: Calibration) -> str:
    """A calibration card in a line."""
    said = f"false positives {one.false_positive_rate:.1%}, power for a strong break {one.power:.0%}"
    if one.elbow_factor is not None:
        said += f", its elbow within a factor {one.elbow_factor:.2g}"
    return f"{said} (at a level of {one.level:.2g}, {one.draws} simulated tables each)"


def render_plane(collapses: Sequence[Collapse], frontiers: Sequence[Frontier]) -> str:
    """Loss collapse and frontiers. What no series can tell, for one reason, is said once."""
    if not collapses:
        return ""
    reasons = {one.text for one in collapses}
    if len(reasons) == 1 and all(one.p_size is None for one in collapses):
        return f"\nloss collapse and frontier in params and tokens: cannot tell: {reasons.pop()}"
    lines = ["", "over params and tokens"]
    for one, line in zip(collapses, frontiers, strict=True):
        said = f"p {short(one.p_size)} of size at equal loss, p {short(one.p_residual)} of the rest; "
        said = said if one.p_size is not None else ""
        word = one.verdict.replace("_", " ")
        lines.append(f"{one.task} / {one.metric}: loss {word}: {said}{one.text}")
        for name in ("elbow", "half"):
            place = getattr(one.threshold, name)
            if place.value is not None:
                lines.append(f"    {name:<10} {_placed(place)} nats of loss")
        lines.append(f"    frontier: {line.text}")
        if line.kind == "none":
            continue
        law = f"D* = {_placed(line.tokens)} tokens x (params / {line.params0:.3g})^b"
        lines.append(f"    {law}, b {_placed(line.exponent)}")
        for point in line.points:
            at = "outside the budgets" if point.tokens.value is None else _placed(point.tokens)
            lines.append(f"    {point.params:>10.3g} params: {at}")
    return "\n".join(lines)


def render_forecast(found: Sequence[Foresight]) -> str:
    """Forecasts, each with its sizes."""
    lines = ["", "forecast from the sizes at chance"]
    if not found:
        lines.append("no task has both exact match and a continuous metric")
    for one in found:
        lines.append(f"{one.task} / {one.metric}: {one.verdict.upper().replace('_', ' ')}: {one.text}")
        for point in one.points:
            low, high = point.interval
            said = f"    {point.size:>10.4g} {one.axis}: {point.predicted:.3g} [{low:.3g}, {high:.3g}]"
            if point.measured is not None:
                inside = "inside" if point.inside else "outside its own interval"
                said += f", measured {point.measured:.3g} ({inside}; {100 * point.error:+.1f} points, "
                said += f"{point.error_logits:+.2g} logits)"
            lines.append(said)
    return "\n".join(lines)


def _placed(place: Threshold) -> str:
    ends = "" if place.interval is None else f" [{place.interval[0]:.3g}, {place.interval[1]:.3g}]"
    return f"{place.value:.3g}{ends}"


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
