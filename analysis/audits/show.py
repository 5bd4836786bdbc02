"""Audits and rollouts as text for a terminal."""

from __future__ import annotations

from analysis.audits.audit import Audit
from analysis.audits.foretold import Foretold
from analysis.audits.register import Scored
from analysis.audits.results import Forecast, Rollout
from analysis.fits.reach import first, others
from analysis.fits.show import calibration_text, why_text
from analysis.laws.law import tidy_formula
from analysis.notes import Excluded
from analysis.text import number, remarks, table


def _left_out(result: Forecast) -> list[Excluded]:
    """Rows that were not fitted, but for those that are forecast and stand in the table."""
    return [one for one in result.fit.excluded if not one.reason.startswith("held out")]


def forecast_text(result: Forecast) -> str:
    rows = []
    for cell in result.cells:
        seen = "" if cell.measured is None else f"{cell.measured:.4f}"
        error = "" if cell.error_percent is None else f"{cell.error_percent:+.2f} %"
        inside = "" if cell.inside is None else ("yes" if cell.inside else "no")
        bounds = "" if cell.low is None else f"[{cell.low:.4f}, {cell.high:.4f}]"
        place = (number(cell.params), number(cell.tokens), number(cell.flops))
        rows.append((cell.name, *place, f"{cell.predicted:.4f}", bounds, seen, error, inside))
    level = f"{100 * result.level:g} %"
    head = ("run", "params", "tokens", "flops", "predicted", level, "measured", "error", "inside")
    score = result.score
    summary = ""
    if score is not None:
        covered = (
            "" if score.coverage is None else f", {100 * score.coverage:.0f} % inside their {level} interval"
        )
        summary = (
            f"  {score.cells} cells at up to {score.compute_ratio:.3g} x the fitted compute: mean error "
            f"{score.mean_abs_error_percent:.2f} %, largest {score.max_abs_error_percent:.2f} %, "
            f"bias {score.bias_percent:+.2f} %{covered}"
        )
    if result.widened is not None and result.widened >= 1.05:
        summary += (
            f"\n  intervals are up to {result.widened:.2g} times wider than the bootstrap's: earlier, "
            "on the fitted runs alone, the same forecast missed by that much"
        )
    laws = ""
    if result.rivals:
        tried = []
        for rival in result.rivals:
            errors = (rival.earlier_error_percent, rival.held_out_error_percent)
            shown = ["-" if error is None else f"{error:.2f} %" for error in errors]
            name = (rival.law, str(rival.parameters), f"{rival.objective:.3g}", f"{rival.weight:.2f}")
            tried.append((*name, *shown))
        names = ("laws by earlier error", "parameters", "objective", "weight", "earlier", "held out")
        laws = table(tried, names)
    who = f"laws led by {result.fit.law.name}" if result.rivals else result.fit.law.name
    parts = (
        first(result.warnings),
        f"{who} fitted to {result.fit.points} runs; held out: {result.rule}",
        f"  {tidy_formula(result.fit.law, result.fit.params)}",
        why_text(result.fit),
        table(rows, head) if rows else "",
        summary,
        laws,
        calibration_text(result.fit),
        remarks(others(result.warnings), _left_out(result)),
    )
    return "\n".join(part for part in parts if part)


def foretold_text(result: Foretold) -> str:
    """The ledger: a line for each target of each forecast."""
    rows, faults = [], []
    for entry in result.entries:
        if entry.record is None:
            faults.append(f"  {entry.name}: {entry.fault}")
            continue
        about = (entry.name, entry.record["registered"][:16], entry.record["law"])
        came = () if entry.outcome is None else entry.outcome.cells
        rows += [
            (*about, number(cell.params), number(cell.tokens), f"{cell.predicted:.4f}",
             f"[{cell.low:.4f}, {cell.high:.4f}]", f"{cell.measured:.4f}", f"{cell.error_percent:+.2f} %",
             "yes" if cell.inside else "no")
            for cell in came
        ]  # fmt: skip
        for target, without in entry.without_loss():
            interval = f"[{target['low']:.4f}, {target['high']:.4f}]"
            place = (number(target["params"]), number(target["tokens"]), f"{target['predicted']:.4f}")
            rows.append((*about, *place, interval, without or "not yet", "", "no" if without else ""))
    if not result.entries:
        return "no forecast is registered here: lab forecast STORE --params N --tokens D --register NAME"
    head = ("forecast", "registered", "law", "params", "tokens", "predicted", "interval", "measured", "error")
    inside, came = result.inside
    said = f"  {inside} of {came} runs that came lie inside; {result.waiting} are not trained yet"
    if result.diverged:
        said += f"; {result.diverged} diverged"
    return "\n".join([*([table(rows, (*head, "inside"))] if rows else []), said, *faults])


def scored_text(result: Scored) -> str:
    """A registered forecast beside what came."""
    rows = [
        (
            cell.name,
            number(cell.params),
            number(cell.tokens),
            f"{cell.predicted:.4f}",
            f"[{cell.low:.4f}, {cell.high:.4f}]",
            f"{cell.measured:.4f}",
            f"{cell.error_percent:+.2f} %",
            "yes" if cell.inside else "no",
        )
        for cell in result.cells
    ]
    head = (
        "run",
        "params",
        "tokens",
        "predicted",
        f"{100 * result.level:g} %",
        "measured",
        "error",
        "inside",
    )
    mean = result.mean_abs_error_percent
    error = "" if mean is None else f", mean error {mean:.2f} %"
    return "\n".join(
        part
        for part in (
            f"forecast registered {result.registered}, led by {result.law}",
            table(rows, head) if rows else "",
            f"  {result.inside} of {len(result.cells)} inside" + error,
            remarks(result.warnings),
        )
        if part
    )


def rollout_text(result: Rollout) -> str:
    rows = [
        (
            number(step.limit),
            str(step.fitted),
            str(step.score.cells),
            f"{step.score.compute_ratio:.3g} x",
            f"{step.score.mean_abs_error_percent:.2f} %",
            f"{step.score.max_abs_error_percent:.2f} %",
            f"{step.score.bias_percent:+.2f} %",
        )
        for step in result.steps
    ]
    head = (f"{result.axis} up to", "fitted", "beyond", "compute", "mean error", "largest", "bias")
    return f"{result.law}, fitted to growing windows\n" + table(rows, head)


def audit_text(result: Audit) -> str:
    """Laws by held-out error, errors by distance, the next scale, and what must be said."""
    laws = [
        (
            one.law,
            str(one.parameters),
            f"{one.mean_abs_error_percent:.2f} %",
            f"{one.bias_percent:+.2f} %",
            f"{one.relative:.2f} x",
            f"{one.windows}" + (f" ({one.missed} missed)" if one.missed else ""),
        )
        for one in result.laws
    ]
    far = [
        (
            rolled.axis,
            f"{distance.low:.3g} to {distance.high:.3g} x",
            str(distance.predictions),
            f"{distance.mean_abs_error_percent:.2f} %",
            f"{distance.bias_percent:+.2f} %",
        )
        for rolled in result.rollouts
        for distance in rolled.distances
    ]
    slopes = [f"{rolled.axis} {rolled.slope:+.2f}" for rolled in result.rollouts if rolled.slope is not None]
    parts = [
        f"audit of {result.fit.points} runs of {result.fit.source}",
        "",
        table(laws, ("laws by held-out error", "parameters", "mean error", "bias", "to the best", "windows")),
        "",
        table(far, (f"{result.fit.law.name} beyond", "distance", "predictions", "mean error", "bias")),
        f"  error grows for each factor of ten, in points: {', '.join(slopes)}" if slopes else "",
        "",
        _ahead(result),
        _rungs(result),
        remarks(result.warnings, result.fit.excluded, result.fit.notes),
    ]
    return "\n".join(part for index, part in enumerate(parts) if part or index in (1, 3)).rstrip()


def _ahead(result: Audit) -> str:
    ahead = result.next_scale
    if ahead is None:
        return ""
    level = f"{100 * result.level:g} %"
    low, high = ahead.interval
    own = f"[{ahead.bootstrap[0]:.4f}, {ahead.bootstrap[1]:.4f}]"
    why = f"the leading law alone says {own}; with how far laws part, and no earlier window to score by"
    if ahead.widened is not None:
        why = f"the leading law alone says {own}; with how far laws part, and {ahead.widened:.2g} times that "
        why += "for what the same forecast missed at earlier scales"
    return (
        f"  next scale, {ahead.factor:g} x the compute: {number(ahead.params)} params, "
        f"{number(ahead.tokens)} tokens, loss {ahead.loss:.4f}, {level} interval "
        f"[{low:.4f}, {high:.4f}]\n  ({why})"
    )


def _rungs(result: Audit) -> str:
    if not result.rungs:
        return "  rungs: too few sizes with several runs to test for mistuned ones"
    bad = [one for one in result.rungs if one.mistuned]
    if not bad:
        return f"  rungs: none of {len(result.rungs)} sizes lies above the law of the others"
    rows = [
        (number(one.params), str(one.runs), f"{one.shift_percent:+.2f} %", f"{one.p_value:.2g}")
        for one in bad
    ]
    return table(rows, ("mistuned params", "runs", "above the law", "p"))
