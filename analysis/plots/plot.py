"""A finished figure with its words and its numbers, and how it is written: equal input, equal bytes."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import files
from analysis.plots.style import Sheet, look, readable
from analysis.text import no_formula

if TYPE_CHECKING:
    import pandas

FORMATS = ("svg", "pdf", "png", "csv")


@dataclass(frozen=True, repr=False, eq=False)
class Plot:
    """A figure ready to be shown.

    name: a file name without suffix. caption: how to read it. alt: what it shows, for those who do not see
    it. data: the numbers drawn. hints: gid of a group of marks in the SVG -> one line for each mark.
    """

    name: str
    title: str
    caption: str
    alt: str
    figure: Figure
    data: pandas.DataFrame
    hints: Mapping[str, Sequence[str]] = field(default_factory=dict)
    runs: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def svg(self) -> str:
        """The SVG document, to a hundredth of a point, with title and description; marks have their hints."""
        text = rendered(self.figure, "svg").decode("utf-8")
        text = re.sub(r"<!DOCTYPE[^>]*>\s*", "", text)
        text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
        text = re.sub(r'\b(d|x|y)="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), text)
        for gid, lines in self.hints.items():
            text = _hinted(text, gid, lines, self.runs.get(gid, ()))
        said = f"<title>{escape(self.title)}</title>\n <desc>{escape(self.alt)}</desc>\n "
        return re.sub(r"(<svg\b[^>]*>\s*)", lambda found: found[1] + said, text, count=1)

    @property
    def axes(self) -> list[Axes]:
        """The matplotlib Axes drawn on, to go on with."""
        return self.figure.axes

    def csv(self) -> str:
        data = self.data.rename(columns=no_formula)
        texts = {name: data[name].map(no_formula) for name in data if data[name].dtype.kind not in "biuf"}
        return data.assign(**texts).to_csv(index=False, float_format="%.10g", lineterminator="\n")

    def content(self, kind: str) -> bytes:
        """What stands in the file of one of FORMATS."""
        if kind in ("svg", "csv"):
            return (self.svg() if kind == "svg" else self.csv()).encode("utf-8")
        return rendered(self.figure, kind)

    def save(self, folder: str | Path, formats: Sequence[str] = FORMATS) -> list[Path]:
        """Write the files of the figure into the folder; their paths."""
        return save(self, folder, formats)

    def _repr_png_(self) -> bytes:
        return rendered(self.figure, "png")

    def __repr__(self) -> str:
        return f"Plot({self.name}: {self.title}; {len(self.data)} rows)"


def save(plot: Plot, folder: str | Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Write NAME.svg, .pdf, .png and .csv into the folder (made if missing); the paths written."""
    folder = Path(folder)
    paths = [folder / f"{plot.name}.{kind}" for kind in formats]
    for path, kind in zip(paths, formats, strict=True):
        files.write_bytes(path, plot.content(kind), folder)
    return paths


def rendered(figure: Figure, kind: str) -> bytes:
    """As svg, pdf or png; by the canvas itself, for Figure.savefig draws everything twice, for layouts that
    are settled here."""
    stream = io.BytesIO()
    before = figure.canvas, figure.dpi
    sheet = figure if isinstance(figure, Sheet) else Sheet()
    try:
        with look():
            _WRITERS[kind](figure, stream, sheet.scale, sheet.style.dpi)
    finally:
        figure.set_canvas(before[0])
        figure.dpi = before[1]
    return stream.getvalue()


def settle(figure: Figure) -> None:
    """Lay a figure of `style.axes` out once; drawings, in any format, keep the places."""
    with look():
        readable(figure)
        figure.get_layout_engine().execute(figure)
    figure.set_layout_engine("none")


# Dates, versions and creators would make equal figures differ: no format has them.


def _svg(figure: Figure, stream: io.BytesIO, scale: float, dpi: int) -> None:
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    figure.dpi = 72
    drawn = io.BytesIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    FigureCanvasSVG(figure).print_svg(drawn, metadata=nothing)
    text = drawn.getvalue()
    if scale != 1.0:  # what is inside is in units of its viewBox

        def larger(found: re.Match[bytes]) -> bytes:
            return b'%s="%.2fpt"' % (found[1], scale * float(found[2]))

        head, tag, rest = re.split(rb"(<svg\b[^>]*>)", text, maxsplit=1)
        text = head + re.sub(rb'\b(width|height)="([\d.]+)pt"', larger, tag) + rest
    stream.write(text)


def _png(figure: Figure, stream: io.BytesIO, scale: float, dpi: int) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.dpi = dpi * scale
    more = {} if scale == 1.0 else {"pil_kwargs": {"dpi": (dpi, dpi)}}
    FigureCanvasAgg(figure).print_png(stream, metadata={"Software": None}, **more)


def _pdf(figure: Figure, stream: io.BytesIO, scale: float, dpi: int) -> None:
    from matplotlib.backends.backend_pdf import FigureCanvasPdf, Op, PdfFile, RendererPdf

    figure.dpi = 72
    nothing = dict.fromkeys(("CreationDate", "Creator", "Producer"))
    if scale == 1.0:
        FigureCanvasPdf(figure).print_pdf(stream, metadata=nothing)
        return
    FigureCanvasPdf(figure)
    width, height = figure.get_size_inches()
    file = PdfFile(stream, metadata=nothing)
    file.newPage(width * scale, height * scale)
    file.output(scale, 0, 0, scale, 0, 0, Op.concat_matrix)
    renderer = RendererPdf(file, 72, height, width)
    figure.draw(renderer)
    renderer.finalize()
    file.finalize()


_WRITERS = {"svg": _svg, "png": _png, "pdf": _pdf}


def _hinted(svg: str, gid: str, lines: Sequence[str], runs: Sequence[str] = ()) -> str:
    """The marks of the group `gid`, in drawing order, get a <title> each: a tooltip without any script.

    A group whose number of marks is not that of the lines stays as it is (marks outside the axes are not
    drawn), so that no mark ever carries the words of another.
    """
    start = svg.find(f'<g id="{gid}">')
    if start < 0:
        return svg
    end = _end_of_group(svg, start)
    body = svg[start:end]
    plain = re.sub(r"<defs>.*?</defs>", lambda found: " " * len(found[0]), body, flags=re.DOTALL)
    marks = list(re.finditer(r"<(use|path)\b[^>]*/>", plain))
    if len(marks) != len(lines):
        return svg
    ids = [f' data-run="{escape(run)}"' if run else "" for run in runs]
    ids = ids if len(ids) == len(lines) else [""] * len(lines)
    parts, last = [], 0
    for mark, line, run in zip(marks, lines, ids, strict=True):
        tag = body[mark.start() : mark.end()]
        said = f"{tag[:-2].rstrip()}{run}><title>{escape(line)}</title></{mark[1]}>"
        parts += [body[last : mark.start()], said]
        last = mark.end()
    return svg[:start] + "".join([*parts, body[last:]]) + svg[end:]


def _end_of_group(svg: str, start: int) -> int:
    depth = 0
    for tag in re.finditer(r"<g\b[^>]*?(/?)>|</g>", svg[start:]):
        depth += -1 if tag[0] == "</g>" else (0 if tag[1] else 1)
        if depth == 0:
            return start + tag.end()
    return len(svg)
