"""`lab replicate`: published numbers beside those obtained here, with tolerance, time, and pass or fail."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Annotated

import tyro

from analysis.errors import InputError
from analysis.replicate.checks import Check, Replication
from analysis.replicate.data import MIRROR, Folder, MissingError, download
from analysis.replicate.sources import SOURCES
from analysis.tables.columns import nearest

# name -> (module, source of its data or empty). The last two need none.
STUDIES = {
    "chinchilla": ("chinchilla", "epoch-chinchilla"),
    "porian": ("porian", "porian"),
    "muennighoff": ("muennighoff", "muennighoff"),
    "gadre": ("gadre", "gadre"),
    "olmo": ("olmo", "olmo"),
    "kyo-takano": ("kyo_takano", "kyo-takano"),
    "kaplan": ("kaplan", ""),
    "parabola": ("parabola", ""),
}


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
    started = time.perf_counter()
    results, skipped = run(options.names, options.data, options.download, options.mirror)
    if options.out is not None:
        _draw(results, options.out)
    seconds = time.perf_counter() - started
    passed = all(result.passed for result in results)
    if options.json:
        from analysis.text import dumps

        said = {"passed": passed, "seconds": seconds, "studies": [result.to_dict() for result in results]}
        print(dumps({**said, "skipped": [vars(one) for one in skipped]}))
    else:
        print(text(results, skipped, seconds))
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
        module, source = STUDIES[name]
        if source:
            try:
                folder.find(SOURCES[source])
            except MissingError as error:
                missing += error.problems
                skipped.append(Skipped(name, error.problems[0]))
                continue
        print(f"{name} ...", file=sys.stderr)
        began = time.perf_counter()
        compute = import_module(f"analysis.replicate.{module}").replicate
        result = compute(folder) if source else compute()
        results.append(replace(result, seconds=time.perf_counter() - began))
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


def _draw(results: Sequence[Replication], folder: Path) -> None:
    from analysis.plots.plot import save
    from analysis.replicate.figures import figure

    for result in results:
        save(figure(result), folder)


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
