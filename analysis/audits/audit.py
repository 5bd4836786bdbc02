"""The audit: what a table's laws would have been worth one scale earlier, before one is trusted further."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.audits.blend import about
from analysis.audits.misses import misses, widening
from analysis.audits.mistuned import Rung, find_mistuned
from analysis.audits.predictions import AXES, flops_of
from analysis.audits.ranking import CANDIDATES, rank
from analysis.audits.results import Rollout
from analysis.audits.rollouts import roll
from analysis.errors import InputError
from analysis.fits.fitting import Settings, fit_sample
from analysis.fits.prediction import prediction_interval
from analysis.fits.results import Fit
from analysis.laws.frontier import optimum, spends_compute
from analysis.laws.law import Law
from analysis.laws.named import find
from analysis.notes import Note
from analysis.solve.objectives import Rho
from analysis.solve.objectives import objective as make_objective
from analysis.tables.sample import Sample, sample
from analysis.tables.table import Runs, as_runs

WINDOWS = 4

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Standing:
    """A law by its held-out errors over all rollouts: mean size, root mean square, mean signed, in percent.

    windows: how many it could be fitted to; missed: those that others were fitted to and it was not.
    relative: mean error over that of the best law on the predictions that both made.
    """

    law: str
    parameters: int
    predictions: int
    mean_abs_error_percent: float
    rms_error_percent: float
    bias_percent: float
    windows: int
    missed: int
    relative: float


@dataclass(frozen=True)
class NextScale:
    """The compute-optimal run at `factor` times the table's compute: its loss and interval.

    The place is the best law's, the loss that of `forecast`: all laws together, weighed by their earlier
    forecasts. bootstrap: the interval that the leading law alone would give; widened: the factor from earlier
    misses, None where no window could be scored.
    """

    factor: float
    flops: float
    params: float
    tokens: float
    loss: float
    interval: tuple[float, float]
    bootstrap: tuple[float, float]
    widened: float | None


@dataclass(frozen=True, repr=False)
class Audit:
    """What laws fitted below a scale were worth beyond it.

    laws: best first. rollouts: those of the best law by axis. rungs: sizes by rising params.

    without_mistuned: the exponent of compute-optimal params without the mistuned rungs, None without any.
    """

    fit: Fit
    laws: tuple[Standing, ...]
    rollouts: tuple[Rollout, ...]
    next_scale: NextScale | None
    rungs: tuple[Rung, ...]
    without_mistuned: float | None
    level: float
    warnings: tuple[Note, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "law": self.fit.law.name,
            "laws": [asdict(one) for one in self.laws],
            "rollouts": [one.to_dict() for one in self.rollouts],
            "next_scale": None if self.next_scale is None else asdict(self.next_scale),
            "rungs": [one.to_dict() for one in self.rungs],
            "without_mistuned": self.without_mistuned,
            "level": self.level,
            "fit": self.fit.to_dict(),
            "warnings": [note.to_dict() for note in self.warnings],
        }

    def to_frame(self) -> pandas.DataFrame:
        """A row for each law, the best first, with the fields of `Standing`."""
        import pandas

        return pandas.DataFrame([asdict(one) for one in self.laws])

    if TYPE_CHECKING:  # its body is in `analysis.api`

        def plot(self, **options: Any) -> Any: ...

    def __repr__(self) -> str:
        best = self.laws[0]
        return (
            f"Audit({best.law}: mean held-out error {best.mean_abs_error_percent:.2f} % over "
            f"{best.windows} windows; {len(self.warnings)} warnings)"
        )


def audit(
    runs: Any,
    laws: Sequence[str | Law] = CANDIDATES,
    objective: str = "huber",
    delta: float | None = None,
    bootstrap: int = 500,
    level: float = 0.9,
    seed: int = 0,
    factor: float = 10.0,
    alpha: float = 0.05,
    exclude_held_out: bool = True,
    progress: Callable[[float], None] | None = None,
) -> Audit:
    """Rollouts over params, tokens and flops for each law, the law that did best, and what it says next.

    runs: Runs, a path or a DataFrame. objective, delta: of every fit, as `fit` takes them. bootstrap: draws
    for the forecast's interval at `level`. factor: how many times the table's compute the next scale has.
    alpha: false alarms of the test for mistuned rungs. Rows marked as held out take no part unless
    exclude_held_out is false. progress: called with the share that is done, in [0, 1]. Raises InputError when
    no law can be fitted and rolled.
    """
    if not factor > 1:
        raise InputError(f"factor: {factor} is not a number above 1")
    rho = make_objective(objective, delta, "log", None)
    tried = [find(law) for law in laws]
    runs = as_runs(runs)
    needed = dict.fromkeys(name for law in tried for name in law.inputs)
    rows = sample(runs, tuple(needed))
    if exclude_held_out and rows.held_out.all():
        text = f"all {len(rows)} usable rows are marked as held out; --include-held-out takes them in"
        raise InputError(f"{runs.source}: {text}")
    rows = rows.without_held_out(exclude_held_out)
    rolled: dict[str, dict[str, Rollout]] = {}
    problems: list[str] = []
    done = progress or (lambda share: None)
    for number, law in enumerate(tried):
        # Rolling is most of the work; what is left is of the size of one law more.
        done(number / (len(laws) + 1))
        try:
            rolled[law.name] = _rolled(rows, law, rho, runs)
        except InputError as error:
            problems += error.problems
    if not rolled:
        # What keeps the whole table from a law says more than what keeps each window from it.
        fit_sample(rows, tried[0], runs.source, Settings(rho))
        raise InputError(*dict.fromkeys(problems))
    done(len(laws) / (len(laws) + 1))
    standings = _standings({law.name: law for law in tried}, rolled)
    best = find_among(tried, standings[0].law)
    settings = Settings(rho, bootstrap, level=level, seed=seed)
    fitted = fit_sample(rows, best, runs.source, settings)
    found = find_mistuned(fitted, rows.clusters, alpha)
    without = _without(rows, found, best, rho, runs)
    usable = [law for law in tried if law.name in rolled]
    ahead = _next(rows, fitted, settings, runs, factor, usable) if bootstrap else None
    warnings = (*_said(found, fitted, without), *_grown(rolled[best.name]), *fitted.warnings)
    rollouts = tuple(rolled[best.name].values())
    return Audit(fitted, standings, rollouts, ahead, found, without, level, warnings)


def find_among(laws: Sequence[Law], name: str) -> Law:
    return next(law for law in laws if law.name == name)


def _rolled(rows: Sample, law: Law, rho: Rho, runs: Runs) -> dict[str, Rollout]:
    """By axis; axes along which no window determines the law are left out. InputError if none is left."""
    out: dict[str, Rollout] = {}
    problems: list[str] = []
    for axis in AXES:
        if axis not in rows.inputs:
            continue
        try:
            out[axis] = roll(rows, axis, law, rho, runs, WINDOWS)
        except InputError as error:
            problems += error.problems
    if not out:
        raise InputError(*(problems or [f"{runs.source}: no axis to roll {law.name} along"]))
    return out


def _standings(laws: dict[str, Law], rolled: dict[str, dict[str, Rollout]]) -> tuple[Standing, ...]:
    """Laws by the mean error on the predictions that most laws made; those that made few come last.

    A law that can be fitted to short windows must not be punished for what it dared to predict: laws are
    compared pair by pair on common predictions.
    """
    made = {
        name: {(axis, m.limit, m.row): m.error_percent for axis, one in by.items() for m in one.misses}
        for name, by in rolled.items()
    }
    windows = {name: {key[:2] for key in errors} for name, errors in made.items()}
    every = set().union(*windows.values())

    def ratio(name: str, other: str) -> float:
        # In one order: a set of names has another in each process, and sums differ by rounding.
        common = [key for key in made[name] if key in made[other]]
        if not common:
            return float("inf")
        mine, theirs = (float(np.mean(np.abs([made[one][key] for key in common]))) for one in (name, other))
        return mine / max(theirs, 1e-12)

    def score(name: str) -> float:
        return float(np.mean([np.log(max(ratio(name, other), 1e-12)) for other in made]))

    order = sorted(made, key=lambda name: (len(every - windows[name]) > len(every) / 2, score(name)))
    out = []
    for name in order:
        errors = np.array(list(made[name].values()))
        out.append(
            Standing(
                name,
                len(laws[name].names),
                len(errors),
                float(np.abs(errors).mean()),
                float(np.sqrt((errors**2).mean())),
                float(errors.mean()),
                len(windows[name]),
                len(every - windows[name]),
                ratio(name, order[0]),
            )
        )
    return tuple(out)


def _next(
    rows: Sample,
    fitted: Fit,
    settings: Settings,
    runs: Runs,
    factor: float,
    laws: Sequence[Law],
) -> NextScale | None:
    """The run that the law would choose at `factor` times the compute; the corner where it has none. Its loss
    and interval are those of `forecast`, which blends the laws by their own earlier forecasts."""
    law = fitted.law
    flops = factor * float(flops_of(rows).max())
    log_n = float(optimum(law, fitted.params, flops)) if spends_compute(law) else float("nan")
    if not np.isfinite(log_n):
        n, d = (float(rows.inputs[name].max()) for name in ("params", "tokens"))
        log_n = 0.5 * (np.log(flops / 6) + np.log(n / d))
    inputs = {"params": np.array([np.exp(log_n)])}
    inputs["tokens"] = flops / 6 / inputs["params"]
    inputs["flops"] = np.array([flops])
    if not set(law.inputs) <= inputs.keys():
        return None
    level = settings.level
    ranked = rank(rows, rows.where(np.zeros(len(rows), bool)), runs, settings, laws)
    leader = ranked.blend.laws[0][0]
    leads = fitted if leader is law else fit_sample(rows, leader, runs.source, settings)
    own = prediction_interval(leads, inputs, level, True)
    loss, low, high = (float(value[0]) for value in about(ranked.blend, inputs, *own, level))
    together = len(ranked.blend.laws) > 1
    widened = widening(misses(ranked.past, settings, runs.source), level, factor, together)
    stretch = widened or 1.0
    wide = (loss * (low / loss) ** stretch, loss * (high / loss) ** stretch)
    alone = (float(own[0][0]), float(own[1][0]))
    place = (float(inputs["params"][0]), float(inputs["tokens"][0]))
    return NextScale(factor, flops, *place, loss, wide, alone, widened)


def _without(rows: Sample, found: Sequence[Rung], law: Law, rho: Rho, runs: Runs) -> float | None:
    bad = [one.params for one in found if one.mistuned]
    if not bad or not spends_compute(law):
        return None
    apart = np.min([np.abs(np.log(rows.inputs["params"] / size)) for size in bad], axis=0)
    try:
        kept = fit_sample(rows.where(apart > 0.05), law, runs.source, Settings(rho))
    except InputError:
        return None
    return None if kept.exponents is None else kept.exponents.params_exponent


def _said(found: Sequence[Rung], fitted: Fit, without: float | None) -> list[Note]:
    said = []
    for one in found:
        if one.mistuned:
            text = (
                f"the {one.runs} runs of {one.params:.4g} params lie {one.shift_percent:.2g} % above the law "
                f"of the other sizes (p {one.p_value:.2g}): a learning rate or warmup that does not suit them"
            )
            said.append(Note("mistuned_rung", text))
    if without is not None and fitted.exponents is not None:
        text = (
            f"without the mistuned rungs the exponent of params is {without:.3f}, "
            f"with them {fitted.exponents.params_exponent:.3f}"
        )
        said.append(Note("mistuned_moves_exponent", text))
    return said


def _grown(rollouts: dict[str, Rollout]) -> list[Note]:
    """Forecasts that miss on one side by more than runs scatter: the law bends beyond its runs."""
    said = []
    for axis, one in rollouts.items():
        far = [d for d in one.distances if d.predictions >= 4]
        if far and abs(far[-1].bias_percent) > 0.9 * far[-1].mean_abs_error_percent > 0.9:
            last = far[-1]
            side = "high" if last.bias_percent > 0 else "low"
            text = (
                f"up to {last.high:.3g} times beyond its {axis} the law predicts "
                f"{abs(last.bias_percent):.2g} % too {side} throughout"
            )
            said.append(Note("one_sided", text))
    return said
