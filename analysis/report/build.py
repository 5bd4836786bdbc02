"""Writes report.html and the figures of a study."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template

from analysis import files
from analysis.plots import Plot
from analysis.plots.plot import FORMATS
from analysis.report import details, explore, findings, glance
from analysis.report.abilities import FEW_TASKS
from analysis.report.figures import distinct, drawings
from analysis.report.html import table, text
from analysis.report.study import DRAWS, Study, gather
from analysis.second_process import Second
from analysis.tables.table import Runs

LIMIT = 2_000_000
# Of these the page itself needs what they hold; a PNG or a PDF is as much work as all the rest.
KEPT = ("svg", "csv")
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
    formats: Sequence[str] = KEPT,
) -> Report:
    """`build`, with all that was found. draws: of the bootstrap; say: told of each part as it begins;
    formats: of the files beside the page."""
    with Second() as second:
        study = gather(path, draws, say=say, second=second)
    say("drawing")
    return render(study, out, title, formats)


def render(
    study: Study, out: str | Path | None = None, title: str | None = None, formats: Sequence[str] = KEPT
) -> Report:
    """Write the page and the figures of a study: the same study, the same bytes.

    formats: of the files in the folder `figures`; the page shows SVG, so that each other one is drawn anew.
    """
    page = Path(out) if out is not None else _beside(study)
    figures = distinct([draw() for _, draw in drawings(study)])
    written = [Drawn.save(plot, page.parent, formats) for plot in figures]
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
    formats: tuple[str, ...]

    @staticmethod
    def save(plot: Plot, root: Path, formats: Sequence[str] = KEPT) -> Drawn:
        """Into the folder `figures`, each format drawn once. Raises Refused where that is a link."""
        svg, csv = plot.svg(), plot.csv()
        texts = {"svg": svg, "csv": csv}
        for kind in formats:
            data = texts[kind].encode("utf-8") if kind in texts else plot.content(kind)
            files.write_bytes(root / "figures" / f"{plot.name}.{kind}", data, root)
        return Drawn(plot, svg, csv, tuple(formats))


def compose(
    study: Study, figures: list[Drawn], title: str | None, embed: bool, one_by_one: bool = True
) -> str:
    """The page. embed: SVG and CSV can be downloaded from the page itself, else from the folder beside it.
    one_by_one: of many abilities each has its figure on the page, beside the sheet of all."""
    room = resources.files("analysis.report")
    parts = ("style.css", "script.js", "explore.js")
    style, *scripts = (room.joinpath(name).read_text(encoding="utf-8") for name in parts)
    script = "".join(scripts)
    alive = explore.explorer(study)
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode()
    first = _first(study, figures)
    figures = [drawn for drawn in figures if drawn is not first]
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
    nothing = "All is drawn above." if first else "There is nothing to draw before a run has finished."
    return Template(room.joinpath("page.html").read_text(encoding="utf-8")).substitute(
        policy=f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "img-src data:; base-uri 'none'; form-action 'none'",
        title=text(title or study.name),
        style=style,
        script=script,
        summary=text(findings.summary(study)),
        glance=glance.glance(study),
        first="" if first is None else _figure(first, embed),
        findings=findings.findings(study),
        figures=blocks or f"<p>{nothing}</p>",
        explorer=alive,
        explore_link='<a class="alive" hidden href="#explore">Explore</a>' if alive else "",
        runs=details.runs_table(study),
        cost=details.cost_text(study),
        settings=details.settings(study),
        go_on=details.go_on(study),
    )


def _first(study: Study, figures: list[Drawn]) -> Drawn | None:
    """The figure of the first screen: the law's, or of a study without one that of its abilities."""
    shown = [drawn for drawn in figures if study.law is None and drawn.plot.name.startswith("abilit")]
    return next(iter([*shown, *figures]), None)


def _figure(drawn: Drawn, embed: bool) -> str:
    plot = drawn.plot
    name = plot.name
    kinds = {"svg": (drawn.svg, "image/svg+xml"), "csv": (drawn.csv, "text/csv")}
    links = []
    for kind in FORMATS:
        if kind in kinds and (embed or kind in drawn.formats):
            links.append(_link(f"{name}.{kind}", *kinds[kind], kind.upper(), embed))
        elif kind in drawn.formats:
            links.append(f'<a href="figures/{text(name)}.{kind}">{kind.upper()}</a>')
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
