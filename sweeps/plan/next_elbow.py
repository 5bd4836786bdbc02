"""Which runs to train next for the elbow of an ability: sizes near it, seeds, and what items would tell."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lab.errors import InputError
from sweeps.plan.cells import Cell
from sweeps.plan.next_cells import Candidates
from sweeps.plan.next_runs import Limits, Proposal, chosen_by, params_of

_SAME = 0.01  # sizes that differ by less are one
_ALIKE = 1e-4  # counts of params that differ by less are of one shape: tables may have rounded them
_ITEMS = 4.0  # times the items, for what they would tell


@dataclass(frozen=True, eq=False)
class KnownAbility:
    """An elbow that was called (`analysis.designs.elbow.Elbow`), and the runs behind it: params, items, seeds
    (n,); tokens: their budget, NaN where the table has none; verdict: of the series."""

    elbow: object
    params: np.ndarray
    items: np.ndarray
    seeds: np.ndarray
    tokens: float
    verdict: str


def of_scores(scores, task: str, metric: str = "exact_match") -> KnownAbility:
    """What a long table of ability scores says of the elbow of a task along params.

    Raises InputError where it has no such series, or no elbow is called in it.
    """
    from analysis.designs.elbow import elbow_of
    from analysis.thresholds import detect

    frame = scores.abilities if hasattr(scores, "abilities") and len(scores.abilities) else scores.frame
    tasks = sorted(set(frame["task"])) if "task" in frame else []
    if task not in tasks:
        said = f"there are {', '.join(map(str, tasks))}" if tasks else "the table has no ability scores"
        raise InputError(f"--task: no task {task!r}; {said}")
    metrics = sorted(set(frame["metric"][frame["task"] == task])) if "metric" in frame else [metric]
    if metric not in metrics:
        raise InputError(f"--metric: {task} has no {metric!r}; there are {', '.join(metrics)}")
    # All tasks: where seeds of one are unknown, those of the others say what they differ by.
    found = detect(frame if "metric" not in frame else frame[frame["metric"] == metric], draws=199)
    series = found[task]
    elbow = elbow_of(series)
    tokens = np.asarray(frame["tokens"], float) if "tokens" in frame else np.array([np.nan])
    return KnownAbility(
        elbow,
        np.asarray(series.x),
        np.asarray(series.items),
        np.asarray(series.seed, float),
        float(np.nanmax(tokens)) if np.isfinite(tokens).any() else float("nan"),
        series.verdict,
    )


def of_sizes(known: KnownAbility) -> Candidates:
    """Sizes of a table and others between them, five seeds each, priced by 6 params tokens; by params where
    it has no tokens."""
    wanted = np.geomspace(known.params.min(), known.params.max(), 25)
    sizes = np.unique(np.concatenate([np.unique(known.params), wanted]))
    n, s = (one.ravel() for one in np.meshgrid(sizes, np.arange(5), indexing="ij"))
    has = np.isfinite(known.tokens)
    tokens = np.full(len(n), known.tokens if has else 0.0)
    return Candidates.straight(n, tokens, s, 6 * n * tokens if has else n, "FLOPs" if has else "params")


def counted_alike(known: KnownAbility, cells: Sequence[Cell], candidates: Candidates) -> Candidates:
    """The candidates with params as the scores count them: a store's scores count all, other tables may leave
    out the input table. cells: of the study, of which most sizes of the scores should be."""

    def found(count: Callable[[Cell], int]) -> int:
        own = np.array(sorted({count(cell) for cell in cells}), float)
        near = np.abs(np.log(np.unique(known.params)[:, None] / own)) < _ALIKE
        return int(near.any(axis=1).sum())

    if found(params_of) >= found(_all_params):
        return candidates
    return replace(candidates, params=np.array([_all_params(cell) for cell in candidates.cells], float))


def _all_params(cell: Cell) -> int:
    return cell.params.total


def untrained(known: KnownAbility, candidates: Candidates) -> Candidates:
    """Those whose size and seed are not there yet."""
    near = np.abs(np.log(candidates.params[:, None] / known.params)) < _SAME
    return candidates.where(~(near & (candidates.seeds[:, None] == known.seeds)).any(axis=1))


def proposed(
    known: KnownAbility, task: str, candidates: Candidates, limits: Limits
) -> tuple[Proposal, Mapping[str, float]]:
    """The runs that narrow the elbow most, and beside them what items have to do with it: the part of the
    variance of a run at the elbow that is of its items, and the narrowing by the same runs with more."""
    from analysis.designs.elbow import elbow_outlook

    if not len(candidates):
        raise InputError("no candidate is left to train: all shapes and seeds are there already")
    elbow, count = known.elbow, float(np.median(known.items))
    x, ahead = np.log10(known.params), np.log10(candidates.params)
    # On the scale of natural logs, as targets of laws are.
    decade = float(np.log(10))

    def seen(items: float):
        return elbow_outlook(elbow, x, known.items, ahead, np.full(len(ahead), items)).scaled(decade)

    words = f"the elbow of {task}"
    laws = {"step" if elbow.is_step else "kink": 1.0}
    source = f"{len(x)} runs, {known.verdict}"
    made = chosen_by(seen(count), words, True, candidates, limits, source, laws)
    of_items = float(elbow.noise(np.array([elbow.place]), np.array([count]))[0])
    said = {"items": count, "part_of_items": of_items / (of_items + elbow.seed_sd**2)}
    if made.indices:
        more = seen(_ITEMS * count).variance(list(made.indices))
        said |= {
            "times_items": _ITEMS,
            "narrowing_with_more_items": 1 - float(np.sqrt(more)) / (elbow.sd * decade),
        }
    return made, said
