"""The laws that a score is predicted by: a loss law with its link, and a direct one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from analysis.laws import jets
from analysis.laws.law import FormulaLaw, Parameter, coefficient
from analysis.laws.links import LINKS
from analysis.laws.named import CHINCHILLA

WAYS = (*LINKS, "direct")
INPUTS = ("params", "tokens", "kind", "scatter")
TO_ONE = " to 1"


def variants(ways: Sequence[str]) -> tuple[str, ...]:
    """Each way with its ceiling fitted, and with a ceiling of 1.

    A ceiling that no run comes near is fitted by the noise at the other end of the curve: the small runs of
    arXiv 2412.04403 put that of ARC-Challenge at 0.44, and their large ones scored 0.64. But some tasks do
    end below 1, so neither is taken for granted. The exponential's ceiling is the score of no loss at all, an
    amplitude that no run is meant to come near, and always fitted.
    """
    return tuple(n for way in ways for n in ((way,) if way == "exponential" else (way, way + TO_ONE)))


def family_of(name: str) -> tuple[str, float | None]:
    """(the way, its fixed ceiling or None)"""
    return (name.removesuffix(TO_ONE), 1.0) if name.endswith(TO_ONE) else (name, None)


def joint(link: FormulaLaw) -> FormulaLaw:
    """Loss and score of a run over their scatters, in one law; x["kind"] is 1 for a score, next to 0 else."""

    def value(p, x):
        loss = (
            p["E"] + p["A"] * x["params"] ** (-1.0 * p["alpha"]) + p["B"] * x["tokens"] ** (-1.0 * p["beta"])
        )
        score = link.function(p, {"task_loss": loss})
        return ((1.0 - x["kind"]) * loss + x["kind"] * score) * (1.0 / x["scatter"])

    return FormulaLaw(
        f"joint-{link.name}",
        value,
        INPUTS,
        (*CHINCHILLA.parameters, *link.parameters),
        f"{link.formula.replace('task_loss', 'loss')}, {CHINCHILLA.formula}",
        link.source,
        absolute=True,
    )


def direct(floor: float | None, ceiling: float | None) -> FormulaLaw:
    """score = floor + (ceiling - floor) exp(-(A/params^alpha + B/tokens^beta)); None: a parameter."""
    low = () if floor is not None else (Parameter("floor", high=1.0, start=(0.0, 0.5)),)
    high = () if ceiling is not None else (Parameter("ceiling", high=1.0, start=(0.5, 1.0)),)

    def value(p, x):
        bottom = p["floor"] if floor is None else floor
        top = p["ceiling"] if ceiling is None else ceiling
        worse = p["A"] * x["params"] ** (-1.0 * p["alpha"]) + p["B"] * x["tokens"] ** (-1.0 * p["beta"])
        score = bottom + (top - bottom) * jets.exp(-1.0 * worse)
        return score * (1.0 / x["scatter"]) if "scatter" in x else score

    fixed = "".join(
        f", {name} = {value:g}"
        for name, value in (("floor", floor), ("ceiling", ceiling))
        if value is not None
    )
    return FormulaLaw(
        "direct",
        value,
        ("params", "tokens"),
        (
            coefficient("A", {"params": "alpha"}),
            coefficient("B", {"tokens": "beta"}),
            Parameter("alpha", low=1e-3, start=(0.05, 1.5)),
            Parameter("beta", low=1e-3, start=(0.05, 1.5)),
            *high,
            *low,
        ),
        f"score = floor + (ceiling - floor) exp(-(A/params^alpha + B/tokens^beta)){fixed}",
        "compare Krajewski et al. 2025, arXiv 2512.08894",
    )


def with_scatter(law: FormulaLaw) -> FormulaLaw:
    """The law as the common fit takes it: values over their scatters, an absolute quantity."""
    return replace(law, inputs=INPUTS, absolute=True)
