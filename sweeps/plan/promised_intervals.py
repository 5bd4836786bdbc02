"""What a study buys: the intervals that its design will give, simulated before it is paid.

Studies are drawn from a law with the scatter of runs about it, as finished studies show both, and the law is
fitted to each with intervals as `lab fit` makes them. Here the sweeps use the analysis: the promise would be
worth nothing if another fit made it. It is imported when asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from sweeps.plan.cells import Plan
from sweeps.plan.scatter import Scatter, measured, numbered
from sweeps.study.prior import Prior

_STUDIES = 16  # simulated for a promise; intervals of one study to the next differ by a third
_DRAWS = 100  # of the bootstrap in each
_MOST_POINTS = 300  # more are thinned, and count for those they stand for


@dataclass(frozen=True)
class Expected:
    """The law that a design is judged by, and the scatter about it; ``source`` says where both come from.

    ``runs``: params, tokens and trunk number (n,) of those it was fitted to, where it was.
    """

    law: str
    params: Mapping[str, float]
    scatter: Scatter
    source: str
    runs: tuple[np.ndarray, np.ndarray, np.ndarray] | None = field(default=None, compare=False, repr=False)

    def loss(self, params, tokens):
        from analysis.laws.named import find

        inputs = {"params": np.asarray(params, float), "tokens": np.asarray(tokens, float)}
        return find(self.law).loss(self.params, inputs)

    def optimal_params(self, flops: float) -> float:
        from analysis.laws.frontier import optimum
        from analysis.laws.named import find

        return float(np.exp(optimum(find(self.law), self.params, flops)))

    def to_dict(self) -> dict:
        return {"law": self.law, **self.params, "noise": asdict(self.scatter), "source": self.source}


# Printed by `lab plan sweeps/studies/compression.toml --prior runs/compression --json`, of that study's 14
# fitted runs of language by AdamW (technical English in bytes, 2e4 to 1.2e5 params that multiply activations,
# 6e5 to 5e6 tokens). They are of one seed: what seeds scatter is part of the law's own error. It says nothing
# of other data: give [prior] in the study, or a store with runs like those planned.
BUILT_IN = Expected(
    "chinchilla-tied",
    {"E": 1.259, "A": 155.2, "B": 2471.0, "alpha": 0.6194},
    Scatter(model=0.0084, reach=0.72, trunk=0.0, run=0.0),
    "14 runs of technical English",
)


@dataclass(frozen=True)
class Promise:
    """Intervals at 95 % as `lab fit` would print them, medians over simulated studies; ``why`` says why there
    are none.

    ``forecast`` is half the interval of the loss at ten times the largest fitted compute, as a part of it.
    ``lost``: part of the simulated fits that found no optimum.
    """

    grid: str
    points: int
    ranges: dict[str, tuple[float, float]]
    params_exponent: tuple[float, float] | None
    forecast: float | None
    lost: float
    why: str = ""
    law: str = ""


@dataclass(frozen=True)
class Design:
    """The runs of a grid that will be fitted: params, tokens and seed of each (n,)."""

    grid: str
    params: np.ndarray
    tokens: np.ndarray
    seeds: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @property
    def trunks(self) -> np.ndarray:
        return numbered(self.params, self.seeds)

    def thinned(self, most: int) -> "Design":
        if len(self.params) <= most:
            return self
        some = np.linspace(0, len(self.params) - 1, most).round().astype(int)
        return Design(self.grid, self.params[some], self.tokens[some], self.seeds[some])


def promises(plan: Plan, prior: Expected | Prior, studies: int = _STUDIES, seed: int = 0) -> list[Promise]:
    """One for each grid of text; grids of tasks, and of other factors, are not fitted by such a law."""
    found = []
    for grid in plan.study.grids:
        cells = [c for c in plan.cells if c.grid == grid.name and not c.held_out]
        if cells and not grid.factors and not plan.dataset(cells[0].config).ability_sets():
            rows = [
                (c.params.total - c.params.embedding, c.steps * c.config.batch_tokens, c.config.seed)
                for c in cells
            ]
            design = Design(grid.name, *np.array(rows, float).T)
            found.append(promised(design, prior, studies, seed))
    return found


def promised(design: Design, prior: Expected | Prior, studies: int = _STUDIES, seed: int = 0) -> Promise:
    """What a design promises under a law."""
    expected = prior if isinstance(prior, Expected) else stated(prior, "the study's [prior]")
    places = np.unique(np.stack([design.params, design.tokens]), axis=1)
    lacking = [
        f"{len(np.unique(axis))} {what}, at least 3 are needed"
        for axis, what in ((places[0], "sizes"), (places[1], "token budgets"))
        if len(np.unique(axis)) < 3
    ]
    points = len(design.params)
    if lacking or places.shape[1] < 6:
        why = "; ".join(lacking) or f"{places.shape[1]} points, at least 6 are needed for 5 numbers"
        return Promise(design.grid, points, {}, None, None, 0.0, why)
    return _simulated(design.thinned(_MOST_POINTS), points, expected, studies, seed)


def _simulated(design: Design, points: int, prior: Expected, studies: int, seed: int) -> Promise:
    from analysis.intervals.bootstrap import bootstrap, interval, widened
    from analysis.laws.frontier import exponents
    from analysis.laws.named import find
    from analysis.solve.estimator import minimise
    from analysis.tables.sample import Sample

    law, n, d = find(prior.law), design.params, design.tokens
    trunks = design.trunks
    exact = np.log(prior.loss(n, d))
    x, centre = _centred(n, d, np.exp(exact))
    truth = law.to_inner(dict(prior.params), centre)
    noise = prior.scatter
    if len(n) < points:  # a run of the thinned design stands for several
        few = np.sqrt(len(n) / points)
        noise = replace(noise, trunk=noise.trunk * few, run=noise.run * few)
    rng = np.random.default_rng(seed)
    targets = exact + noise.draw(n, d, trunks, studies, rng) - centre["loss"]
    targets += 1e-7 * rng.standard_normal(targets.shape)  # without any noise there is no scale to fit by
    rho = _objective(law, points, noise)
    found = minimise(law, x, targets, rho, np.repeat(truth[None], studies, axis=0))
    values = law.to_public(found.theta, centre)
    most = float((6 * n * d).max())
    best = prior.optimal_params(10 * most)
    far = {"params": np.array([best]), "tokens": np.array([10 * most / (6 * best)])}
    far["flops"] = np.array([10 * most])
    by_trunk = "runs of one shape and seed" if len(np.unique(trunks)) < len(n) else ""
    ends: dict[str, list[tuple[float, float]]] = {name: [] for name in law.names}
    splits, widths = [], []
    for index in range(studies):
        loss = np.exp(targets[index] + centre["loss"])
        rows = Sample(
            {"params": n, "tokens": d}, loss, np.arange(len(n)), np.zeros(len(n), bool),
            trunks if by_trunk else np.arange(len(n)), by_trunk, (), (),
        )  # fmt: skip
        one = (law, x, targets[index], rho, found.theta[index][None], rows)
        _, spread, drawn = bootstrap(*one, _DRAWS, "auto", 0.95, seed + index)
        draws = law.to_public(drawn.theta, centre)
        here = {name: float(of[index]) for name, of in values.items()}
        for parameter in law.parameters:
            name = parameter.name
            logarithmic = here[name] > 0 and (parameter.positive or parameter.low >= 0)
            ends[name].append(interval(here[name], draws[name], 0.95, spread, logarithmic))
        split = float(exponents(law, here, most))
        if np.isfinite(split):
            splits.append(interval(split, exponents(law, draws, most), 0.95, spread))
        with np.errstate(all="ignore"):
            ahead = np.log(law.loss({k: v[:, None] for k, v in draws.items()}, far))
            low, high = widened(np.log(law.loss(here, far)), ahead, 0.95, spread, False)
        widths.append(float(0.5 * (np.exp(high) - np.exp(low))[0] / law.loss(prior.params, far)[0]))
    ranges = {name: _median(pairs) for name, pairs in ends.items()}
    lost = 1 - float(found.converged.mean())
    split = _median(splits) if splits else None
    return Promise(design.grid, points, ranges, split, float(np.nanmedian(widths)), lost, law=law.name)


def _objective(law, points: int, noise: Scatter):
    """What `lab fit` minimises: of few rows its corner is that of the noise."""
    from analysis.fits.fitting import HOFFMANN
    from analysis.solve.scale import CORNER, are_few

    if not are_few(points, len(law.names)):
        return HOFFMANN
    size = float(np.sqrt(noise.model**2 + noise.trunk**2 + noise.run**2))
    return replace(HOFFMANN, delta=max(HOFFMANN.delta, CORNER * size))


def _median(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    low, high = np.nanmedian(np.array(pairs, float), axis=0)
    return float(low), float(high)


def stated(prior: Prior, source: str) -> Expected:
    """Chinchilla's law as a study's [prior] states it."""
    values = {name: getattr(prior, name) for name in ("E", "A", "alpha", "B", "beta")}
    noise = Scatter(prior.model_error, prior.model_reach, prior.trunk_noise, prior.noise)
    return Expected("chinchilla", values, noise, source)


def of_store(store: Path) -> Expected:
    """The law that leads on the runs of a store, and their scatter about it. Raises InputError."""
    from analysis.audits.leading import leading_fit
    from analysis.errors import InputError
    from analysis.tables.table import read

    law = leading_fit(read(store), bootstrap=0)
    if lost := law.certificate.bound_hits:
        raise InputError(f"{store}: {law.law.name} has lost a term there: {'; '.join(lost)}")
    return of_fit(law, f"{law.points} finished runs in {store}")


def of_fit(law, source: str) -> Expected:
    """A fitted law, and the scatter of its runs about it."""
    data = law.sampled
    n, d = data["params"], data["tokens"]
    seen = measured(data["residual"], n, d, law.rows.clusters)
    if not law.certificate.bound_hits:  # a law that lost a term is no truth to simulate
        seen = _freed(law.law, law.params, n, d, law.rows.clusters, seen)
    _, trunks = np.unique(law.rows.clusters, return_inverse=True)
    return Expected(law.law.name, law.params, seen, source, (n, d, trunks))


def _freed(law, params, n, d, trunks, seen: Scatter, rounds: int = 3) -> Scatter:
    """The scatter whose fits leave residuals with the scatter that was seen.

    A fit follows part of what it is fitted to, the more the fewer sizes there are; how much of each kind is
    found by simulating it (indirect inference: Gourieroux, Monfort and Renault 1993).
    """
    from analysis.solve.estimator import minimise

    x, centre = _centred(n, d, law.loss(params, {"params": n, "tokens": d}))
    truth = law.to_inner(dict(params), centre)
    exact = law.log_loss(truth[None], x)[0]
    found = seen
    for _ in range(rounds):
        targets = exact + found.draw(n, d, trunks, _STUDIES, np.random.default_rng(0))
        rho = _objective(law, len(n), found)
        theta = minimise(law, x, targets, rho, np.repeat(truth[None], _STUDIES, axis=0)).theta
        left = [measured(row, n, d, trunks) for row in targets - law.log_loss(theta, x)]
        factors = {}
        for name in ("model", "trunk", "run"):
            typical = float(np.sqrt(np.mean([getattr(one, name) ** 2 for one in left])))
            ratio = getattr(seen, name) / typical if typical > 0 else 1.0
            factors[name] = getattr(found, name) * float(np.clip(ratio, 0.5, 2.0))
        found = replace(found, **factors)
    return found


def _centred(n, d, loss) -> tuple[np.ndarray, dict[str, float]]:
    """(log params and log tokens about their means (2, n), the means and that of the log loss)."""
    logs = np.log(np.stack([n, d]))
    middle = logs.mean(axis=1)
    named = zip(("params", "tokens"), middle.tolist(), strict=True)
    return logs - middle[:, None], {**dict(named), "loss": float(np.mean(np.log(loss)))}


def best_prior(plan: Plan, out: Path | None, named: Path | None = None) -> Expected:
    """The law and scatter of the store that was `named`; else of the runs that `out` has already; else the
    study's own [prior]; else those that are built in."""
    from analysis.errors import InputError

    if named is not None:
        from lab import errors

        try:
            return of_store(named)
        except InputError as error:
            raise errors.InputError(*(f"--prior: {problem}" for problem in error.problems)) from None
    own = BUILT_IN if plan.study.prior == Prior() else stated(plan.study.prior, "the study's [prior]")
    if out is None or not (out / "runs").is_dir():
        return own
    try:
        return of_store(out)
    except InputError:
        return own


@dataclass(frozen=True)
class Kept:
    """A promise beside what the finished study delivers: widths of 95 % intervals, promised over delivered.

    ``ratios``: by name, of positive numbers as factors, of the law that was promised fitted to the finished
    runs; ``loss``: that law's at ten times the largest fitted compute. ``leads``: the law that leads on them.
    """

    grid: str
    law: str
    leads: str
    ratios: dict[str, float]
    source: str


def kept(out: Path, prior: Prior) -> Kept | None:
    """How the promise for the grid whose law a store shows came true; None where it shows none."""
    from analysis.audits.leading import leading_fit
    from analysis.errors import InputError
    from analysis.fits.fitting import fit
    from analysis.tables.table import read

    expected = BUILT_IN if prior == Prior() else stated(prior, "the study's [prior]")
    try:
        runs = read(out)
        leads = leading_fit(runs)
        made = leads if leads.law.name == expected.law else fit(runs, expected.law)
    except InputError:
        return None
    rows = leads.data["row"]
    seeds = np.asarray([float(seed or 0) for seed in runs.columns["seed"][rows].tolist()])
    grid = str(runs.columns["grid"][rows[0]])
    said = promised(Design(grid, leads.data["params"], leads.data["tokens"], seeds), expected)
    if said.why:
        return None
    return Kept(grid, said.law, leads.law.name, _ratios(said, made, expected), expected.source)


def _ratios(said: Promise, made, expected: Expected) -> dict[str, float]:
    from analysis.fits.prediction import prediction_interval

    ratios = {}
    interval = made.exponents.interval if made.exponents is not None else None
    # A law with one exponent for both terms fixes it: nothing to compare.
    if interval is not None and said.params_exponent and np.ptp(interval) > 0:
        ratios["params_exponent"] = float(np.ptp(said.params_exponent) / np.ptp(interval))
    for name, (low, high) in said.ranges.items():
        down, up = made.intervals[name]
        if min(low, down) > 0 and high > low and up > down:
            ratios[name] = float(np.log(high / low) / np.log(up / down))
    flops = 10 * float((6 * made.data["params"] * made.data["tokens"]).max())
    params = expected.optimal_params(flops)
    far = {"params": params, "tokens": flops / (6 * params)}
    low, high = prediction_interval(made, far, 0.95, new_run=False)
    half = float(high - low) / 2 / float(expected.loss(**far))
    if said.forecast and half > 0:
        ratios["loss"] = said.forecast / half
    return ratios
