"""Writes report.html and the figures of a study."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from string import Template

from analysis import files
from analysis.plots import Plot
from analysis.plots.plot import rendered
from analysis.report import details, findings
from analysis.report.abilities import FEW_TASKS
from analysis.report.figures import distinct, drawings
from analysis.report.html import table, text
from analysis.report.second_process import Second
from analysis.report.study import DRAWS, Study, gather
from analysis.tables.table import Runs

LIMIT = 2_000_000
_ROWS = 60
_INLINE = 24


@dataclass(frozen=True)
class Report:
    """What was written: the page, its size in bytes, the figures' names, and the study behind it."""

    path: Path
    size: int
    figures: tuple[str, ...]
    study: Study


def build(path: str | Path | Runs, out: str | Path | None = None, title: str | None = None) -> Path:
    """Write the report of the store folder or table at `path`; the path of the page.

    out: the HTML file, by default report.html in the store folder (beside a table: NAME_report.html). The
    figures go to the folder `figures` beside it. Raises InputError when there is nothing to read.
    """
    return write(path, out, title).path


def write(
    path: str | Path | Runs,
    out: str | Path | None = None,
    title: str | None = None,
    draws: int = DRAWS,
    say: Callable[[str], None] = lambda text: None,
) -> Report:
    """`build`, with all that was found. draws: of the bootstrap; say: told of each part as it begins."""
    with Second() as second:
        study = gather(path, draws, say=say, second=second)
        say("drawing")
        # A process started for the PDFs alone would take longer than they do.
        return render(study, out, title, second if study.thresholds else None)


def render(
    study: Study, out: str | Path | None = None, title: str | None = None, second: Second | None = None
) -> Report:
    """Write the page and the figures of a study: the same study, the same bytes.

    second: a process that runs already, to share the work with.
    """
    page = Path(out) if out is not None else _beside(study)
    folder = page.parent / "figures"
    ask = partial if second is None else second.call
    figures, pdfs = [], []
    for _, draw in drawings(study):
        figures.append(draw())
        # A PDF takes as long as all the rest, for its fonts.
        pdfs.append(ask(rendered, figures[-1].figure, "pdf"))
    figures = distinct(figures)
    written = [Drawn.save(plot, page.parent) for plot in figures]
    for plot, pdf in reversed(list(zip(figures, pdfs, strict=True))):
        files.write_bytes(folder / f"{plot.name}.pdf", pdf(), page.parent)
    # What can be had from the folder as well goes first: copies for download, then abilities one by one.
    for embed, single in ((True, True), (False, True), (False, False)):
        content = compose(study, written, title, embed, single).encode("utf-8")
        if len(content) <= LIMIT:
            break
    files.write_bytes(page, content, page.parent)
    return Report(page, len(content), tuple(plot.name for plot in figures), study)


def _beside(study: Study) -> Path:
    if study.path.is_dir():
        return study.path / "report.html"
    return study.path.with_name(f"{study.path.stem}_report.html")


@dataclass(frozen=True, eq=False)
class Drawn:
    """A figure with what its files hold."""

    plot: Plot
    svg: str
    csv: str

    @staticmethod
    def save(plot: Plot, root: Path) -> Drawn:
        """All formats but PDF, into the folder `figures`. Raises Refused where that is a link."""
        content = {kind: plot.content(kind) for kind in ("svg", "png", "csv")}
        for kind, data in content.items():
            files.write_bytes(root / "figures" / f"{plot.name}.{kind}", data, root)
        return Drawn(plot, content["svg"].decode("utf-8"), content["csv"].decode("utf-8"))


def compose(
    study: Study, figures: list[Drawn], title: str | None, embed: bool, one_by_one: bool = True
) -> str:
    """The page. embed: SVG and CSV can be downloaded from the page itself, else from the folder beside it.
    one_by_one: of many abilities each has its figure on the page, beside the sheet of all."""
    room = resources.files("analysis.report")
    style, script = (room.joinpath(name).read_text(encoding="utf-8") for name in ("style.css", "script.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode()
    single = [drawn for drawn in figures if drawn.plot.name.startswith("ability_")]
    single = single if len(single) > FEW_TASKS else []
    shown = [drawn for drawn in figures if drawn not in single][:_INLINE]
    blocks = "".join(_figure(drawn, embed) for drawn in shown)
    if single and one_by_one:
        shown += single
        inner = "".join(_figure(drawn, embed) for drawn in single)
        said = f"Each ability by itself <small>({len(single)} figures, against loss too)</small>"
        blocks += (
            f'<details class="single"><summary>{said}</summary><div class="gallery">{inner}</div></details>'
        )
    if len(figures) > len(shown):
        more = ", ".join(drawn.plot.name for drawn in figures if drawn not in shown)
        blocks += f'<p class="fine">Also drawn, in the folder figures: {text(more)}.</p>'
    return Template(room.joinpath("page.html").read_text(encoding="utf-8")).substitute(
        policy=f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "img-src data:; base-uri 'none'; form-action 'none'",
        title=text(title or study.name),
        style=style,
        script=script,
        summary=text(findings.summary(study)),
        findings=findings.findings(study),
        figures=blocks or "<p>There is nothing to draw before a run has finished.</p>",
        runs=details.runs_table(study),
        cost=details.cost_text(study),
        settings=details.settings(study),
        go_on=details.go_on(study),
    )


def _figure(drawn: Drawn, embed: bool) -> str:
    plot = drawn.plot
    name = plot.name
    links = [
        _link(f"{name}.svg", drawn.svg, "image/svg+xml", "SVG", embed),
        f'<a href="figures/{text(name)}.pdf">PDF</a>',
        f'<a href="figures/{text(name)}.png">PNG</a>',
        _link(f"{name}.csv", drawn.csv, "text/csv", "CSV", embed),
    ]
    return (
        f'<figure id="figure-{text(name)}" class="{text(name.split("_")[0])}"><h3>{text(plot.title)}</h3>'
        f'<div class="paper">{inline(drawn.svg, name)}</div>'
        f"<figcaption><p>{text(plot.caption)}</p>"
        f'<div class="links">{"".join(links)}</div>{_numbers(plot)}</figcaption></figure>'
    )


def _link(file: str, content: str, kind: str, label: str, embed: bool) -> str:
    where = f"figures/{text(file)}"
    if embed:
        where = f"data:{kind};base64,{base64.b64encode(content.encode('utf-8')).decode()}"
    return f'<a download="{text(file)}" href="{where}">{label}</a>'


def inline(svg: str, name: str) -> str:
    """The SVG as an element of a page: no prolog, ids that no other figure has, named for readers aloud."""
    svg = re.sub(r"<\?xml[^>]*\?>\s*", "", svg).strip()
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    svg = re.sub(r'xlink:href="#([^"]+)"', rf'href="#{name}-\1"', svg)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg)
    svg = re.sub(r'<svg ([^>]*?)height="[^"]*" ([^>]*?)width="[^"]*"', r"<svg \1\2", svg, count=1)
    svg = svg.replace("<title>", f'<title id="{name}-title">', 1).replace(
        "<desc>", f'<desc id="{name}-desc">', 1
    )
    return svg.replace("<svg ", f'<svg role="img" aria-labelledby="{name}-title {name}-desc" ', 1)


def _numbers(plot: Plot) -> str:
    frame = plot.data
    if "kind" in frame and (frame["kind"] == "learning curve").any():
        frame = frame[frame["kind"] != "learning curve"].dropna(axis=1, how="all")
    shown = frame.head(_ROWS).astype(object).where(frame.head(_ROWS).notna(), None)
    said = f"{len(plot.data)} rows"
    if len(shown) < len(plot.data):
        said = f"{len(shown)} of {len(plot.data)} rows; the CSV has all"
    rows = [[value.item() if hasattr(value, "item") else value for value in row] for row in shown.to_numpy()]
    inner = table([(str(column).replace("_", " "), "") for column in shown.columns], rows, plot.title, True)
    return f"<details><summary>The numbers <small>({said})</small></summary>{inner}</details>"
