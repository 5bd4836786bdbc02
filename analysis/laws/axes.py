"""Laws of one axis, plain and broken, and power laws for what a recipe should be at params and tokens."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np

from analysis.laws import jets
from analysis.laws.law import FormulaLaw, Parameter, coefficient
from analysis.laws.projection import FAINT, regressed
from analysis.laws.sums import SumLaw, Term

AXES = ("params", "tokens", "flops")


def power_law(axis: str, offset: bool) -> SumLaw:
    """loss = A / axis^alpha, and with `offset` the irreducible loss E added."""
    terms = (Term("E"),) if offset else ()
    name = f"power-{axis}" + ("-offset" if offset else "")
    return SumLaw(
        name, (*terms, Term("A", {axis: "alpha"})), "Kaplan et al. 2020, arXiv 2001.08361, equations 1.1-1.3"
    )


# Where the limit a, the places and the widths of breaks are tried; the rest is linear in the log of loss - a.
LIMITS = (0.0, 0.3, 0.6, 0.8, 0.9, 0.95, 0.99)
PLACES = (0.0, 0.04, 0.1, 0.17, 0.25, 0.33, 0.42, 0.5, 0.58, 0.67, 0.75, 0.83, 0.9, 0.96, 1.0)
WIDTHS = {1: (0.03, 0.15, 0.5, 1.5, 4.0), 2: (0.05, 0.4, 2.0)}


class BrokenLaw(FormulaLaw):
    """A broken power law, whose starts have what is linear projected out."""

    def starts(self, x: np.ndarray, target: np.ndarray, weights=None, over: float = 1.0) -> np.ndarray:
        """(S, P) starts: over limits, places and widths, b and the slopes are robust regressions.

        The best of each choice of places (of one break, and width), since neighbours would crowd out what
        lies elsewhere, and some of the best of all.
        """
        breaks = (len(self.parameters) - 3) // 3
        along, loss = x[0], np.exp(target)
        places = np.quantile(np.unique(along), PLACES)
        choices = list(combinations(places, breaks))
        shapes = [(limit, *widths) for *widths, limit in product(*[WIDTHS[breaks]] * breaks, LIMITS)]
        grid = np.array([(limit, *at, *widths) for at in choices for limit, *widths in shapes])
        # Outliers far below would leave no room for the limit.
        limit = grid[:, 0] * np.quantile(loss, 0.1)
        at, width = grid[:, 1 : breaks + 1], grid[:, breaks + 1 :]
        power = loss - limit[:, None]
        seen = power > 0.01 * loss
        bends = [
            -width[:, i, None] * np.logaddexp(0.0, (along - at[:, i, None]) / width[:, i, None])
            for i in range(breaks)
        ]
        ones = np.ones_like(power)
        design = np.stack([ones, -along * ones, *bends], axis=1)
        weight = np.where(seen, power / loss, 0.0) ** 2 * (1.0 if weights is None else weights)
        slopes = regressed(design, np.log(np.where(seen, power, 1.0)), weight, over)
        theta = np.zeros((len(grid), len(self.parameters)))
        with np.errstate(divide="ignore"):
            theta[:, 0] = np.maximum(np.log(limit), FAINT)
        theta[:, 1], theta[:, 2] = slopes[:, 0], slopes[:, 1]
        for i in range(breaks):
            theta[:, 3 + 3 * i : 6 + 3 * i] = np.stack([slopes[:, 2 + i], at[:, i], width[:, i]], axis=1)
        theta = np.clip(theta, *self.bounds)
        away = np.abs(target - self.log_loss(theta, x)) * (1.0 if weights is None else np.sqrt(weights))
        alike = len(LIMITS) if breaks == 1 else len(shapes)
        groups = away.sum(axis=1).reshape(-1, alike)
        best = groups.argmin(axis=1) + alike * np.arange(len(groups))
        return theta[np.union1d(best, np.argsort(groups.ravel())[:100:4])]


def broken_power_law(axis: str, breaks: int) -> FormulaLaw:
    """A power law with 1 or 2 smooth breaks: slope c0 before the first, c0 + c1 after it, and so on.

    Parameters: a (limit), b, c0, and for each break its change of slope c_i (of either sign), its place d_i
    on the axis, and its width f_i (0 is a corner). A break is identified by runs on both sides of it only.
    """
    places = range(1, breaks + 1)

    def loss(p, x):
        along = jets.log(x[axis])
        power = jets.log(p["b"]) - p["c0"] * along
        for i in places:
            bend = jets.softplus((along - jets.log(p[f"d{i}"])) / p[f"f{i}"])
            power = power - p[f"c{i}"] * p[f"f{i}"] * bend
        return p["a"] + jets.exp(power)

    parameters = [
        coefficient("a", {"loss": 1}),
        coefficient("b", {"loss": 1, axis: "c0"}),
        Parameter("c0", low=-2.0, high=6.0, start=(0.0, 0.8)),
    ]
    for i in places:
        parameters += [
            Parameter(f"c{i}", low=-6.0, high=6.0, start=(-0.8, 0.8)),
            # The place of a break, in units of the table's centre: within e^20 of it.
            Parameter(f"d{i}", True, {axis: 1}, -20.0, 20.0, (-4.0, 4.0)),
            Parameter(f"f{i}", low=1e-2, high=5.0, start=(0.05, 1.0)),
        ]
    factors = "".join(f" (1 + ({axis}/d{i})^(1/f{i}))^(-c{i} f{i})" for i in places)
    return BrokenLaw(
        f"broken{breaks}-{axis}",
        loss,
        (axis,),
        tuple(parameters),
        f"loss = a + b {axis}^-c0{factors}",
        "Caballero et al. 2022, arXiv 2210.14891, equation 1",
    )


def recipe_law(name: str, source: str) -> FormulaLaw:
    """value = c params^a tokens^b with exponents of either sign; the target plays the role of the loss."""

    def value(p, x):
        return p["c"] * jets.exp(p["a"] * jets.log(x["params"]) + p["b"] * jets.log(x["tokens"]))

    signed = {"low": -3.0, "high": 3.0, "start": (-1.0, 1.0)}
    return FormulaLaw(
        name,
        value,
        ("params", "tokens"),
        (
            coefficient("c", {"loss": 1, "params": "-a", "tokens": "-b"}),
            Parameter("a", **signed),
            Parameter("b", **signed),
        ),
        "value = c * params^a * tokens^b",
        source,
    )


LEARNING_RATE = recipe_law("learning-rate", "Li et al. 2025, arXiv 2503.04715, equation 1")
BATCH = recipe_law("batch", "Li et al. 2025, arXiv 2503.04715, equation 1 (there a = 0)")
LAWS = (
    *(power_law(axis, offset) for axis in AXES for offset in (False, True)),
    *(broken_power_law(axis, breaks) for axis in AXES for breaks in (1, 2)),
    LEARNING_RATE,
    BATCH,
)
