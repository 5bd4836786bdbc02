"""`lab replicate`: published numbers beside those obtained here, with tolerance, time, and pass or fail."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from analysis.errors import InputError
from analysis.replicate.checks import Check, Replication
from analysis.replicate.data import MIRROR, Folder, MissingError, download
from analysis.replicate.sources import SOURCES, STUDIES, computed
from analysis.tables.columns import nearest
from analysis.verbs.options import Look


@dataclass(frozen=True)
class ReplicateOptions:
    """Compute published scaling-law numbers again. Exit code 1 when one of them is missed."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Which (all): chinchilla, porian, muennighoff, gadre, olmo, kyo-takano, kaplan, parabola."""
    data: Path | None = None
    """The folder with the published tables; they are known by file name and checksum."""
    download: bool = False
    """Fetch what the folder lacks from its public source, at a pinned commit, checked."""
    mirror: str = MIRROR
    """Where to fetch from: MIRROR/owner/repository/commit/path."""
    out: Path | None = None
    """A folder for the figures (SVG, PDF, PNG and CSV)."""
    figures: tuple[str, ...] = ()
    """Draw published figures again instead: all, or hoffmann-2, hoffmann-3, hoffmann-4, kaplan-1, porian-1,
    wei-2, muennighoff-5; into --out (figures)."""
    style: Look = "page"
    """Of figures: paper is one column of 3.35 inches (two for those of many panels)."""
    json: bool = False
    """Print one JSON object."""


@dataclass(frozen=True)
class Skipped:
    """A replication whose data are not there."""

    name: str
    reason: str


def replicate(argv: list[str]) -> int:
    """`lab replicate [NAMES] --data DIR`."""
    options = tyro.cli(ReplicateOptions, args=argv, prog="lab replicate")
    if options.figures:
        return _published(options)
    started = time.perf_counter()
    results, skipped = run(options.names, options.data, options.download, options.mirror)
    code = [] if options.out is None else _draw(results, options)
    seconds = time.perf_counter() - started
    passed = all(result.passed for result in results)
    if options.json:
        from analysis.text import dumps

        said = {"passed": passed, "seconds": seconds, "studies": [result.to_dict() for result in results]}
        print(dumps({**said, "skipped": [vars(one) for one in skipped], "python": code}))
    else:
        print("\n".join([text(results, skipped, seconds), *(f"  in Python: {line}" for line in code)]))
    return 0 if passed else 1


def run(
    names: Sequence[str], data: Path | None, fetch: bool = False, mirror: str = MIRROR
) -> tuple[list[Replication], list[Skipped]]:
    """The named replications (all without names), and those whose data are not there.

    Raises InputError for unknown names, for files with a wrong checksum, for downloads that fail, and where a
    replication that was asked for by name has no data.
    """
    if bad := [name for name in names if name not in STUDIES]:
        raise InputError(*(f"lab replicate: no {name!r}{nearest(name, STUDIES)}" for name in bad))
    if fetch and data is None:
        raise InputError("--download: name the folder to keep the tables in with --data DIR")
    chosen = list(dict.fromkeys(names)) or list(STUDIES)
    if fetch:
        _fetch([SOURCES[STUDIES[name][1]] for name in chosen if STUDIES[name][1]], data, mirror, bool(names))
    folder = Folder(data)
    results, skipped, missing = [], [], []
    for name in chosen:
        source = STUDIES[name][1]
        if source:
            try:
                folder.find(SOURCES[source])
            except MissingError as error:
                missing += error.problems
                skipped.append(Skipped(name, error.problems[0]))
                continue
        print(f"{name} ...", file=sys.stderr)
        began = time.perf_counter()
        results.append(replace(computed(name, folder), seconds=time.perf_counter() - began))
    if missing and names:
        raise InputError(*missing)
    return results, skipped


def _fetch(sources, data: Path, mirror: str, named: bool) -> None:
    data.mkdir(parents=True, exist_ok=True)
    for source in sources:
        try:
            Folder(data).find(source)
        except MissingError:
            if source.downloadable is not None or named:
                download(source, data, mirror, lambda line: print(line, file=sys.stderr))


def _draw(results: Sequence[Replication], options: ReplicateOptions) -> list[str]:
    """Write the figure of each; the lines of Python that do the same."""
    from analysis.plots.style import styled
    from analysis.replicate.figures import figure

    with styled(options.style):
        drawn = [figure(result) for result in results]
    for one in drawn:
        one.save(options.out)
    return [_code(one.name, options, options.out) for one in drawn]


def _code(name: str, options: ReplicateOptions, out: Path) -> str:
    """The line of Python that draws the figure again."""
    data = None if options.data is None else str(options.data)
    style = "" if options.style == "page" else f", style={options.style!r}"
    return f"import analysis as sl; sl.published({name!r}, {data!r}{style}).save({str(out)!r})"


def _published(options: ReplicateOptions) -> int:
    """Draw the published figures that were asked for, with the line of Python that does the same."""
    from analysis.replicate.published import FIGURES, draw
    from analysis.text import dumps

    if options.download:
        if options.data is None:
            raise InputError("--download: name the folder to keep the tables in with --data DIR")
        _fetch([SOURCES["epoch-chinchilla"], SOURCES["muennighoff"]], options.data, options.mirror, False)
    everything = "all" in options.figures
    out = options.out or Path("figures")
    folder, told = Folder(options.data), []
    for name in FIGURES if everything else options.figures:
        try:
            plot = draw(name, folder, options.style)
        except MissingError as error:
            if not everything:
                raise
            told.append({"name": name, "missing": error.problems[0]})
            continue
        files = [str(path) for path in plot.save(out)]
        line = _code(name, options, out)
        told.append({"name": name, "caption": plot.caption, "files": files, "python": line})
    if options.json:
        print(dumps({"figures": told, "style": options.style}))
        return 0
    for one in told:
        if "missing" in one:
            print(f"{one['name']}: not drawn, {one['missing']}")
        else:
            print("\n".join([*one["files"], f"  {one['caption']}", f"  in Python: {one['python']}"]))
    return 0


def text(results: Sequence[Replication], skipped: Sequence[Skipped], seconds: float) -> str:
    """The table of all numbers, the misses marked, and what was skipped."""
    from analysis.text import table

    parts = []
    for result in results:
        rows = [_row(check) for check in result.checks]
        verdict = "pass" if result.passed else "FAIL"
        parts.append(f"{result.name}: {verdict}, {result.seconds:.1f} s    {result.title} ({result.source})")
        parts.append(table(rows, ("", "published", "obtained", "tolerance", "")))
        parts += [f"  note      {remark}" for remark in result.remarks]
        parts.append("")
    parts += [f"{one.name}: skipped, {one.reason}" for one in skipped]
    checks = [check for result in results for check in result.checks]
    good = sum(check.passed for check in checks)
    parts.append(f"{good} of {len(checks)} numbers agree, {len(skipped)} studies skipped, {seconds:.1f} s")
    return "\n".join(parts)


def _row(check: Check) -> tuple[str, ...]:
    if check.kind == "within":
        expected, room = f"[{check.expected[0]:g}, {check.expected[1]:g}]", "inside"
    else:
        expected = f"{check.expected:.9g}"
        sign = "<= +" if check.kind == "most" else "+-"
        room = f"{sign}{100 * check.tolerance:g} %" if check.relative else f"{sign}{check.tolerance:g}"
    return check.name, expected, f"{check.obtained:.9g}", room, "ok" if check.passed else "MISSED"
