"""IsoFLOP minima as text for a terminal."""

from __future__ import annotations

import math

from analysis.fits.reach import first, others
from analysis.isoflops.results import IsoFlop
from analysis.text import number, pair, remarks, table


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
    budgets = [
        (
            f"{one.flops:.3g}",
            number(one.params),
            pair(one.params_interval),
            number(one.tokens),
            pair(one.tokens_interval),
        )
        for one in result.best
    ]
    level = f"{100 * result.level:g} %"
    made = ", levels interpolated" if result.interpolated else ""
    return "\n".join(
        part
        for part in (
            first(result.warnings),
            f"IsoFLOP minima by {result.method}: {result.points} runs{made}",
            "",
            table(rows, ("flops", "points", "params", level, "tokens", "loss", "bias")),
            "",
            *laws,
            *([table(budgets, ("best at flops", "params", level, "tokens", level))] if budgets else []),
            *(
                f"  level     {curve.flops:.3g}: {note.text}"
                for curve in result.curves
                for note in curve.notes
            ),
            remarks(others(result.warnings), result.excluded, result.notes),
        )
        if part or part == ""
    ).strip("\n")
