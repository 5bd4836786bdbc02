"""Numbers, tables and remarks as text, and plain JSON: what every room prints with."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from analysis.notes import Excluded, Note

_FORMULA = tuple("=+-@\t\r\n＝＋－＠")


def number(value: float | None) -> str:
    """Four significant digits, with a suffix-free exponent only where the digits would not tell."""
    if value is None or not math.isfinite(value):
        return "-"
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.4g}"
    return f"{value:.3e}"


def pair(interval: Sequence[float] | None) -> str:
    """`[low, high]`; an end that the table does not bound is `inf`."""
    if interval is None:
        return ""
    low, high = (str(end) if end is not None and math.isinf(end) else number(end) for end in interval)
    return f"[{low}, {high}]"


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
        kinds: dict[str, list[int]] = {}
        for row in excluded:
            kinds.setdefault(row.reason, []).append(row.row)
        shown = [
            f"{reason} ({rows_text(rows)})"
            for reason, rows in sorted(kinds.items(), key=lambda item: -len(item[1]))
        ]
        more = f"; {len(shown) - 8} more reasons" if len(shown) > 8 else ""
        rows = "row" if len(excluded) == 1 else "rows"
        lines.append(f"  excluded  {len(excluded)} {rows}: {'; '.join(shown[:8])}{more}")
    lines += [f"  note      {note.text}" for note in notes]
    lines += [f"  warning   {note.code}: {note.text}" for note in warnings]
    return "\n".join(lines)


def rows_text(rows: Sequence[int]) -> str:
    """`row 3`, `rows 3, 5, 8`, `12 rows: 3, 5, 8, ...`."""
    if len(rows) == 1:
        return f"row {rows[0]}"
    first = ", ".join(map(str, rows[:5]))
    return f"rows {first}" if len(rows) <= 5 else f"{len(rows)} rows: {first}, ..."


def no_formula(value: Any) -> Any:
    """The value as a cell of CSV: a text that spreadsheets would compute, such as `=HYPERLINK(...)`, gets an
    apostrophe before it, as they write it themselves. Numbers stay numbers."""
    if not isinstance(value, str) or not value.startswith(_FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def line_again(stream: TextIO, text: str = "") -> None:
    """Write over the line that stands on a terminal. The command escapes control codes of what verbs print
    and keeps the stream itself as `unescaped`: these codes are ours, the text need not be."""
    getattr(stream, "unescaped", stream).write("\r\033[K")
    stream.write(text)
    stream.flush()


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
