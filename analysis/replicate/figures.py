"""The figure of a replication: its data, its law, and published against obtained."""

from __future__ import annotations

import textwrap

import numpy as np

from analysis.plots.plot import Plot, settle
from analysis.plots.style import INK, LAW, MUTED, SECOND, THIRD, axes, log_axis, look, spread
from analysis.replicate.checks import Check, Replication

LINES = (LAW, SECOND, THIRD, INK)
MARKS = "osD^vPX*<>"
NARROW = 7.0  # inches as laid out, below which names of numbers would leave no room for the numbers


def figure(result: Replication) -> Plot:
    """Left the publication's picture; right how far each number is off, in units of its tolerance."""
    import pandas

    with look():
        sheet, (left, right) = axes(3.6, 1, 2, width=9.2, gridspec_kw={"width_ratios": (1.3, 1)})
        _picture(left, result)
        _agreement(right, result.checks, named=sheet.get_size_inches()[0] > NARROW)
        settle(sheet)
    rows = [{**check.to_dict(), "expected": str(check.to_dict()["expected"])} for check in result.checks]
    good = sum(check.passed for check in result.checks)
    said = f"{good} of {len(result.checks)} numbers agree within their tolerance."
    return Plot(
        f"replicate-{result.name}",
        result.title,
        f"{result.title} ({result.source}). {said}",
        f"{result.title}: {said}",
        sheet,
        pandas.DataFrame(rows),
    )


def _picture(axis, result: Replication) -> None:
    picture = result.picture
    for index, (name, (x, y)) in enumerate(picture.points.items()):
        mark = MARKS[index % len(MARKS)]
        size = 9 if len(x) > 60 else 22
        axis.scatter(
            x, y, s=size, marker=mark, color=MUTED if index == 0 else LINES[index % 4], label=name, lw=0
        )
    for index, (name, (x, y)) in enumerate(picture.lines.items()):
        axis.plot(x, y, color=LINES[index % 4], ls=("-", "--", ":", "-.")[index // 4 % 4], lw=1.4, label=name)
    values = [*picture.points.values(), *picture.lines.values()]
    for which, log, label in (("x", picture.x_log, picture.x_label), ("y", picture.y_log, picture.y_label)):
        if log:
            kind = "flops" if "FLOPs" in label.split(" at ")[0] else "params" if "params" in label else "loss"
            along = [value for pair in values for value in np.ravel(pair[which == "y"])]
            log_axis(axis, which, kind, spread(along, 0.05), 5)
        getattr(axis, f"set_{which}label")(label)
    axis.set_title(result.title, fontsize=9)
    axis.legend(fontsize=6.5, handlelength=1.4)


def _agreement(axis, checks: tuple[Check, ...], named: bool) -> None:
    for row, check in enumerate(checks):
        share = max(min(off(check), 1.5), -1.5)
        axis.plot(share, row, "o" if check.passed else "X", color=SECOND if check.passed else LAW, ms=4)
    axis.axvspan(-1, 1, color=MUTED, alpha=0.12, lw=0)
    axis.set_xlim(-1.6, 1.6)
    axis.set_ylim(len(checks) - 0.5, -0.5)
    named = named and len(checks) <= 16
    axis.set_yticks(range(len(checks)) if named else [])
    if named:
        lines = 2 if len(checks) <= 8 else 1
        axis.set_yticklabels([_folded(check.name, lines) for check in checks], fontsize=6)
    else:
        axis.set_ylabel(f"{len(checks)} published numbers")
    axis.set_xlabel("off by (tolerances)")


def _folded(name: str, lines: int, width: int = 38) -> str:
    """In so many lines; what has no room is left out at a word, with a sign that it was."""
    return "\n".join(textwrap.wrap(name, width, max_lines=lines, placeholder=" …"))


def off(check: Check) -> float:
    """Obtained minus expected in units of the tolerance; for a pair, from its middle in half-widths."""
    if check.kind == "within":
        low, high = check.expected
        return (check.obtained - (low + high) / 2) / ((high - low) / 2)
    room = check.tolerance * (abs(check.expected) if check.relative else 1.0)
    return (
        min(check.obtained - check.expected, 0.0) / room
        if check.kind == "most"
        else (check.obtained - check.expected) / room
    )
