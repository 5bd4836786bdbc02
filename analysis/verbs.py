"""The verbs `lab fit`, `isoflop`, `allocate`, `forecast` and `table`: arguments in, text or JSON out.

Each takes the arguments after its name and returns the exit code. What was asked for goes to stdout.
"""

from __future__ import annotations

import csv
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from analysis.errors import InputError
from analysis.tables.table import Runs, read

Table = Annotated[Path, tyro.conf.Positional]
Objective = Literal["huber", "l1", "squared", "asymmetric"]


@dataclass(frozen=True)
class LawOptions:
    """What every verb that fits a law is told."""

    table: Table
    """A store folder, or a .csv, .tsv, .parquet, .json or .jsonl file."""
    columns: str = ""
    """Which columns are what: params=N,tokens=D,loss=val_loss, or a formula: params=total-embedding,
    flops=1e9*total_gflops, loss=log(perplexity)."""
    where: str = ""
    """Only rows with these values, as in grid=language or train_dataset=c4,seed=0."""
    lowest: bool = False
    """Of runs that share params and tokens keep the best one: for tables of sweeps over learning rates."""
    law: str = "chinchilla"
    """The law: chinchilla, kaplan, coupled, ... (`lab laws` lists them), or your own, FILE.py:NAME; terms go
    on it as in chinchilla+rate+batch (also precision, quantised)."""
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
    json: bool = False
    """Print one JSON object."""


@dataclass(frozen=True)
class FitVerbOptions(LawOptions):
    """Fit a scaling law to a table of runs, with a certificate and intervals."""

    multiverse: bool = False
    """Instead: the exponent under every combination of objective, outlier rule, convention, law, approach."""


@dataclass(frozen=True)
class AllocateOptions(LawOptions):
    """Fit a law and say how to spend a compute budget: params, tokens, loss, and what deviating costs."""

    flops: float | None = None
    """The budget in FLOPs, at 6 params tokens; with --inference-tokens, of training and serving together."""
    loss: float | None = None
    """Instead of a budget: the loss to reach at the lowest one."""
    unique_tokens: float | None = None
    """There are so many distinct tokens; more of them are repeated, and worth less."""
    inference_tokens: float = 0.0
    """Tokens to be served over the model's life, at 2 params FLOPs each."""
    max_params: float | None = None
    """The largest size allowed."""
    memory: float | None = None
    """Bytes that the weights may take."""
    latency: float | None = None
    """Seconds a generated token, at batch one, bound by reading the weights (with --bandwidth)."""
    bandwidth: float | None = None
    """Bytes a second of the memory that the weights are read from."""
    bytes_per_param: float = 2.0
    """Of the served weights, for --memory and --latency."""


@dataclass(frozen=True)
class ForecastOptions(LawOptions):
    """Predict held-out runs from the others and score the prediction, or predict a run that is not there."""

    law: str = "auto"
    """The law; auto blends the laws by how close their forecasts within the fitted runs came."""
    holdout_factor: float | None = None
    """Hold out the runs of more than 1/FACTOR of the largest compute (else: the rows the table marks)."""
    params: float | None = None
    """Predict a run of this size (with --tokens)."""
    tokens: float | None = None
    """Predict a run of that many tokens (with --params)."""
    rollout: Literal["params", "tokens", "flops"] | None = None
    """Also fit growing windows along this axis and score each on what lies beyond."""


@dataclass(frozen=True)
class IsoFlopOptions:
    """Find the compute-optimal size at each level of compute, and how it grows."""

    table: Table
    """A store folder, or a .csv, .tsv, .parquet, .json or .jsonl file."""
    columns: str = ""
    """Which columns are what, as in params=N,flops=C,loss=val_loss."""
    where: str = ""
    """Only rows with these values, as in grid=language."""
    lowest: bool = False
    """Of runs that share params and tokens keep the best one: for tables of sweeps over learning rates."""
    method: Literal["auto", "parabola", "cubic", "akima", "law"] = "auto"
    """The curve through a level: cubic where sizes suffice, else a parabola; law is the law's own valley."""
    law: str = "chinchilla"
    """The law against which the method's bias is measured, and whose exponent is shown; empty for none."""
    bootstrap: int = 1000
    """Draws for the intervals; 0 for none."""
    level: float = 0.95
    """Level of the intervals."""
    seed: int = 0
    """Seed of the bootstrap."""
    include_held_out: bool = False
    """Use the rows that are marked as held out too."""
    json: bool = False
    """Print one JSON object."""


@dataclass(frozen=True)
class TableOptions:
    """Print the table of runs: one row a run, or one row an ability score."""

    table: Table
    """A store folder, or a .csv, .tsv, .parquet, .json or .jsonl file."""
    columns: str = ""
    """Which columns are what, as in params=N,tokens=D,loss=val_loss."""
    where: str = ""
    """Only rows with these values, as in grid=language."""
    lowest: bool = False
    """Of runs that share params and tokens keep the best one: for tables of sweeps over learning rates."""
    format: Literal["csv", "json", "parquet"] = "csv"
    """The format of the output; parquet needs --out."""
    abilities: bool = False
    """The ability scores, long, instead of the runs."""
    out: Path | None = None
    """A file to write to instead of stdout."""
    json: bool = False
    """The same as --format json: {columns, rows}."""


def fit(argv: list[str]) -> int:
    """`lab fit TABLE`."""
    options = tyro.cli(FitVerbOptions, args=argv, prog="lab fit")
    if options.multiverse:
        from analysis.verbs_audit import multiverse

        return multiverse(options)
    from analysis.text import fit_text

    return _show(options, _fit(options), fit_text)


def allocate(argv: list[str]) -> int:
    """`lab allocate TABLE --flops C`."""
    options = tyro.cli(AllocateOptions, args=argv, prog="lab allocate")
    from analysis.allocations.limits import Limits, plan, size_limit
    from analysis.allocations.optimum import allocate as best
    from analysis.allocations.show import plan_text
    from analysis.text import allocation_text

    if options.flops is None and options.loss is None:
        raise InputError("--flops: a budget is needed, as in --flops 1e20, or a --loss to reach")
    size, why = size_limit(
        options.max_params, options.memory, options.latency, options.bandwidth, options.bytes_per_param
    )
    limits = Limits(options.unique_tokens, options.inference_tokens, size, why)
    if limits == Limits() and options.loss is None:
        return _show(options, best(_fit(options), options.flops), allocation_text)
    return _show(options, plan(_fit(options), options.flops, options.loss, limits), plan_text)


def forecast(argv: list[str]) -> int:
    """`lab forecast TABLE [--params N --tokens D]`."""
    options = tyro.cli(ForecastOptions, args=argv, prog="lab forecast")
    from analysis.audits.forecasting import forecast as predict
    from analysis.audits.rollouts import rollout
    from analysis.audits.show import rollout_text
    from analysis.text import forecast_text

    if (options.params is None) != (options.tokens is None):
        raise InputError("--params and --tokens go together: the run to predict")
    runs = _read(options)
    shared = {name: getattr(options, name) for name in ("law", "objective", "delta")}
    result = predict(
        runs,
        **shared,
        residual=options.residual,
        over_weight=options.over_weight,
        bootstrap=options.bootstrap,
        method=options.method,
        level=options.level or 0.9,
        seed=options.seed,
        holdout_factor=options.holdout_factor,
        at=() if options.params is None else ((options.params, options.tokens),),
        noise=options.noise,
        calibrate=options.calibrate,
    )
    if options.rollout is None:
        return _show(options, result, forecast_text)
    rolled = rollout(runs, options.rollout, **{**shared, "law": result.fit.law})
    if options.json:
        return _print({**result.to_dict(), "rollout": rolled.to_dict()})
    print(forecast_text(result), rollout_text(rolled), sep="\n\n")
    return 0


def isoflop(argv: list[str]) -> int:
    """`lab isoflop TABLE`."""
    options = tyro.cli(IsoFlopOptions, args=argv, prog="lab isoflop")
    from analysis.isoflops.minima import isoflop as minima
    from analysis.text import isoflop_text

    runs = _read(options)
    law = _law_or_none(runs, options)
    result = minima(
        runs,
        options.method,
        law,
        options.bootstrap,
        options.level,
        options.seed,
        not options.include_held_out,
    )
    return _show(options, result, isoflop_text)


def table(argv: list[str]) -> int:
    """`lab table DIR`."""
    options = tyro.cli(TableOptions, args=argv, prog="lab table")
    runs = _read(options)
    if options.abilities:
        from analysis.tables.files import by_column

        columns = by_column(list(runs.ability_rows))
    else:
        columns = dict(runs.columns)
    form = "json" if options.json else options.format
    if form == "parquet":
        return _parquet(columns, options.out)
    values = {name: _cells(column) for name, column in columns.items()}
    rows = zip(*values.values(), strict=True)
    if form == "json":
        from analysis.text import dumps

        text = dumps({"columns": list(values), "rows": [dict(zip(values, row, strict=True)) for row in rows]})
        text += "\n"
    else:
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(values)
        writer.writerows(["" if value is None else value for value in row] for row in rows)
        text = buffer.getvalue()
    if options.out is None:
        sys.stdout.write(text)
    else:
        _writable(options.out).write_text(text, encoding="utf-8")
    return 0


def _parquet(columns: dict[str, Any], out: Path | None) -> int:
    if out is None:
        raise InputError("--format parquet is binary: name a file with --out")
    import pyarrow
    import pyarrow.parquet

    clean = {name: _cells(column) for name, column in columns.items()}
    pyarrow.parquet.write_table(pyarrow.table(clean), _writable(out))
    return 0


def _cells(column) -> list[Any]:
    """Values for people and files: None where missing, whole numbers without a point."""
    values = [None if value is None or value != value else value for value in column.tolist()]
    whole = all(isinstance(v, float) and abs(v) < 2**53 and v == int(v) for v in values if v is not None)
    return [v if v is None else int(v) for v in values] if whole and column.dtype.kind == "f" else values


def _writable(path: Path) -> Path:
    if not path.parent.is_dir():
        raise InputError(f"--out: {path.parent}: no such folder")
    return path


def _read(options: Any) -> Runs:
    from analysis.tables.columns import parse_map

    runs = read(options.table, parse_map(options.columns) or None)
    runs = runs.where(**parse_map(options.where, "--where")) if options.where else runs
    return runs.lowest() if options.lowest else runs


def _fit(options: LawOptions):
    from analysis.fits.fitting import fit as fit_law

    return fit_law(
        _read(options),
        options.law,
        options.objective,
        options.delta,
        options.residual,
        options.over_weight,
        options.bootstrap,
        options.method,
        options.level or 0.95,
        options.seed,
        not options.include_held_out,
        options.noise,
        options.calibrate,
    )


def _law_or_none(runs: Runs, options: IsoFlopOptions):
    """The law to measure bias by; a table that has levels but determines no law simply goes without."""
    if not options.law:
        return None
    from analysis.fits.fitting import fit as fit_law
    from analysis.laws.named import find

    law = find(options.law)
    try:
        return fit_law(
            runs, law, bootstrap=min(options.bootstrap, 300), exclude_held_out=not options.include_held_out
        )
    except InputError:
        return None


def _show(options: Any, result: Any, text) -> int:
    if options.json:
        return _print(result.to_dict())
    print(text(result))
    return 0


def _print(value: Any) -> int:
    from analysis.text import dumps

    print(dumps(value))
    return 0
