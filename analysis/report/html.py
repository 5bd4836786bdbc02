"""Small pieces of HTML. Whatever comes from a file goes through `text`: no name of a task is markup."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from analysis.plots.style import count, power

MINUS = "−"


def text(value: Any) -> str:
    """Escaped, for element content and for attributes in double quotes."""
    return escape(str(value), quote=True)


def number(value: Any, digits: int = 4) -> str:
    """Plain text for people: 12,345, 0.0123, 3.2×10¹²; an en dash where there is none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return str(value)
    if value == 0:
        return "0"
    if abs(value) >= 1e9 or abs(value) < 1e-4:
        return (MINUS if value < 0 else "") + power(abs(value))
    if not float(value).is_integer() and abs(value) >= 1000:
        value = float(f"{value:.{digits}g}")
    if float(value).is_integer():
        return f"{int(value):,}".replace("-", MINUS)
    return f"{value:.{digits}g}".replace("-", MINUS)


def span(low: float, high: float, show=lambda value: number(value, 3)) -> str:
    """`1.2 to 3.4`, once where both read the same; an end that is not bounded is said so."""
    if math.isinf(high) and not math.isinf(low):
        return f"{show(low)} and up"
    first, second = show(low), show(high)
    return first if first == second else f"{first} to {second}"


def duration(seconds: float) -> str:
    """8 s, 2 min 5 s, 3.2 h"""
    if seconds < 100:
        return f"{seconds:.3g} s"
    if seconds < 7200:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{seconds / 3600:.3g} h"


def table(
    header: Sequence[tuple[str, str]],
    rows: Iterable[Sequence[Any]],
    caption: str = "",
    sortable: bool = False,
    classes: Sequence[str] = (),
    marks: Sequence[str] = (),
    right: Iterable[int] = (),
) -> str:
    """header: (column, its unit or explanation). Cells are values; numbers are aligned right.

    classes: one for each row, or none. marks: of each row the run that it is of. right: columns of numbers
    that may all be missing.
    Cells that are `Markup` go in as they are.
    """
    body, right = [], set(right)
    always = frozenset(right)
    for index, row in enumerate(rows):
        kind = f' class="{text(classes[index])}"' if index < len(classes) and classes[index] else ""
        kind += f' data-run="{text(marks[index])}"' if index < len(marks) else ""
        right |= {place for place, value in enumerate(row) if _is_number(value)}
        body.append(
            f"<tr{kind}>{''.join(_cell(value, place in always) for place, value in enumerate(row))}</tr>"
        )
    head = "".join(_head(name, help, place in right) for place, (name, help) in enumerate(header))
    title = f"<caption>{text(caption)}</caption>" if caption else ""
    mark = ' class="sortable"' if sortable else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(caption or "table")}">'
        f"<table{mark}>{title}<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


class Markup(str):
    """Text that is markup already; everything in it was escaped where it was made."""

    __slots__ = ()


def _head(name: str, help: str, right: bool) -> str:
    said = f' title="{text(help)}"' if help else ""
    return f'<th scope="col"{said}{" class=n" if right else ""}>{text(name)}</th>'


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: Any, right: bool = False) -> str:
    if isinstance(value, Markup):
        return f"<td>{value}</td>"
    if not _is_number(value):
        kind = ' class="n"' if right else ""
        return f"<td{kind}>{text(number(value) if value is None or isinstance(value, bool) else value)}</td>"
    plain = repr(float(value)) if math.isfinite(value) else ""
    return f'<td class="n" data-v="{plain}">{text(number(value))}</td>'


def items(pairs: Iterable[tuple[str, str]]) -> str:
    """A definition list of escaped texts; values that are `Markup` go in as they are."""
    inner = "".join(
        f"<div><dt>{text(name)}</dt><dd>{value if isinstance(value, Markup) else text(value)}</dd></div>"
        for name, value in pairs
    )
    return f"<dl>{inner}</dl>"


__all__ = ["MINUS", "Markup", "count", "duration", "items", "number", "power", "span", "table", "text"]
