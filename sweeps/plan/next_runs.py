"""Which runs to train next: what is known of a law, and the cells that narrow a target's interval most.

Here the sweeps use the analysis, as for the intervals that a design promises.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product

import numpy as np

from lab.errors import InputError
from sweeps.plan.next_cells import Candidates
from sweeps.plan.promised_intervals import BUILT_IN, Expected, of_fit
from sweeps.plan.scatter import Scatter, numbered

LEVEL = 0.95
_SIGMAS = 1.959963984540054  # of a normal interval at LEVEL
_OPEN = ("unfinished", "failed")
_NONE = 1e-9  # of an interval: the laws leave nothing open
_SAME = 0.01  # params and tokens that differ by less are of one run: a budget is whole steps


@dataclass(frozen=True, eq=False)
class Known:
    """The laws in play (`analysis.designs.outlook.InPlay`), the scatter of runs about them, and the runs that
    inform them: params, tokens, seeds, log_loss (n,). trained: (params, tokens, seed) of all that are there,
    ids by which they are known; source: where law and scatter come from; contradicts: in words, where the
    runs' law lies outside of what was expected of it; too_few: the law is what was expected, for the runs
    determine none."""

    laws: tuple
    scatter: Scatter
    params: np.ndarray
    tokens: np.ndarray
    seeds: np.ndarray
    log_loss: np.ndarray
    trained: np.ndarray
    ids: frozenset[str]
    source: str
    contradicts: str = ""
    too_few: bool = False

    def __len__(self) -> int:
        return len(self.params)


def of_runs(runs, expected: Expected, include_held_out: bool = False) -> Known:
    """What the finished runs of a table say; where they are too few for any law, they inform the `expected`.

    Raises InputError for a table without a usable row.
    """
    from analysis.audits.leading import lead
    from analysis.designs.outlook import InPlay
    from analysis.errors import InputError as Unusable
    from analysis.fits.fitting import Settings
    from analysis.solve.objectives import objective
    from analysis.tables.sample import sample

    every = sample(runs, ("params", "tokens"))
    rows = every.without_held_out(not include_held_out)
    prior, contradicts, too_few = expected, "", False
    try:
        found, ranked = lead(rows, runs, Settings(objective("huber", None, "log", None), bootstrap=0))
        laws = tuple(
            InPlay(law, values, weight)
            for (law, values), weight in zip(ranked.blend.laws, ranked.blend.weights, strict=True)
        )
        expected = of_fit(found, f"{found.points} finished runs")
        if prior is not BUILT_IN:  # which nobody asked for
            contradicts = contradiction(laws, expected, prior)
    except Unusable as error:
        laws, too_few = of_prior(expected).laws, True
        source = f"{expected.source}, for the {len(rows)} runs determine no law: {error.problems[0]}"
        expected = replace(expected, source=source)
    seeds = _seeds(runs, rows)
    return Known(
        laws,
        expected.scatter,
        rows.inputs["params"],
        rows.inputs["tokens"],
        seeds,
        np.log(rows.loss),
        np.stack([every.inputs["params"], every.inputs["tokens"], _seeds(runs, every)]),
        ended(runs),
        expected.source,
        contradicts,
        too_few,
    )


def contradiction(laws, by_runs: Expected, prior: Expected) -> str:
    """In words, where runs and prior part by more than both leave open; else empty.

    Compared is the exponent of compute-optimal params, which other text, tokens and ways of counting change
    least. A prior without runs of its own is taken at its word.
    """
    from analysis.designs.outlook import Cells, InPlay, outlook
    from analysis.designs.targets import Target
    from analysis.laws.named import find

    n, d, _ = by_runs.runs
    target = Target("exponent", flops=float((6 * n * d).max()))
    none = Cells(np.zeros(0), np.zeros(0), np.zeros(0, int))

    def said(laws, of: Expected) -> tuple[float, float]:
        if of.runs is None:
            return float(target.value(laws[0].law, laws[0].params)), 0.0
        seen = outlook(laws, target, Cells(*of.runs), none, of.scatter)
        return seen.value, _SIGMAS * float(np.sqrt(seen.variance()))

    def words(value: float, half: float) -> str:
        return f"{value:.2f}" + (f" [{value - half:.2f}, {value + half:.2f}]" if half else "")

    believed = find(prior.law)
    if not target.suits(believed) or not any(target.suits(one.law) for one in laws):
        return ""
    mine, theirs = said(laws, by_runs), said([InPlay(believed, dict(prior.params))], prior)
    if not np.hypot(mine[1], theirs[1]) < abs(mine[0] - theirs[0]):
        return ""
    return (
        f"the runs contradict what was expected by {prior.source}: the exponent of compute-optimal params is "
        f"{words(*mine)} by the runs, {words(*theirs)} by that; the runs are believed"
    )


def params_of(cell) -> int:
    """Those that multiply activations, as fits count them."""
    return cell.params.total - cell.params.embedding


def ended(runs) -> frozenset[str]:
    """Ids of the runs that are there, the diverged ones too: they would diverge again."""
    ids = runs.columns.get("run_id")
    if ids is None:
        return frozenset()
    states = runs.columns.get("status", np.full(len(ids), "ok"))
    return frozenset(
        str(name) for name, state in zip(ids.tolist(), states.tolist(), strict=True) if state not in _OPEN
    )


def _seeds(runs, rows) -> np.ndarray:
    """The seed of each row; where the table has none, runs of one place are told apart by their order."""
    column = runs.columns.get("seed")
    if column is not None:
        return np.array([float(column[row] or 0) for row in rows.rows.tolist()])
    places = numbered(rows.inputs["params"], rows.inputs["tokens"])
    return np.array([float(np.sum(places[:index] == place)) for index, place in enumerate(places)])


def of_prior(expected: Expected) -> Known:
    """Nothing but a law that is expected, and the scatter about it."""
    from analysis.designs.outlook import InPlay
    from analysis.laws.named import find

    nothing = np.zeros(0)
    laws = (InPlay(find(expected.law), dict(expected.params)),)
    empty = np.zeros((3, 0))
    return Known(
        laws, expected.scatter, nothing, nothing, nothing, nothing, empty, frozenset(), expected.source
    )


def believing(known: Known, prior: Known) -> Known:
    """The runs that are known, by the law that was expected."""
    lacks = f"the law of the {len(known)} runs has no compute-optimum near what can be trained"
    source = f"{prior.source}, for {lacks}"
    return replace(known, laws=prior.laws, scatter=prior.scatter, source=source)


def untrained(known: Known, candidates: Candidates) -> Candidates:
    """Those that are not there yet, by run id, else by params, tokens and seed."""
    keep = np.ones(len(candidates), bool)
    if candidates.cells:
        keep &= np.array([cell.run_id not in known.ids for cell in candidates.cells], bool)
    n, d, s = known.trained
    for index in range(len(candidates)):
        near = np.abs(np.log(n / candidates.params[index])) < _SAME
        near &= np.abs(np.log(d / candidates.tokens[index])) < _SAME
        keep[index] &= not (near & (s == candidates.seeds[index])).any()
    return candidates.where(keep)


def starter(candidates: Candidates, budget: float, sizes: int = 4, budgets: int = 3) -> list[int]:
    """What a study without any run begins with: an even grid of few sizes by few budgets, one seed, as far
    as the budget reaches; where it reaches for none, the cheapest. A design that is best under one law begins
    with too few places to tell laws apart.
    """
    costs, alone = costs_of(candidates), candidates.alone
    paid = alone <= budget
    if not paid.any():
        return [int(np.argmin(alone))]
    first = paid & (candidates.seeds == candidates.seeds[paid].min())
    best: list[int] = []
    # Where a size costs much to begin, fewer of them leave more budgets each.
    for count, cap in product(range(sizes, 1, -1), np.geomspace(budget, alone[first].min(), 60)):
        cheap = np.flatnonzero(first & (alone <= cap * (1 + 1e-9)))
        found: list[int] = []
        for size in _evenly(np.unique(candidates.params[cheap]), count):
            of = cheap[candidates.params[cheap] == size]
            found += _evenly(of[np.argsort(candidates.tokens[of])], budgets).tolist()
        if len(found) > len(best) and costs.of(found) <= budget:
            best = found
        if len(best) >= 0.75 * sizes * budgets:
            break
    return best or [int(np.argmin(alone))]


def _evenly(values: np.ndarray, count: int) -> np.ndarray:
    return values[np.unique(np.linspace(0, len(values) - 1, count).round().astype(int))]


@dataclass(frozen=True)
class Proposal:
    """The cells to train next, and what they buy.

    value, now, after: the target and its interval at LEVEL before and after, on its own scale (counts, nats);
    narrowing: the part of the width that goes; floor: the part of the width that no run removes; steps: of
    each cell in order (params, tokens, seed, what it adds to the cost, narrowing after it; of a study's
    shapes run_id and shape, as 48x2h3; rate where that is what is looked for); stop: why nothing should be
    trained, else empty.
    """

    target: str
    level: float
    value: float
    now: tuple[float, float]
    after: tuple[float, float]
    narrowing: float
    floor: float
    between: float
    cost: float
    unit: str
    steps: tuple[dict, ...]
    stop: str
    source: str
    laws: dict[str, float]
    indices: tuple[int, ...]

    def to_dict(self) -> dict:
        return {key: value for key, value in asdict(self).items() if key != "indices"}


def proposed(
    known: Known,
    target,
    candidates: Candidates,
    budget: float,
    most: int,
    least: float = 0.05,
    unit_price: float = 1.0,
) -> Proposal:
    """The candidates that narrow `target` most within a budget.

    unit_price: what a unit of the candidates' cost is in that of the budget; least: the part of the width
    that they must take off, or the answer is to stop.
    """
    from analysis.designs.outlook import Cells, outlook
    from analysis.designs.targets import checked

    target = checked(target, [one.law for one in known.laws])
    if not len(candidates):
        raise InputError("no candidate is left to train: all shapes, budgets and seeds are there already")
    trunks = numbered(
        np.concatenate([known.params, candidates.params]), np.concatenate([known.seeds, candidates.seeds])
    )
    n = len(known)
    have = Cells(known.params, known.tokens, trunks[:n], known.log_loss)
    ahead = Cells(candidates.params, candidates.tokens, trunks[n:])
    scatter = known.scatter
    own = scatter.model**2 + scatter.trunk**2 + scatter.run**2 if target.kind == "loss" else 0.0
    seen = outlook(known.laws, target, have, ahead, scatter, own)
    limits = Limits(budget, most, least, unit_price)
    laws = {one.law.name: one.weight for one in known.laws}
    return chosen_by(seen, str(target), target.logarithmic, candidates, limits, known.source, laws)


@dataclass(frozen=True)
class Limits:
    """Of a choice, as `proposed` takes them."""

    budget: float
    most: int
    least: float = 0.05
    unit_price: float = 1.0


def chosen_by(
    seen,
    target: str,
    logarithmic: bool,
    candidates: Candidates,
    limits: Limits,
    source: str,
    laws: Mapping,
    together: np.ndarray | None = None,
) -> Proposal:
    """The candidates that narrow most what was `seen` ahead (`analysis.designs.outlook.Outlook`); target in
    words; logarithmic: its natural log is what was seen; together: as `analysis.designs.choice.choose` takes
    it."""
    from analysis.designs.choice import choose

    costs = costs_of(candidates, limits.unit_price)
    choice = choose(seen, costs, limits.budget, limits.most, together)
    widths = np.sqrt(np.array(choice.variances) + seen.floor)
    narrowing = 1 - widths / widths[0] if widths[0] > 0 else np.zeros(len(widths))
    steps, before = [], 0.0
    for place, index in enumerate(choice.chosen):
        steps.append(
            {
                "params": float(candidates.params[index]),
                "tokens": float(candidates.tokens[index]),
                "seed": int(candidates.seeds[index]),
                "cost": choice.spent[place] - before,
                "narrowing": float(narrowing[place + 1]),
            }
        )
        before = choice.spent[place]
        if candidates.cells:
            cell = candidates.cells[index]
            steps[-1] |= {"run_id": cell.run_id, "shape": cell.config.model.label}
        if candidates.rates is not None:
            steps[-1]["rate"] = float(candidates.rates[index])
    floor = float(np.sqrt(seen.floor) / max(widths[0], 1e-300))
    return Proposal(
        target,
        LEVEL,
        float(np.exp(seen.value) if logarithmic else seen.value),
        _interval(seen.value, widths[0], logarithmic),
        _interval(seen.value, widths[-1], logarithmic),
        float(narrowing[-1]),
        floor,
        float(np.sqrt(seen.between / max(seen.variance() + seen.floor, 1e-300))),
        choice.spent[-1] if choice.spent else 0.0,
        candidates.unit,
        tuple(steps),
        _stop(choice.chosen, costs, limits, float(narrowing[-1]), floor, widths[0] < _NONE and list(laws)),
        source,
        dict(laws),
        choice.chosen,
    )


def costs_of(candidates: Candidates, unit_price: float = 1.0):
    """What they cost together (`analysis.designs.choice.Costs`)."""
    from analysis.designs.choice import Costs, Shared

    trunks = Shared(candidates.trunk, candidates.hold * unit_price, candidates.kept * unit_price)
    shapes = Shared(candidates.shape, candidates.start * unit_price)
    return Costs(candidates.own * unit_price, (trunks, shapes))


def _interval(value: float, deviation: float, logarithmic: bool) -> tuple[float, float]:
    ends = value - _SIGMAS * deviation, value + _SIGMAS * deviation
    low, high = (float(np.exp(end) if logarithmic else end) for end in ends)
    return low, high


def _stop(chosen: Sequence[int], costs, limits: Limits, narrowing: float, floor: float, assume) -> str:
    """assume: the laws in play where all of them have the number by assumption."""
    cheapest = float(costs.more([]).min())
    if not chosen and cheapest > limits.budget:
        return (
            f"no candidate can be paid: the cheapest costs {cheapest:.3g}, the budget is {limits.budget:.3g}"
        )
    if narrowing >= limits.least:
        return ""
    if assume:
        return (
            f"{' and '.join(assume)} has it by assumption; another law is named by --prior, or found by runs"
        )
    said = f"the best cells within the budget take {narrowing:.1%} off the interval"
    said += f", less than {limits.least:.0%}"
    if floor > 0.9:
        said += f"; {floor:.0%} of its width is the scatter of a new run, which no run removes"
    return said
