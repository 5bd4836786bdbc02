"""What several verbs share: their options, how they read a table, how they print a result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from analysis.notes import Note
from analysis.tables.columns import parse_map
from analysis.tables.limits import LIMITS, ReadLimits
from analysis.tables.table import Runs, read
from analysis.text import dumps

Reading = Annotated[ReadLimits, tyro.conf.arg(name=""), tyro.conf.OmitArgPrefixes]  # --max-bytes, --max-rows
Look = Literal["page", "paper", "slides", "notebook"]  # of figures
Objective = Literal["huber", "l1", "squared", "asymmetric"]


@dataclass(frozen=True)
class TableOptions:
    """Which table a verb reads, how it reads it, and whether it prints JSON."""

    table: Annotated[Path, tyro.conf.Positional]
    """A store folder, or a .csv, .tsv, .parquet, .json or .jsonl file."""
    columns: str = ""
    """Which columns are what: params=N,tokens=D,loss=val_loss, or a formula: params=total-embedding,
    flops=1e9*total_gflops, loss=log(perplexity)."""
    where: str = ""
    """Only rows with these values, as in grid=language or train_dataset=c4,seed=0."""
    lowest: bool = False
    """Of runs that share params and tokens keep the best one: for tables of sweeps over learning rates."""
    limits: Reading = LIMITS
    json: bool = False
    """Print one JSON object."""


@dataclass(frozen=True)
class LawOptions(TableOptions):
    """What every verb that fits a law is told."""

    law: str = "auto"
    """The law: auto takes the one that forecast best within the fitted runs; else chinchilla, kaplan,
    coupled, ... (`lab laws` lists them), or your own, FILE.py:NAME; terms go on it as in
    chinchilla+rate+batch (also precision, quantised)."""
    objective: Objective = "huber"
    """What is summed over the residuals. l1 is the limit of a small delta; asymmetric is l1, weighted."""
    delta: float | None = None
    """Huber's corner (1e-3)."""
    residual: Literal["log", "raw"] = "log"
    """Residuals of the log loss or of the loss."""
    over_weight: float | None = None
    """Weight of runs predicted too high (1; 10 for asymmetric)."""
    bootstrap: int = 1000
    """Draws for the intervals; 0 for none."""
    method: Literal["auto", "clusters", "wild", "rows", "profile"] = "auto"
    """What the bootstrap draws: clusters of runs with replacement, their residuals, single rows whatever
    depends on what; or no draws but the profile likelihood."""
    level: float | None = None
    """Level of the intervals (0.95; forecasts 0.9)."""
    seed: int = 0
    """Seed of the bootstrap."""
    include_held_out: bool = False
    """Fit the rows that are marked as held out too."""
    noise: str = ""
    """The column with the standard errors of the loss; rows count by them."""
    calibrate: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """Simulate N tables from the fit (200 will do): are the intervals as wide as they say? Stretch them."""


def read_table(options: TableOptions) -> Runs:
    """The table that a verb was given. Raises InputError."""
    whole = read(options.table, parse_map(options.columns) or None, options.limits)
    runs = whole.where(**parse_map(options.where, "--where")) if options.where else whole
    runs = runs.lowest() if options.lowest else runs
    if len(runs) < len(whole):
        text = f"row numbers here count the {len(runs)} rows that are left of {len(whole)}, from 0"
        return replace(runs, notes=(*runs.notes, Note("rows_counted", text)))
    return runs


def show(options: TableOptions, result: Any, text: Callable[[Any], str]) -> int:
    """Prints a result, as text or JSON; the exit code."""
    if options.json:
        return print_json(result.to_dict())
    print(text(result))
    return 0


def print_json(value: Any) -> int:
    print(dumps(value))
    return 0


def line_of_python(module: str, verb: str, argv: list[str]) -> str:
    """The line that does what the verb was told: for figures that hang on many of its options."""
    return f"from analysis.verbs.{module} import {verb}; {verb}({argv!r})"
