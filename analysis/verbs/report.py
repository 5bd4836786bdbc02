"""`lab report` and `lab plot`."""

from __future__ import annotations

import json
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from analysis.tables.limits import LIMITS
from analysis.verbs.options import Look, Reading


@dataclass(frozen=True)
class ReportOptions:
    """Write one self-contained page about a study, and its figures as files."""

    path: Annotated[Path, tyro.conf.Positional]
    """A store folder, or a .csv, .tsv, .parquet, .json or .jsonl file."""
    out: Path | None = None
    """The HTML file (report.html in the store folder; beside a table, NAME_report.html)."""
    title: str | None = None
    """The page's title (the study's name)."""
    formats: str = "svg,csv"
    """Files of each figure beside the page: svg, pdf, png, csv."""
    columns: str = ""
    """Which columns are what, as in params=N,tokens=D,loss=val_loss."""
    where: str = ""
    """Only rows with these values, as in grid=language."""
    open: bool = False
    """Show the page in a browser, where there is a screen."""
    limits: Reading = LIMITS
    json: bool = False
    """Print what was found as one JSON object."""


@dataclass(frozen=True)
class PlotOptions:
    """Draw figures of a study or a table: SVG, PDF, PNG, and their numbers as CSV."""

    path: Annotated[Path, tyro.conf.Positional]
    """A store folder, or a .csv, .tsv, .parquet, .json or .jsonl file."""
    figures: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """loss_compute, law_contour, holdout, isoflop, frontier, transfer, abilities, threshold, needle, ability,
    cost, sobriety, compression, association (all that have data); and when named deviation, demand,
    rollout, multiverse."""
    out: Path = Path("figures")
    """The folder to write to."""
    formats: str = "svg,pdf,png,csv"
    """Files of each figure."""
    style: Look = "page"
    """paper: one column of 3.35 inches (two for figures of many panels), no text below 7 points, fonts in the
    file; slides: 16:9; notebook; page: as in the report."""
    columns: str = ""
    """Which columns are what, as in params=N,tokens=D,loss=val_loss."""
    where: str = ""
    """Only rows with these values, as in grid=language."""
    limits: Reading = LIMITS
    json: bool = False
    """Print what was written as one JSON object."""


def report(argv: list[str]) -> int:
    """`lab report DIR [--out FILE] [--title TEXT] [--json]`"""
    return answer(tyro.cli(ReportOptions, args=argv, prog="lab report"))


def answer(options: ReportOptions) -> int:
    """Write what the options ask for, and say where it is; the exit code."""
    from analysis.report.build import write

    formats = chosen_formats(options.formats)
    done = write(_read(options), options.out, options.title, say=_note, formats=formats)
    if options.json:
        print(json.dumps(_plain(_found(done)), allow_nan=False))
    else:
        print(done.path)
        folder = done.path.parent / "figures"
        _note(f"{done.size / 1e6:.2f} MB, opens offline; {len(done.figures)} figures in {folder}")
    if options.open:
        show_page(done.path.absolute().as_uri())
    return 0


def chosen_formats(written: str) -> tuple[str, ...]:
    """Of `svg,pdf`. Raises InputError for what no figure is written as."""
    from analysis.errors import InputError
    from analysis.plots.plot import FORMATS
    from analysis.tables.columns import nearest

    asked = tuple(dict.fromkeys(part.strip().lower() for part in written.split(",") if part.strip()))
    if unknown := [kind for kind in asked if kind not in FORMATS]:
        listed = ", ".join(FORMATS)
        raise InputError(
            *(
                f"--formats: no format {kind!r}{nearest(kind, FORMATS)}; there are {listed}"
                for kind in unknown
            )
        )
    return asked


def show_page(url: str) -> None:
    """In the user's browser; nothing without a screen, where a text browser would take the terminal."""
    import webbrowser

    if sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(url)
    else:
        _note(f"no screen here: open {url} in a browser")


def plot(argv: list[str]) -> int:
    """`lab plot TABLE_OR_STORE [FIGURE ...] [--out DIR] [--json]`"""
    options = tyro.cli(PlotOptions, args=argv, prog="lab plot")
    from analysis.errors import InputError
    from analysis.plots import save
    from analysis.plots.style import styled
    from analysis.report.figures import ASKED, KINDS, TESTED, distinct, drawings
    from analysis.report.study import gather
    from analysis.tables.columns import nearest

    formats = chosen_formats(options.formats)
    if unknown := [name for name in options.figures if name not in (*KINDS, *ASKED)]:
        raise InputError(*(f"no figure {name!r}{nearest(name, (*KINDS, *ASKED))}" for name in unknown))
    tested = not options.figures or set(TESTED) & set(options.figures)
    study = gather(_read(options), abilities=bool(tested), say=_note)
    chosen = [
        (kind, draw)
        for kind, draw in drawings(study, options.figures)
        if not options.figures or kind in options.figures
    ]
    missing = [name for name in options.figures if name not in {kind for kind, _ in chosen}]
    if missing or not chosen:
        why = "; ".join(f"{what}: {text}" for group in study.groups for what, text in group.refusals.items())
        names = ", ".join(missing) or "any figure"
        raise InputError(f"{options.path}: no data for {names}" + (f" ({why})" if why else ""))
    with styled(options.style):
        figures = distinct([draw() for _, draw in chosen])
    paths = [save(figure, options.out, formats) for figure in figures]
    code = [_code(options, figure.name) for figure in figures]
    if options.json:
        listed = [
            {"name": f.name, "title": f.title, "caption": f.caption, "rows": len(f.data), "python": line}
            for f, line in zip(figures, code, strict=True)
        ]
        files = [str(path) for some in paths for path in some]
        print(json.dumps({"figures": listed, "files": files, "style": options.style}))
    else:
        for some, line in zip(paths, code, strict=True):
            print("\n".join([*map(str, some), f"  in Python: {line}"]))
    return 0


def _code(options: PlotOptions, name: str) -> str:
    """The line of Python that draws the figure again."""
    source = repr(str(options.path))
    if options.columns or options.where or options.limits != LIMITS:
        from analysis.tables.columns import parse_map

        more = [repr(parse_map(options.columns))] if options.columns else []
        source = f"sl.read({', '.join([source, *more])})"
        if options.where:
            source += f".where(**{parse_map(options.where, '--where')!r})"
    style = "" if options.style == "page" else f", style={options.style!r}"
    return f"import analysis as sl; sl.figure({source}, {name!r}{style}).save({str(options.out)!r})"


def _read(options: ReportOptions | PlotOptions):
    from analysis.tables.columns import parse_map
    from analysis.tables.table import read

    runs = read(options.path, parse_map(options.columns) or None, options.limits)
    return runs.where(**parse_map(options.where, "--where")) if options.where else runs


def _found(done) -> dict[str, Any]:
    study = done.study
    return {
        "report": str(done.path),
        "bytes": done.size,
        "figures": list(done.figures),
        "runs": len(study.runs),
        "groups": [
            {
                "name": group.name,
                "fit": None if group.fit is None else group.fit.to_dict(),
                "forecast": _without_fit(group.forecast),
                "allocation": None if group.allocation is None else group.allocation.to_dict(),
                "refusals": group.refusals,
            }
            for group in study.groups
        ],
        "abilities": [one.to_dict() for one in study.thresholds],
        "warnings": [note.to_dict() for note in study.warnings],
    }


def _without_fit(forecast) -> dict[str, Any] | None:
    if forecast is None:
        return None
    return {key: value for key, value in forecast.to_dict().items() if key != "fit"}


def _plain(value: Any) -> Any:
    """JSON has no NaN: null. NumPy scalars become numbers."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _note(text: str) -> None:
    print(text, file=sys.stderr)
