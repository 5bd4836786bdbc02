"""`lab report`: the page of a study, and with --watch the study as it runs."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

import tyro

from analysis.verbs.report import ReportOptions, answer, show_page
from lab import python
from lab.errors import InputError


@dataclass(frozen=True)
class Options(ReportOptions):
    """Write one self-contained page about a study, and its figures as files; or watch the study run."""

    watch: bool = False
    """Serve a page to this machine alone, until Ctrl-C: curves, time left and failures while the study runs,
    and the report as soon as enough runs have finished."""
    port: int = 0
    """Of --watch; 0 takes any that is free."""
    every: float = 2.0
    """Of --watch: seconds between two looks at the store."""


def report(argv: list[str]) -> int:
    """`lab report DIR [--out FILE] [--watch]`"""
    options = tyro.cli(Options, args=argv, prog="lab report")
    return _watch(options) if options.watch else answer(options)


def _watch(options: Options) -> int:
    from analysis.report.serve import watch
    from analysis.report.watch import Live
    from sweeps.store import copies
    from sweeps.verbs.status import Look

    if not 0.1 <= options.every <= 86400:
        raise InputError(f"--every: should be between 0.1 and 86400 seconds, is {options.every}")
    if not 0 <= options.port <= 65535:
        raise InputError(f"--port: should be from 0 to 65535, is {options.port}")
    store = copies.here(options.path)
    if store.is_file():
        raise InputError(f"{store}: is a table; --watch takes the folder that `lab run` writes to")
    if not (store / "studies").is_dir():
        raise InputError(
            f"{store}: no study here yet; it is there once `lab run STUDY.toml --out {store}` has begun"
        )
    page = options.out or store / "report.html"
    look = Look(store)
    found = look.collect()

    def state() -> dict:
        copies.here(options.path)
        return look.collect()

    title = options.title or " + ".join(study["study"] for study in found["studies"])
    written = ["-m", "lab", "report", store, "--out", page, "--formats", options.formats]
    written += ["--max-bytes", options.limits.max_bytes, "--max-rows", options.limits.max_rows]
    for name in ("title", "columns", "where"):
        if value := getattr(options, name):
            written += [f"--{name}", value]

    def ready(url: str) -> None:
        if options.json:
            print(json.dumps({"url": url, "report": str(page)}), flush=True)
        else:
            print(url, flush=True)
            print("open it in a browser of this machine; Ctrl-C ends it", file=sys.stderr, flush=True)
        if options.open:
            show_page(url)

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    live = Live(store, state, options.every)
    watch(live, page, title, python.command(*written), python.environment(), options.port, ready, say)
    return 0
