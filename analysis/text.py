"""Results as text for a terminal and as HTML for a notebook."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.audits.results import Forecast
from analysis.fits.results import Allocation, Fit
from analysis.isoflops.results import IsoFlop
from analysis.laws.named import tidy_formula
from analysis.notes import Excluded, Note

WIDTH = 100


def number(value: float | None) -> str:
    """Four significant digits, with a suffix-free exponent only where the digits would not tell."""
    if value is None or not math.isfinite(value):
        return "-"
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.4g}"
    return f"{value:.3e}"


def pair(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"[{number(interval[0])}, {number(interval[1])}]"


def table(rows: Sequence[Sequence[str]], head: Sequence[str], indent: str = "  ") -> str:
    """Columns aligned to the right, the first to the left."""
    everything = [list(head), *map(list, rows)]
    widths = [max(len(row[index]) for row in everything) for index in range(len(head))]
    lines = []
    for row in everything:
        cells = [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
        lines.append((indent + "  ".join(cells)).rstrip())
    return "\n".join(lines)


def remarks(warnings: Sequence[Note], excluded: Sequence[Excluded] = (), notes: Sequence[Note] = ()) -> str:
    """Exclusions, notes and warnings, one line each."""
    lines = []
    if excluded:
        kinds: dict[str, int] = {}
        for row in excluded:
            kinds[row.reason] = kinds.get(row.reason, 0) + 1
        shown = [f"{reason} ({count})" for reason, count in sorted(kinds.items(), key=lambda item: -item[1])]
        more = f"; {len(shown) - 8} more reasons" if len(shown) > 8 else ""
        lines.append(f"  excluded  {len(excluded)} rows: {'; '.join(shown[:8])}{more}")
    lines += [f"  note      {note.text}" for note in notes]
    lines += [f"  warning   {note.code}: {note.text}" for note in warnings]
    return "\n".join(lines)


def fit_text(fit: Fit) -> str:
    """The law with its numbers, intervals, certificate, and everything that must be said."""
    level = f"{100 * fit.level:g} %"
    rows = [(name, number(value), pair(fit.intervals.get(name))) for name, value in fit.params.items()]
    allocation = fit.allocation
    if allocation is not None:
        rows.append(("params ~ flops^", number(allocation.params_exponent), pair(allocation.interval)))
        rows.append(("tokens ~ flops^", number(allocation.tokens_exponent), ""))
    head = ("", "estimate", f"{level} interval" if fit.intervals else "")
    certificate = fit.certificate
    goal = fit.objective
    corner = f" {goal.delta:g}" if goal.delta is not None else ""
    seen = (
        f"{'optimum' if certificate.converged else 'NOT an optimum'}: objective {goal.value:.9g} "
        f"(sum of {goal.name}{corner} over {goal.residual} residuals), "
        f"gradient {certificate.gradient_norm:.0e}, "
        f"condition {certificate.condition:.0f}, {certificate.starts} starts, "
        f"{len(certificate.basins)} other optima"
    )
    size = math.exp(sorted(abs(r) for r in fit.data["residual"])[fit.points // 2]) - 1
    parts = [
        f"{fit.law.name}: {fit.points} runs of {fit.source}",
        f"  {tidy_formula(fit.law, fit.params)}",
        "",
        table(rows, head),
        "",
        f"  {seen}",
        f"  intervals: {fit.resampled}" if fit.intervals else "  no intervals (--bootstrap 0)",
        _calibrated(fit),
        f"  typical residual {100 * size:.2f} % of the loss",
        remarks(fit.warnings, fit.excluded, fit.notes),
    ]
    return "\n".join(part for index, part in enumerate(parts) if part or index in (2, 4)).rstrip()


def _calibrated(fit: Fit) -> str:
    """How often intervals on this design held the truth, and by how much they were then stretched."""
    if fit.calibration is None:
        return ""
    one = fit.calibration
    rows = [(name, f"{100 * share:.1f} %", f"{one.factor[name]:.2f}") for name, share in one.achieved.items()]
    head = ("", f"held the truth (nominal {100 * one.level:g} %)", "stretched by")
    return f"  {one.simulations} tables simulated from the fit on this design:\n" + table(rows, head, "    ")


def isoflop_text(result: IsoFlop) -> str:
    rows = []
    for curve in result.curves:
        found = curve.minimum
        if found is None:
            rows.append(
                (f"{curve.flops:.3g}", str(len(curve.params)), "-", "", "-", "-", curve.refusal or "")
            )
            continue
        bias = "" if found.bias is None else f"{100 * math.expm1(found.bias):+.1f} %"
        rows.append(
            (
                f"{curve.flops:.3g}",
                str(len(curve.params)),
                number(found.params),
                pair(found.params_interval),
                number(found.tokens),
                f"{found.loss:.4f}",
                bias,
            )
        )
    laws = []
    for name, law in (
        ("params", result.params_law),
        ("tokens", result.tokens_law),
        ("params, bias taken off", result.corrected_law),
    ):
        if law is not None:
            laws.append(
                f"  {name} = {law.coefficient:.4g} flops^{law.exponent:.4f} {pair(law.interval)}".rstrip()
            )
    if len(result.approaches) > 1:
        beside = [f"{one.name} {one.exponent:.4f} {pair(one.interval)}".rstrip() for one in result.approaches]
        exponents = [one.exponent for one in result.approaches]
        laws.append(f"  exponent of params by approach: {'; '.join(beside)}")
        laws.append(f"  they differ by up to {max(exponents) - min(exponents):.3f}")
    made = ", levels interpolated" if result.interpolated else ""
    return "\n".join(
        part
        for part in (
            f"IsoFLOP minima by {result.method}: {result.points} runs{made}",
            "",
            table(rows, ("flops", "points", "params", f"{100 * result.level:g} %", "tokens", "loss", "bias")),
            "",
            *laws,
            remarks(result.warnings, result.excluded, result.notes),
        )
        if part or part == ""
    ).rstrip()


def allocation_text(result: Allocation) -> str:
    rows = [
        (name, number(getattr(result, name)), pair(result.intervals.get(name)))
        for name in ("params", "tokens", "loss")
    ]
    rows.append(("tokens/params", number(result.tokens / result.params), ""))
    costs = [
        (
            f"{deviation.factor:g} x params",
            number(deviation.params),
            number(deviation.tokens),
            f"{deviation.loss:.4f}",
            f"+{deviation.extra_loss:.4f}",
            f"{100 * deviation.extra_flops:.1f} %",
        )
        for deviation in result.deviations
    ]
    head = ("", "params", "tokens", "loss", "extra", "flops wasted")
    parts = (
        f"compute-optimal at {result.flops:.4g} FLOPs by {result.law}",
        table(rows, ("", "optimum", f"{100 * result.level:g} % interval" if result.intervals else "")),
        "what deviating costs, at the same flops",
        table(costs, head),
        remarks(result.warnings),
    )
    return "\n".join(part for part in parts if part)


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
    if result.widened is not None and result.widened > 1:
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
        f"{who} fitted to {result.fit.points} runs; held out: {result.rule}",
        f"  {tidy_formula(result.fit.law, result.fit.params)}",
        table(rows, head) if rows else "",
        summary,
        laws,
        _calibrated(result.fit),
        remarks(result.warnings),
    )
    return "\n".join(part for part in parts if part)


def fit_html(fit: Fit) -> str:
    """A small table for a notebook; every text is escaped."""
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{number(value)}</td><td>{pair(fit.intervals.get(name))}</td></tr>"
        for name, value in fit.params.items()
    )
    said = "".join(f"<li>{html.escape(str(note))}</li>" for note in fit.warnings)
    return (
        f"<div><b>{html.escape(fit.law.name)}</b>: {html.escape(tidy_formula(fit.law, fit.params))}"
        f"<table><tr><th></th><th>estimate</th><th>{100 * fit.level:g} %</th></tr>{rows}</table>"
        f"{fit.points} runs, objective {fit.objective.value:.6g}, "
        f"{'converged' if fit.certificate.converged else 'not converged'}<ul>{said}</ul></div>"
    )


def dumps(value: Any) -> str:
    """JSON with null for what is not finite."""
    return json.dumps(plain(value), allow_nan=False)


def plain(value: Any) -> Any:
    """Mappings, lists and numbers of Python alone; NaN and infinities become None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
