"""The verbs `lab fit`, `allocate`, `forecast` and `isoflop`.

Each takes the arguments after its name and returns the exit code. What was asked for goes to stdout.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from analysis.errors import InputError
from analysis.notes import Note
from analysis.tables.columns import rival_params
from analysis.tables.formulas import evaluate
from analysis.tables.table import Runs, read
from analysis.text import number, remarks
from analysis.verbs.options import (
    LawOptions,
    Look,
    TableOptions,
    line_of_python,
    print_json,
    read_table,
    show,
)
from analysis.verbs.prices import PLAIN, Prices, budget, devices, told, told_text

if TYPE_CHECKING:
    from analysis.fits.results import Fit


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
    prices: Prices = PLAIN
    far: bool = False
    """Answer also beyond 1,000 times the fitted compute, or 100 times the params or tokens."""


@dataclass(frozen=True)
class ForecastOptions(LawOptions):
    """Predict held-out runs from the others and score the prediction, or predict a run that is not there."""

    law: str = "auto"
    """The law; auto blends the laws by how close their forecasts within the fitted runs came."""
    holdout_factor: float | None = None
    """Hold out the runs of more than 1/FACTOR of the largest compute (else: the rows the table marks)."""
    params: tuple[float, ...] = ()
    """Predict runs of these sizes (with --tokens)."""
    tokens: tuple[float, ...] = ()
    """Predict runs of that many tokens (with --params): as many as sizes, or one for all."""
    points: Path | None = None
    """Predict the runs of this table: columns params and tokens, and unique_tokens where data repeat."""
    unique_tokens: float | None = None
    """Of the tokens of the runs to predict so many are distinct; more are repeated, and worth less."""
    far: bool = False
    """Answer also beyond 1,000 times the fitted compute, or 100 times the params or tokens."""
    register: Path | None = None
    """Also write the forecast of the runs asked for, sealed and dated, to a new file; none may be trained. A
    plain name (next-scale) keeps it in the ledger of the store."""
    score: Path | None = None
    """Instead: score the forecast that was registered under this name, or in this file, by the runs there."""
    ledger: bool = False
    """Instead: all forecasts of the store beside what came of them, the bad ones too."""
    rollout: Literal["params", "tokens", "flops"] | None = None
    """Also fit growing windows along this axis and score each on what lies beyond."""


@dataclass(frozen=True)
class IsoFlopOptions(TableOptions):
    """Find the compute-optimal size at each level of compute, and how it grows."""

    method: Literal["auto", "parabola", "cubic", "akima", "law"] = "auto"
    """The curve through a level: cubic where sizes suffice, else a parabola; law is the law's own valley."""
    law: str = "auto"
    """The law against which the method's bias is measured, and whose exponent is shown; auto: the one that
    leads, as in `lab fit`; empty for none."""
    bootstrap: int = 1000
    """Draws for the intervals; 0 for none."""
    level: float = 0.95
    """Level of the intervals."""
    seed: int = 0
    """Seed of the bootstrap."""
    include_held_out: bool = False
    """Use the rows that are marked as held out too."""
    at: tuple[float, ...] = ()
    """Also the compute-optimal params and tokens of these budgets in FLOPs, along the line of the minima."""
    far: bool = False
    """Answer also beyond 1,000 times the levels' compute."""
    plot: Path | None = None
    """Also draw the curves with their minima: isoflop.svg, .pdf, .png and .csv into this folder."""
    style: Look = "page"
    """Of that figure; paper is one column of 3.35 inches."""


def fit(argv: list[str]) -> int:
    """`lab fit TABLE`."""
    options = tyro.cli(FitVerbOptions, args=argv, prog="lab fit")
    if options.multiverse:
        return _multiverse(options)
    from analysis.fits.show import fit_text

    return show(options, _fit(options), fit_text)


def _multiverse(options: FitVerbOptions) -> int:
    """`lab fit TABLE --multiverse`. The dimensions are its own; a law or objective asked for is refused."""
    from analysis.universes.multiverse import multiverse as fit_all
    from analysis.universes.show import multiverse_text

    plain = FitVerbOptions(options.table)
    given = [
        name
        for name in ("law", "objective", "delta", "residual", "over_weight")
        if getattr(options, name) != getattr(plain, name)
    ]
    if given:
        raise InputError(
            *(f"--{name.replace('_', '-')}: --multiverse goes through all of them" for name in given)
        )
    result = fit_all(
        read_table(options),
        bootstrap=options.bootstrap,
        level=options.level or 0.95,
        seed=options.seed,
        exclude_held_out=not options.include_held_out,
    )
    return show(options, result, multiverse_text)


def allocate(argv: list[str]) -> int:
    """`lab allocate TABLE --flops C`."""
    options = tyro.cli(AllocateOptions, args=argv, prog="lab allocate")
    from analysis.allocations.limits import Limits, plan, size_limit
    from analysis.allocations.optimum import allocate as best
    from analysis.allocations.show import allocation_text, plan_text
    from analysis.fits.reach import refuse_far

    runs = read_table(options)
    on = devices(options.prices, runs)
    flops = budget(options.prices, on, options.flops)
    if flops is None and options.loss is None:
        raise InputError(
            "--flops: a budget is needed, as in --flops 1e20 (or --kwh, --hours, --money), or a --loss"
        )
    size, why = size_limit(
        options.max_params, options.memory, options.latency, options.bandwidth, options.bytes_per_param
    )
    # A token that is served on devices that serve slowly costs as much as several that are trained on.
    demand = options.inference_tokens * (1.0 if on is None else on.slowdown)
    limits = Limits(options.unique_tokens, demand, size, why)
    fitted = _fit(options, runs)
    if limits == Limits() and options.loss is None:
        found, text = best(fitted, flops), allocation_text
        parts = (found.flops, 0.0)
    else:
        found, text = plan(fitted, flops, options.loss, limits), plan_text
        parts = (found.train_flops, found.inference_flops)
    refuse_far(found.warnings, options.far)
    costs = {} if on is None else {"costs": told(on, *parts), "devices": on.to_dict()}
    if on is not None and on.slowdown != 1:
        costs |= {"inference_tokens": {"served": options.inference_tokens, "counted_as": demand}}
    if options.json:
        excluded = [row.to_dict() for row in fitted.excluded]
        return print_json({**found.to_dict(), **costs, "excluded": excluded})
    priced = "" if on is None else told_text(on, costs["costs"])
    print("\n".join(part for part in (text(found), priced, remarks((), fitted.excluded)) if part))
    return 0


def forecast(argv: list[str]) -> int:
    """`lab forecast TABLE [--params N --tokens D]`."""
    options = tyro.cli(ForecastOptions, args=argv, prog="lab forecast")
    from analysis.audits.forecasting import forecast as predict
    from analysis.audits.rollouts import rollout
    from analysis.audits.show import forecast_text, rollout_text
    from analysis.fits.reach import refuse_far

    if options.score is not None or options.ledger:
        return _score(options)
    asked, unique = _asked(options)
    runs = read_table(options)
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
        at=asked,
        unique_tokens=unique,
        noise=options.noise,
        calibrate=options.calibrate,
    )
    refuse_far(result.warnings, options.far)
    if options.register is not None:
        from analysis.audits.foretold import place
        from analysis.audits.register import record_of, write_record

        to = place(options.table, options.register)
        write_record(to, record_of(result, runs))
        print(f"registered in {to}", file=sys.stderr)
    if options.rollout is None:
        return show(options, result, forecast_text)
    rolled = rollout(runs, options.rollout, **{**shared, "law": result.fit.law})
    if options.json:
        return print_json({**result.to_dict(), "rollout": rolled.to_dict()})
    print(forecast_text(result), rollout_text(rolled), sep="\n\n")
    return 0


def _score(options: ForecastOptions) -> int:
    """`lab forecast TABLE --score FILE`, and `--ledger`."""
    from analysis.audits.foretold import foretold, place
    from analysis.audits.register import read_record, scored
    from analysis.audits.show import foretold_text, scored_text

    if options.register is not None or options.params or options.points is not None:
        name = "--ledger shows" if options.score is None else "--score scores"
        raise InputError(f"{name} what was registered: --register, --params and --points make new ones")
    if options.score is None:
        return show(options, foretold(options.table, read_table(options)), foretold_text)
    record = read_record(place(options.table, options.score))
    return show(options, scored(record, read_table(options)), scored_text)


def _asked(options: ForecastOptions):
    """(params and tokens of the runs to predict, their distinct tokens or None)."""
    params, tokens = list(options.params), list(options.tokens)
    if len(params) == 1 or len(tokens) == 1:
        params, tokens = params * max(1, len(tokens)), tokens * max(1, len(params))
    if len(params) != len(tokens):
        raise InputError(
            "--params and --tokens go together: the runs to predict, as many sizes as token counts or one "
            f"for all; here are {len(options.params)} and {len(options.tokens)}"
        )
    if options.points is None:
        return tuple(zip(params, tokens, strict=True)), options.unique_tokens
    if params or options.unique_tokens is not None:
        raise InputError("--points names the runs to predict: --params, --tokens and --unique-tokens do too")
    table = read(options.points, limits=options.limits)
    columns = [table.columns.get(name) for name in ("params", "tokens")]
    if any(column is None for column in columns):
        raise InputError(f"{options.points}: the runs to predict need columns params and tokens")
    return tuple(zip(*(column.tolist() for column in columns), strict=True)), table.role("unique_tokens")


def isoflop(argv: list[str]) -> int:
    """`lab isoflop TABLE`."""
    options = tyro.cli(IsoFlopOptions, args=argv, prog="lab isoflop")
    from analysis.fits.reach import refuse_far
    from analysis.isoflops.minima import isoflop as minima
    from analysis.isoflops.show import isoflop_text

    runs = read_table(options)
    law = _law_or_none(runs, options)
    found = minima(
        runs,
        options.method,
        law,
        options.bootstrap,
        options.level,
        options.seed,
        not options.include_held_out,
    )
    result = found.asked(options.at)
    refuse_far(result.warnings, options.far)
    if options.plot is not None:
        from analysis.plots import isoflop_curves, save
        from analysis.plots.style import styled

        with styled(options.style):
            drawn = isoflop_curves(result)
        for path in save(drawn, options.plot):
            print(path, file=sys.stderr)
        print(f"  in Python: {line_of_python('fit', 'isoflop', argv)}", file=sys.stderr)
    return show(options, result, isoflop_text)


def _fit(options: LawOptions, runs: Runs | None = None):
    """The fit that was asked for; by the law that leads on the table where none was."""
    from analysis.audits.leading import leading_fit
    from analysis.fits.fitting import fit as fit_law

    law = () if options.law == "auto" else (options.law,)
    runs = read_table(options) if runs is None else runs
    found = (fit_law if law else leading_fit)(
        runs,
        *law,
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
    said = _by_other_params(runs, found, options)
    return replace(found, notes=(*found.notes, *said)) if said else found


def _by_other_params(runs: Runs, found: Fit, options: LawOptions) -> list[Note]:
    """What the exponents would be if another column of the table were its params, for those that could be."""
    if not any(note.code == "two_params" for note in runs.notes):
        return []
    from analysis.fits.fitting import fit as fit_law

    said = []
    shown = {name: found.params[name] for name in ("alpha", "beta") if name in found.params}
    if found.exponents is not None:
        shown["params ~ flops^"] = found.exponents.params_exponent
    for other in rival_params(runs.roles["params"], runs.columns)[:4]:
        values = {**runs.columns, "params": evaluate(other, runs.columns)}
        if runs.roles["flops"] == "6 params tokens":
            values["flops"] = 6 * values["params"] * values["tokens"]
        try:
            again = fit_law(
                replace(runs, columns=values),
                found.law,
                options.objective,
                options.delta,
                options.residual,
                options.over_weight,
                0,
                exclude_held_out=not options.include_held_out,
                noise=options.noise,
            )
        except InputError as error:
            said.append(Note("other_params", f"by {other!r} as params there is no fit: {error.problems[0]}"))
            continue
        there = {name: again.params[name] for name in ("alpha", "beta") if name in again.params}
        if again.exponents is not None:
            there["params ~ flops^"] = again.exponents.params_exponent
        pairs = ", ".join(f"{name} {number(shown[name])} becomes {number(there[name])}" for name in there)
        said.append(Note("other_params", f"by {other!r} as params {pairs}"))
    return said


def _law_or_none(runs: Runs, options: IsoFlopOptions):
    """The law to measure bias by; a table that has levels but determines no law simply goes without."""
    if not options.law:
        return None
    from analysis.audits.leading import leading_fit
    from analysis.fits.fitting import fit as fit_law
    from analysis.laws.named import find

    how = {"bootstrap": min(options.bootstrap, 300), "exclude_held_out": not options.include_held_out}
    law = None if options.law == "auto" else find(options.law)
    try:
        return leading_fit(runs, **how) if law is None else fit_law(runs, law, **how)
    except InputError:
        return None
