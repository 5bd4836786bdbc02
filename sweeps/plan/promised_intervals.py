"""What a study buys: the width of the intervals that its design will give, simulated before it is paid.

Losses are drawn from a law with the scatter of seeds, the law is fitted to each draw, and the spread of the
fitted numbers is what an interval of the finished study will show. Here alone the sweeps use the analysis:
the promise would be worth nothing if another fit than that of `lab fit` made it. It is imported when asked.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from lab.strict import problems_of
from sweeps.plan.cells import Plan
from sweeps.study.prior import Prior

_DRAWS = 200
_MOST_POINTS = 500  # more are thinned, and count for those they stand for


@dataclass(frozen=True)
class Promise:
    """95 % ranges of fitted numbers over simulated studies; ``why`` says why there are none.

    ``forecast`` is half the range of the loss at ten times the largest fitted compute, as a part of it.
    """

    grid: str
    points: int
    ranges: dict[str, tuple[float, float]]
    params_exponent: tuple[float, float] | None
    forecast: float | None
    lost: float  # part of the simulated fits that found no optimum
    why: str = ""


def promises(plan: Plan, prior: Prior, draws: int = _DRAWS, seed: int = 0) -> list[Promise]:
    """One for each grid of text; grids of tasks, and of other factors, are not fitted by such a law."""
    found = []
    for grid in plan.study.grids:
        cells = [c for c in plan.cells if c.grid == grid.name and not c.held_out]
        if cells and not grid.factors and not plan.dataset(cells[0].config).ability_sets():
            found.append(_promise(grid.name, cells, prior, draws, seed))
    return found


def _promise(name: str, cells, prior: Prior, draws: int, seed: int) -> Promise:
    params = np.array([c.params.total - c.params.embedding for c in cells], float)
    tokens = np.array([c.steps * c.config.batch_tokens for c in cells], float)
    places, counts = np.unique(np.stack([params, tokens]), axis=1, return_counts=True)
    lacking = [
        f"{len(np.unique(axis))} {what}, at least 3 are needed"
        for axis, what in ((places[0], "sizes"), (places[1], "token budgets"))
        if len(np.unique(axis)) < 3
    ]
    if lacking or len(counts) < 6:
        why = "; ".join(lacking) or f"{len(counts)} points, at least 6 are needed for 5 numbers"
        return Promise(name, len(cells), {}, None, None, 0.0, why)
    if len(counts) > _MOST_POINTS:
        some = np.linspace(0, len(counts) - 1, _MOST_POINTS).round().astype(int)
        counts = counts[some] * (len(counts) / _MOST_POINTS)
        places = places[:, some]
    return _simulated(name, len(cells), places, counts, prior, draws, seed)


def _simulated(name, points, places, counts, prior: Prior, draws: int, seed: int) -> Promise:
    from analysis.laws.named import find
    from analysis.solve.estimator import minimise
    from analysis.solve.objectives import objective

    law = find("chinchilla")
    exact = np.log(prior.loss(*places))
    logs = np.log(places)
    middle = logs.mean(axis=1)
    centre = {"params": float(middle[0]), "tokens": float(middle[1]), "loss": float(exact.mean())}
    scatter = max(prior.noise, 1e-6) / np.sqrt(counts)
    noise = np.random.default_rng(seed).standard_normal((draws, len(exact))) * scatter
    truth = law.to_inner({k: v for k, v in asdict(prior).items() if k != "noise"}, centre)
    found = minimise(
        law,
        logs - middle[:, None],
        exact + noise - centre["loss"],
        objective("huber", None, "log", None),
        np.broadcast_to(truth, (draws, len(truth))).copy(),
        counts.astype(float),
    )
    values = law.to_public(found.theta, centre)
    with np.errstate(all="ignore"):
        exponent = values["beta"] / (values["alpha"] + values["beta"])
        far = 10 * float((6 * places[0] * places[1]).max())
        best = prior.optimal_params(far)
        at = far / (6 * best)
        forecast = values["E"] + values["A"] * best ** -values["alpha"] + values["B"] * at ** -values["beta"]
        low, high = np.nanquantile(forecast, [0.025, 0.975])
        ranges = {key: _range(v) for key, v in values.items()}
        width = float(0.5 * (high - low) / prior.loss(best, at))
    lost = 1 - float(found.converged.mean())
    return Promise(name, points, ranges, _range(exponent), width, lost)


def _range(values: np.ndarray) -> tuple[float, float]:
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)


def best_prior(plan: Plan, out: Path | None) -> tuple[Prior, str]:
    """The law of the runs that the store has already, else the study's own; and where it comes from."""
    stated = "the study's [prior]" if plan.study.prior != Prior() else "the built-in prior"
    if out is None or not (out / "runs").is_dir():
        return plan.study.prior, stated
    from analysis import fit, read
    from analysis.errors import InputError

    try:
        law = fit(read(out), bootstrap=0)
    except InputError:
        return plan.study.prior, stated
    residual = float(np.sqrt(np.mean(law.noise**2)))
    prior = replace(plan.study.prior, **law.params, noise=max(residual, 1e-6))
    if problems_of(prior):  # a term has vanished from the fit of so few runs
        return plan.study.prior, stated
    return prior, f"the law of {law.points} finished runs in {out}"
