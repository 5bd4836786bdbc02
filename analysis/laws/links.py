"""What a task score is at a loss: laws of one variable with floor and ceiling as parameters.

The score plays the role of the loss in a fit, the loss that of the input:

    link = sigmoid_link("task_loss", floor=0.25)     # a known chance level is held fixed
    fit({"task_loss": ..., "loss": score}, law=link, objective="squared", residual="raw")

Floor and ceiling lie in [0, 1]. All three fall in the loss from ceiling to floor.
"""

from __future__ import annotations

from collections.abc import Callable

from analysis.laws import jets
from analysis.laws.law import FormulaLaw, Parameter

AXIS = "task_loss"


def _limits(floor: float | None, ceiling: float | None) -> tuple[Parameter, ...]:
    out = []
    if floor is None:
        out.append(Parameter("floor", high=1.0, start=(0.0, 0.5)))
    if ceiling is None:
        out.append(Parameter("ceiling", high=1.0, start=(0.5, 1.0)))
    return tuple(out)


def _link(kind, share: Callable, parameters, formula, source, axis, floor, ceiling) -> FormulaLaw:
    def score(p, x):
        low = p["floor"] if floor is None else floor
        high = p["ceiling"] if ceiling is None else ceiling
        return low + (high - low) * share(p, x[axis])

    fixed = "".join(
        f", {name} = {value:g}"
        for name, value in (("floor", floor), ("ceiling", ceiling))
        if value is not None
    )
    return FormulaLaw(
        kind,
        score,
        (axis,),
        (*_limits(floor, ceiling), *parameters),
        f"score = floor + (ceiling - floor) {formula}{fixed}",
        source,
        absolute=True,
    )


def sigmoid_link(axis: str = AXIS, floor: float | None = None, ceiling: float | None = None) -> FormulaLaw:
    """Log-odds between floor and ceiling fall linearly in the loss: half-way at `middle`."""
    return _link(
        "sigmoid",
        lambda p, loss: 1.0 / (1.0 + jets.exp(p["steepness"] * (loss - p["middle"]))),
        (
            Parameter("steepness", high=100.0, start=(0.5, 10.0)),
            Parameter("middle", low=-20.0, high=50.0, start=(0.1, 4.0)),
        ),
        f"/ (1 + exp(steepness ({axis} - middle)))",
        "Bhagia et al. 2024, arXiv 2412.04403, equation 3",
        axis,
        floor,
        ceiling,
    )


def logit_link(axis: str = AXIS, floor: float | None = None, ceiling: float | None = None) -> FormulaLaw:
    """Log-odds between floor and ceiling fall linearly in the log of the loss: half-way at `middle`."""
    return _link(
        "logit",
        lambda p, loss: 1.0 / (1.0 + jets.exp(p["steepness"] * (jets.log(loss) - jets.log(p["middle"])))),
        (
            Parameter("steepness", high=200.0, start=(0.5, 20.0)),
            Parameter("middle", low=1e-6, high=50.0, start=(0.1, 4.0)),
        ),
        f"/ (1 + ({axis}/middle)^steepness)",
        "log-odds linear in log loss; compare Krajewski et al. 2025, arXiv 2512.08894",
        axis,
        floor,
        ceiling,
    )


def exponential_link(
    axis: str = AXIS, floor: float | None = None, ceiling: float | None = None
) -> FormulaLaw:
    """The score above the floor falls exponentially in the loss; `ceiling` is that of no loss."""
    return _link(
        "exponential",
        lambda p, loss: jets.exp(-1.0 * p["rate"] * loss),
        (Parameter("rate", high=50.0, start=(0.1, 4.0)),),
        f"exp(-rate {axis})",
        "Gadre et al. 2024, arXiv 2403.08540, equation 5",
        axis,
        floor,
        ceiling,
    )


LINKS = {"sigmoid": sigmoid_link, "logit": logit_link, "exponential": exponential_link}
