"""Which runs to train next for the best learning rate of a size: rates about it, there and at other sizes."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lab.errors import InputError
from sweeps.plan.cells import Cell
from sweeps.plan.next_cells import Candidates, Family, Shape, There, of_family, shape_key
from sweeps.plan.next_runs import Limits, Proposal, chosen_by, ended, params_of
from sweeps.plan.next_targets import positive
from sweeps.plan.scatter import numbered

_RATES = 7  # of each size, about its best
_SIZES, _SEEDS = 12, 3  # of a table without a study
_LARGER = 4.0  # times its largest size
_SAME = 0.01  # sizes, budgets and rates that differ by less are one
_SHAPE = re.compile(r"(\d+)x(\d+)h(\d+)")


@dataclass(frozen=True, eq=False)
class KnownRate:
    """Runs at several learning rates (`analysis.designs.rate.RateRuns`), whose size is counted in `measure`,
    params or width; sizes: by shape, as 48x2h3, where the table has it. ids: of the runs that are there."""

    runs: object
    measure: str
    sizes: Mapping[str, float]
    ids: frozenset[str]
    has_tokens: bool

    @property
    def params(self) -> np.ndarray:
        return self.runs.size

    @property
    def tokens(self) -> np.ndarray:
        return self.runs.tokens


def of_runs(runs, grids: Collection[str] = ()) -> KnownRate:
    """What a table says of learning rates: its finished runs, of these grids where it has any of them.

    Raises InputError where it has no rates, sizes or losses, or where grids of one size would be mixed.
    """
    from analysis.designs.rate import RateRuns
    from analysis.rates import usable

    rate, keep, _ = usable(runs)
    of_grid = np.array([str(name) for name in runs.columns.get("grid", np.full(len(runs), "")).tolist()])
    if (own := np.isin(of_grid, list(grids))).any():
        keep &= own
    found = {
        name: np.asarray(runs.columns[name], float) for name in ("params", "width") if name in runs.columns
    }
    measure = next((name for name, values in found.items() if np.isfinite(values[keep]).all()), "")
    if not (measure and keep.any()):
        raise InputError(f"{runs.source}: no finished run has a learning rate, a loss, and params or a width")
    tokens = np.asarray(runs.columns.get("tokens", np.full(len(runs), np.nan)), float)
    has_tokens = bool(np.isfinite(tokens[keep]).all())
    tokens = tokens if has_tokens else np.ones(len(runs))
    size = found[measure]
    if not own.any() and (mixed := _mixed(of_grid[keep], numbered(size, tokens)[keep])):
        raise InputError(f"{runs.source}: {mixed} have runs of the same sizes; name one of them with --grid")
    shape = [runs.columns.get(name) for name in ("width", "layers", "heads")]
    if any(values is None for values in shape):
        names = [f"{value:.4g} {measure}" for value in size]
        sizes = {}
    else:
        names = [f"{int(w)}x{int(layers)}h{int(h)}" for w, layers, h in zip(*shape, strict=True)]
        sizes = {name: float(value) for name, value, kept in zip(names, size, keep, strict=True) if kept}
    seeds = runs.columns.get("seed")
    if seeds is None:  # runs of one place are told apart by their order
        places = numbered(size, tokens, rate)
        seeds = np.array([np.sum(places[:index] == place) for index, place in enumerate(places)])
    losses = np.log(np.asarray(runs.columns["loss"], float)[keep])
    every = RateRuns(
        size[keep],
        tokens[keep],
        rate[keep],
        np.asarray(seeds, float)[keep],
        losses,
        [name for name, kept in zip(names, keep, strict=True) if kept],
    )
    return KnownRate(every, measure, sizes, ended(runs), has_tokens)


def _mixed(grids: np.ndarray, places: np.ndarray) -> str:
    """Grids that share a place, in words; else empty."""
    for place in np.unique(places):
        names = sorted(set(grids[places == place].tolist()))
        if len(names) > 1:
            return " and ".join(names)
    return ""


def place(at: str, known: KnownRate, of: Family | None = None) -> tuple[float, float]:
    """(size, tokens) that --at names: a shape as 48x2h3, or a number of params (a width, where a table has no
    params), and after a comma tokens, by default those that go with the size, else the most of any run.
    Raises InputError."""
    what, _, tokens = at.partition(",")
    sizes = dict(known.sizes)
    if of is not None:
        cells = of.every.cells
        count = counted(known, cells)
        sizes = {cell.config.model.label: count(cell) for cell in cells} | sizes
    if not what:
        raise InputError(f"--at: says of which size: a shape as 48x2h3, or {known.measure}, as in --at 1e6")
    if _SHAPE.fullmatch(what):
        if what not in sizes:
            there = ", ".join(sorted(sizes, key=sizes.get)[:20]) or f"none; give {known.measure}"
            raise InputError(f"--at: no shape {what!r}; there are {there}")
        size = sizes[what]
    else:
        size = positive(what, f"give {known.measure}, or a shape as 48x2h3")
    if tokens and not known.has_tokens:
        raise InputError("--at: the table has no tokens, so none can be asked for after the comma")
    usual = budget_of(known.runs)(size)
    return size, positive(tokens, "give tokens after the comma") if tokens else float(usual)


def beyond(known: KnownRate, at: tuple[float, float]) -> list:
    """What must be said of a place that lies beyond the runs (`analysis.notes.Note`). Raises InputError
    where that is a number of params that is a width of theirs."""
    from analysis.fits.reach import outside

    size, tokens = at
    have = {known.measure: known.runs.size} | ({"tokens": known.tokens} if known.has_tokens else {})
    found = outside({known.measure: size, "tokens": tokens}, have, "runs")
    named = [name for name in known.sizes if float(name.partition("x")[0]) == size]
    if found and known.measure == "params" and named:
        raise InputError(
            f"--at: {size:g} is a width of the runs, and read as params it lies beyond all of them "
            f"({have['params'].min():.3g} to {have['params'].max():.3g}); the shape is {' or '.join(named)}"
        )
    return found


def budget_of(runs):
    """As `analysis.designs.rate.usual_tokens`."""
    from analysis.designs.rate import usual_tokens

    return usual_tokens(runs)[0]


def counted(known: KnownRate, cells: Sequence[Cell]):
    """How the table counts the size of a cell: params with the input table or without, or its width."""
    if known.measure == "width":
        return lambda cell: float(cell.config.model.width)

    def total(cell: Cell) -> float:
        return float(cell.params.total)

    both = [cell for cell in cells if cell.config.model.label in known.sizes]
    if both and all(abs(np.log(total(c) / known.sizes[c.config.model.label])) < _SAME for c in both):
        return total
    return lambda cell: float(params_of(cell))


def of_study(known: KnownRate, found, of: Family, there: There) -> tuple[Candidates, Family]:
    """Every shape at rates about its best, at the study's own budgets; where the runs say nothing of budgets,
    at those nearest to theirs. And the family with these rates.

    found: the best rate at the target (`analysis.designs.rate.BestRate`).
    """
    cells = of.every.cells
    count = counted(known, cells)
    usual = budget_of(known.runs) if found.tokens_power is None else lambda size: np.median(known.tokens)
    by_shape: dict[Shape, float] = {shape_key(cell.config.model): count(cell) for cell in cells}
    about = {one: rates_about(known, found, size, float(usual(size))) for one, size in by_shape.items()}
    of = replace(of, rates=about)
    candidates = of_family(of, there)
    rates = np.array([cell.config.optimizer.learning_rate for cell in candidates.cells])
    sizes = np.array([count(cell) for cell in candidates.cells])
    candidates = replace(candidates, params=sizes, rates=rates)
    keep = np.isin(candidates.seeds, _seeds(found))
    if known.has_tokens and found.tokens_power is None:
        away = np.abs(np.log(candidates.tokens / usual(sizes)))
        nearest = {size: away[sizes == size].min() for size in np.unique(sizes)}
        keep &= away <= np.array([nearest[size] for size in sizes]) + _SAME
    return candidates.where(keep), of


def of_table(known: KnownRate, found) -> Candidates:
    """Sizes of a table and others between and beyond, priced by 6 params tokens where it has both."""
    own = np.unique(known.params)
    sizes = np.unique(np.concatenate([own, np.geomspace(own[0], _LARGER * own[-1], _SIZES)]))
    usual = budget_of(known.runs)
    rows = [
        (size, tokens, seed, rate)
        for size in sizes
        for tokens in ([float(usual(size))] if found.tokens_power is None else np.unique(known.tokens))
        for rate in rates_about(known, found, size, tokens)
        for seed in _seeds(found)
    ]
    n, d, s, r = (np.array(column) for column in zip(*rows, strict=True))
    is_flops = known.measure == "params" and known.has_tokens
    price = 6 * n * d if is_flops else n * d if known.measure == "params" else n**2 * d
    unit = "FLOPs" if is_flops else "units"
    return replace(Candidates.straight(n, d, s.astype(int), price, unit), rates=r)


def rates_about(known: KnownRate, found, size: float, tokens: float) -> tuple[float, ...]:
    """Rates of a size, even in their logs, that span the interval of its best; at least a factor of e to each
    side and no further than its valley is a parabola."""
    from analysis.designs.rate import best_rate
    from analysis.errors import InputError as Unusable

    centre = float(found.of(size, tokens))
    try:
        half = float(np.abs(np.array(best_rate(known.runs, (size, tokens)).interval) - centre).max())
    except Unusable:
        half = found.reach
    half = min(max(half, 1.0), max(found.reach, 1.0))
    return tuple(float(f"{rate:.3g}") for rate in np.exp(centre + np.linspace(-half, half, _RATES)))


def _seeds(found) -> np.ndarray:
    """Those of the runs; where seeds have no valleys of their own, others too."""
    own = np.unique(found.used.seed)
    return own if found.by_seed else np.unique(np.concatenate([own, np.arange(_SEEDS)]))


def untrained(known: KnownRate, candidates: Candidates) -> Candidates:
    """Those that are not there yet, by run id, else by size, tokens, rate and seed."""
    keep = np.ones(len(candidates), bool)
    if candidates.cells:
        keep &= np.array([cell.run_id not in known.ids for cell in candidates.cells], bool)
    runs = known.runs
    for index in range(len(candidates)):
        near = runs.seed == candidates.seeds[index]
        for mine, theirs in zip(
            (candidates.params, candidates.tokens, candidates.rates),
            (runs.size, runs.tokens, runs.rate),
            strict=True,
        ):
            near &= np.abs(np.log(theirs / mine[index])) < _SAME
        keep[index] &= not near.any()
    return candidates.where(keep)


def proposed(known: KnownRate, found, candidates: Candidates, limits: Limits) -> tuple[Proposal, dict]:
    """The runs that narrow the best rate most, and what else is to be said of it."""
    from analysis.designs.rate import RateRuns, rate_outlook

    if not len(candidates):
        raise InputError("no candidate is left to train: all shapes, rates and seeds are there already")
    none = np.zeros(len(candidates))
    ahead = RateRuns(candidates.params, candidates.tokens, candidates.rates, candidates.seeds, none, ())
    size, tokens = found.at
    words = f"the best learning rate at {size:.4g} {known.measure}"
    if known.has_tokens:
        words += f" and {tokens:.4g} tokens"
    source = f"{len(found.used)} of {len(known.params)} runs, those near the bottom of their valleys"
    seen, together = rate_outlook(found, ahead), found.valleys(ahead)
    made = chosen_by(seen, words, True, candidates, limits, source, {"parabola": 1.0}, together)
    # The ends of the interval are not equally far off, before and after.
    now = tuple(float(end) for end in np.exp(found.interval))
    after = tuple(made.value * (end / made.value) ** (1 - made.narrowing) for end in now)
    more = {"power": found.power, "tokens_power": found.tokens_power, "scatter": found.scatter}
    steps = tuple({known.measure if k == "params" else k: v for k, v in one.items()} for one in made.steps)
    return replace(made, now=now, after=after, steps=steps), more | {"said": list(found.said)}
