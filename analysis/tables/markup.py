"""Tables of Markdown and HTML files as raw cells: heads and rows, without their decoration."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from html import unescape

import numpy as np

from analysis.errors import InputError
from analysis.notes import Note
from analysis.tables.columns import is_known
from analysis.tables.units import number
from analysis.text import rows_text

# Characters of a cell that patterns are held against, and of a page: their time grows with a power of them.
_LONGEST, LARGEST = 500, 1 << 22
# What writers put for a cell that has no value.
_NOTHING = frozenset(
    ["", "-", "--", "---", "—", "–", "n/a", "na", "none", "null", "tbd", "?", "x", "nan", "not run"]
)
_RULE = re.compile(r"^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$")
_MARKS = re.compile(r"\*\*|__|(?<!\w)[*_](?=\S)|(?<=\S)[*_](?!\w)|`|\\(?=[|*_])")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_NOTE = re.compile(r"\[\^?\d+\]|<sup>.*?</sup>|(?:\\?[†‡§*])+$")
_SUPERSCRIPT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
# Only these are raised to powers; behind any other number a raised one is a footnote.
_BASE = r"(?:(?<![\d.,]10)(?<=10)|(?<![\d.,]2)(?<=2))"
_POWER = re.compile(_BASE + r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+")
_RAISED = re.compile(r"[⁰¹²³⁴⁵⁶⁷⁸⁹]+$")

_ERROR = re.compile(r"^([-+]?[\d.,eE]+)\s*(?:±|\\pm|\+/-)\s*([\d.,eE]+)$")

Table = tuple[list[str], list[list[str]]]


def one_of(tables: list[Table], known: Callable[[str], bool], said: list[Note]) -> Table | None:
    """The table that has most heads that are known, then most rows; those of the same heads go below it.

    What is chosen among several is told, and so are rows that are short or long. Values with errors, `3.36 ±
    .02`, become two columns. None without any table.
    """
    if not tables:
        return None
    best = max(tables, key=lambda table: (sum(map(known, table[0])), len(table[1])))
    same = [table for table in tables if table[0] == best[0]]
    if len(same) < len(tables):
        others = "; ".join(" | ".join(head[:4]) for head, _ in tables if head != best[0])
        heads = " | ".join(best[0][:6])
        text = f"of its {len(tables)} tables the one with the heads {heads} is read, not {others}"
        said.append(Note("table_chosen", text))
    if len(same) > 1:
        said.append(Note("tables_joined", f"{len(same)} tables of the same heads are one below the other"))
    head, rows = list(best[0]), [list(row) for _, part in same for row in part]
    odd = [index for index, row in enumerate(rows) if len(row) != len(head)]
    if odd:
        said.append(Note("odd_rows", f"{rows_text(odd)}: not as many cells as heads; filled or cut"))
    rows = [(row + [""] * len(head))[: len(head)] for row in rows]
    split_errors(head, rows, said)
    return head, rows


def side_by_side(head: list[str], rows: list[list[str]]) -> bool:
    """Whether runs stand side by side: heads of numbers, and names of columns at the beginnings of rows."""
    figures = any(np.isfinite(number(name)) for name in head[1:])
    return figures and sum(map(is_known, (head[0], *(row[0] for row in rows[:50] if row)))) > 1


def split_errors(head: list[str], rows: list[list[str]], said: list[Note]) -> None:
    """Make two columns of one whose values have errors, 3.36 ± .02, in place."""
    for column in reversed(range(len(head))):
        found = [_ERROR.match(row[column]) for row in rows]
        if any(found):
            said.append(
                Note("errors_split", f"{head[column]!r} has errors (±): they are {head[column]}_stderr")
            )
            head.insert(column + 1, f"{head[column]}_stderr")
            for row, match in zip(rows, found, strict=True):
                row[column : column + 1] = [match[1], match[2]] if match else [row[column], ""]


def plain(cell: str) -> str:
    """A cell without bold, code, links, footnotes and LaTeX's dollars; nothing for `—`, `n/a` and the like.

    `**3.36**` is 3.36 and 10⁻³ is 10^-3; words stay, and what is struck out: `3.36 (partial)` and `~~3.36~~`
    are no numbers.
    """
    if len(cell) > _LONGEST:
        return cell.strip()
    cell = _LINK.sub(r"\1", cell).replace("<br>", " ").replace("<br/>", " ")
    cell = re.sub(_BASE + r"<sup>(-?\d+)</sup>", r"^\1", cell)
    cell = re.sub(r"</?[A-Za-z][^>]*>", "", _NOTE.sub("", cell.strip()))
    cell = _MARKS.sub("", cell).strip().strip("$").strip()
    cell = cell.replace("\\times", "x").replace("\\cdot", "x").replace("−", "-")
    cell = re.sub(r"\^\{([^}]*)\}", r"^\1", cell)
    cell = _POWER.sub(lambda found: "^" + found[0].translate(_SUPERSCRIPT), cell)
    cell = _RAISED.sub("", cell)
    return "" if cell.lower() in _NOTHING else cell


def of_markdown(text: str) -> Iterator[Table]:
    """The pipe tables of a text, one after the other."""
    lines = text.splitlines()
    at = 0
    while at + 1 < len(lines):
        if "|" in lines[at] and "|" in lines[at + 1] and _RULE.match(lines[at + 1]):
            head = _cells(lines[at])
            rows = []
            at += 2
            while at < len(lines) and "|" in lines[at] and lines[at].strip():
                rows.append(_cells(lines[at]))
                at += 1
            yield head, rows
        else:
            at += 1


def _cells(line: str) -> list[str]:
    line = line.strip().removeprefix("|")
    line = line[:-1] if line.endswith("|") and not line.endswith("\\|") else line
    return [plain(cell) for cell in re.split(r"(?<!\\)\|", line)]


_TAG = re.compile(r"<(/?)(table|tr|td|th|sup)\b([^<>]{0,300})>", re.IGNORECASE)
_SPAN = re.compile(r"(colspan|rowspan)\s*=\s*[\"']?(\d{1,3})", re.IGNORECASE)
_CELLS = 1000  # of a row of a page, cells that span others counted for each


def of_html(text: str) -> Iterator[Table]:
    """The tables of a page that have a row of heads; cells that span columns or rows stand in each.

    Only tags of tables are looked at, each up to the next sign of a tag, so that a page takes the time of its
    length whatever is in it (the standard library's parser does not). Raises InputError for endless rows.
    """
    tables = _Tables()
    at = 0
    text = _without_comments(text)
    for tag in _TAG.finditer(text):
        tables.text(text[at : tag.start()])
        tables.tag(tag[2].lower(), bool(tag[1]), {k.lower(): int(v) for k, v in _SPAN.findall(tag[3])})
        at = tag.end()
    tables.text(text[at:])
    for rows in tables.closed():
        if len(rows) > 2 and (both := _two_rows(rows[0], rows[1])):
            yield both, rows[2:]
        elif len(rows) > 1:
            yield rows[0], rows[1:]


def _two_rows(upper: list[str], lower: list[str]) -> list[str]:
    """The heads of both rows as one, where the upper one spans columns (`Size` over `Params`, `Tokens`)."""
    if len(upper) != len(lower) or len(set(upper)) == len(upper) or len(set(lower)) < len(lower):
        return []
    spanned = {name for name in upper if upper.count(name) > 1}
    pairs = list(zip(upper, lower, strict=True))
    if any(one == two or np.isfinite(number(two)) for one, two in pairs if one in spanned):
        return []
    heads = [
        (two if is_known(two) else f"{one} {two}".strip()) if one in spanned else one for one, two in pairs
    ]
    return heads if all(one == two for one, two in pairs if one not in spanned) else []


def _without_comments(text: str) -> str:
    parts = text.split("<!--")
    return parts[0] + "".join(part.partition("-->")[2] for part in parts[1:])


class _Tables:
    """Rows of cells of every table; what stands in an inner table belongs to the inner one."""

    def __init__(self) -> None:
        self.done: list[list[list[str]]] = []
        self.open: list[tuple[list[list[str]], dict[int, tuple[int, str]]]] = []
        self.cell: list[str] | None = None
        self.size = (1, 1)

    def text(self, text: str) -> None:
        if self.cell is not None and text:
            self.cell.append(text)

    def tag(self, name: str, closes: bool, spans: Mapping[str, int]) -> None:
        if name == "sup":
            if self.cell is not None:
                before = "".join(self.cell[-3:])[-20:]
                base = re.search(r"(?<![\d.,])(?:10|2)\s*$", before)
                self.cell.append("\x02" if closes else "^" if base else "\x01")
            return
        if name == "table" and not closes:
            self.cell = None
            self.open.append(([], {}))
        if not self.open:
            return
        self._end()
        if name == "table" and closes:
            self.done.append(self.open.pop()[0])
        elif name == "tr" and not closes:
            self.open[-1][0].append([])
            self._spanned()
        elif name in ("td", "th") and not closes:
            if not self.open[-1][0]:
                self.open[-1][0].append([])
            self.size = tuple(min(max(spans.get(one, 1), 1), 100) for one in ("colspan", "rowspan"))
            self.cell = []

    def closed(self) -> list[list[list[str]]]:
        """All tables, also those that a torn page leaves open, without empty rows."""
        while self.open:
            self._end()
            self.done.append(self.open.pop()[0])
        return [[row for row in rows if row] for rows in self.done]

    def _end(self) -> None:
        if self.cell is None:
            return
        written = re.sub(r"<[^<>]{0,1000}>", "", "".join(self.cell))
        written = re.sub(r"(?<=\d)\s*\x01[^\x01\x02]{0,9}\x02", "", written)  # a footnote behind a number
        text = plain(" ".join(unescape(re.sub(r"[\x01\x02]", " ", written)).split()))
        rows, spans = self.open[-1]
        for _ in range(self.size[0]):
            if self.size[1] > 1:
                spans[len(rows[-1])] = (self.size[1] - 1, text)
            rows[-1].append(text)
        self.cell = None
        self._spanned()

    def _spanned(self) -> None:
        """Cells of rows above that reach into this one."""
        rows, spans = self.open[-1]
        while (span := spans.pop(len(rows[-1]), None)) is not None:
            left, text = span
            if left > 1:
                spans[len(rows[-1])] = (left - 1, text)
            rows[-1].append(text)
        if len(rows[-1]) > _CELLS:
            raise InputError(f"a row of a table of the page has more than {_CELLS:,} cells")
