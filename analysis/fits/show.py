"""A fit as text for a terminal and as HTML for a notebook."""

from __future__ import annotations

import html
import math

from analysis.fits.results import Fit
from analysis.laws.law import tidy_formula
from analysis.text import number, pair, remarks, table


def fit_text(fit: Fit) -> str:
    """The law with its numbers, intervals, certificate, and everything that must be said."""
    level = f"{100 * fit.level:g} %"
    rows = [(name, number(value), pair(fit.intervals.get(name))) for name, value in fit.params.items()]
    exponents = fit.exponents
    if exponents is not None:
        rows.append(("params ~ flops^", number(exponents.params_exponent), pair(exponents.interval)))
        rows.append(("tokens ~ flops^", number(exponents.tokens_exponent), ""))
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
    parts = [
        f"{fit.law.name}: {fit.points} runs of {fit.source}",
        f"  {tidy_formula(fit.law, fit.params)}",
        why_text(fit),
        "",
        table(rows, head),
        "",
        f"  {seen}",
        f"  intervals: {fit.resampled}" if fit.intervals else "  no intervals (--bootstrap 0)",
        calibration_text(fit),
        f"  noise of one run about the law: {100 * math.expm1(fit.scatter):.2g} % of the loss",
        remarks(fit.warnings, fit.excluded, fit.notes),
    ]
    return "\n".join(part for index, part in enumerate(parts) if part or index in (3, 5)).rstrip()


def why_text(fit: Fit) -> str:
    """Why this law, in a sentence; nothing where it was asked for by name."""
    return "" if fit.leading is None else f"  {fit.leading.reason}"


def calibration_text(fit: Fit) -> str:
    """How often intervals on this design held the truth, and by how much they were then stretched."""
    if fit.calibration is None:
        return ""
    one = fit.calibration
    rows = [(name, f"{100 * share:.1f} %", f"{one.factor[name]:.2f}") for name, share in one.achieved.items()]
    head = ("", f"held the truth (nominal {100 * one.level:g} %)", "stretched by")
    return f"  {one.simulations} tables simulated from the fit on this design:\n" + table(rows, head, "    ")


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
