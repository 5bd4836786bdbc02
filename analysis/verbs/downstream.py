"""The verb `lab downstream`: a task's score from params and tokens, by loss law and link or directly."""

from __future__ import annotations

from dataclasses import dataclass

import tyro

from analysis.downstreams.downstream import fit_downstream
from analysis.downstreams.laws import WAYS
from analysis.downstreams.results import Downstream
from analysis.downstreams.score_column import scored
from analysis.errors import InputError
from analysis.text import number, pair, remarks, table
from analysis.verbs.options import TableOptions, print_json, read_table


@dataclass(frozen=True)
class DownstreamOptions(TableOptions):
    """Predict a task's score: loss laws with links and a direct law, mixed by their earlier forecasts."""

    score: str = ""
    """The column with the share of items answered correctly, or 1-error, or 0.01*percent; in a store,
    task/metric (copy/exact_match). The loss may be the task's own: --columns loss=bits_per_byte."""
    chance: float | None = None
    """The score of guessing, where it is known; else it is fitted."""
    ways: str = ",".join(WAYS)
    """The links to try, and direct for the law without a loss."""
    params: float | None = None
    """Predict a run of this size (with --tokens)."""
    tokens: float | None = None
    """Predict a run of that many tokens (with --params)."""
    holdout_factor: float | None = None
    """Hold out the rows of more than 1/f of the largest compute; else those that the table marks."""
    bootstrap: int = 300
    """Draws for the intervals; 0 for none."""
    level: float = 0.9
    """Level of the intervals."""
    seed: int = 0
    """Seed of the bootstrap."""


def downstream(argv: list[str]) -> int:
    """`lab downstream TABLE --score COLUMN`."""
    options = tyro.cli(DownstreamOptions, args=argv, prog="lab downstream")
    problems = []
    if not options.score:
        problems.append("--score: name the column that holds the score, as in --score accuracy")
    if (options.params is None) != (options.tokens is None):
        problems.append("--params and --tokens go together: the run to predict")
    if problems:
        raise InputError(*problems)
    at = () if options.params is None else ((options.params, options.tokens),)
    ways = [name.strip() for name in options.ways.split(",") if name.strip()]
    settings = (options.bootstrap, options.level, options.seed, at, options.holdout_factor)
    runs = read_table(options)
    result = fit_downstream(runs, options.score, options.chance, ways, *settings)
    left = scored(runs, options.score)[0].excluded
    if options.json:
        return print_json({**result.to_dict(), "excluded": [row.to_dict() for row in left]})
    print("\n".join(part for part in (downstream_text(result), remarks((), left)) if part))
    return 0


def downstream_text(result: Downstream) -> str:
    level = f"{100 * result.level:g} %"
    values = [
        (name, number(value), pair(result.intervals.get(name))) for name, value in result.params.items()
    ]
    ways = [
        (
            one.name,
            str(one.parameters),
            f"{one.weight:.2f}",
            *("-" if e is None else f"{e:.4f}" for e in (one.earlier_error, one.held_out_error)),
        )
        for one in result.ways
    ]
    cells = [
        (
            "asked" if one.row is None else f"row {one.row}",
            number(one.params),
            number(one.tokens),
            f"{one.predicted:.4f}",
            "" if one.low is None else f"[{one.low:.4f}, {one.high:.4f}]",
            "" if one.measured is None else f"{one.measured:.4f}",
            "" if one.error is None else f"{one.error:+.4f}",
            "" if one.inside is None else ("yes" if one.inside else "no"),
        )
        for one in result.cells
    ]
    parts = [
        f"{result.score}: {result.points} runs, {result.windows} earlier forecasts",
        "",
        table(ways, ("ways", "parameters", "weight", "earlier error", "held out")),
        "",
        f"the heaviest, {result.ways[0].name}: {result.formula}",
        table(values, ("", "estimate", f"{level} interval" if result.intervals else "")),
    ]
    if cells:
        head = ("run", "params", "tokens", "predicted", level, "measured", "error", "inside")
        parts += ["", table(cells, head)]
    if result.held_out_error is not None:
        inside = "" if result.coverage is None else f", {result.coverage:.0%} inside their {level} interval"
        parts.append(f"  mean error of held-out runs {result.held_out_error:.4f}{inside}")
    return "\n".join([*parts, remarks(result.warnings, (), result.notes)]).rstrip()
