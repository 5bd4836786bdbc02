"""Terms that change a base law: repeated tokens, mistuned rates, low precision.

Each takes a law of params and tokens and gives a law with more inputs and parameters. They nest, so that a
likelihood ratio or a hold-out can say which of them a table supports:

    law = mistuned(CHINCHILLA, "learning_rate")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from analysis.laws import jets
from analysis.laws.coupled import CoupledLaw
from analysis.laws.law import FormulaLaw, Law, Parameter, coefficient
from analysis.laws.sums import SumLaw


def formula_of(law: Law) -> Callable[[Mapping[str, Any], Mapping[str, Any]], Any]:
    """The law as a function of (parameters, inputs) that jets can pass through."""
    if isinstance(law, FormulaLaw):
        return law.function
    if isinstance(law, CoupledLaw):
        return law.arithmetic
    if not isinstance(law, SumLaw):
        raise TypeError(f"{law.name} has no formula that terms could be put on")

    def total(p, x):
        out = 0.0
        for term in law.terms:
            power = jets.log(p[term.coefficient])
            for name, exponent in term.powers.items():
                sign = 1.0 if exponent.startswith("-") else -1.0
                power = power + sign * p[exponent.lstrip("-")] * jets.log(x[name])
            out = out + jets.exp(power)
        return out

    return total


def free(base: Law) -> tuple[Parameter, ...]:
    """The base law's parameters as a formula takes them: each for itself, whatever the law fits instead."""
    return base.plain if isinstance(base, CoupledLaw) else base.parameters


def on_base(
    base: Law,
    suffix: str,
    function: Callable[[Mapping[str, Any], Mapping[str, Any]], Any],
    inputs: Sequence[str],
    parameters: Sequence[Parameter],
    formula: str,
    source: str,
    unscaled: Sequence[str] = (),
) -> FormulaLaw:
    """The law `function`, whose inputs and parameters come behind those of the base law that it nests."""
    return FormulaLaw(
        f"{base.name}-{suffix}",
        function,
        (*base.inputs, *inputs),
        (*free(base), *parameters),
        formula,
        f"{base.source}; {source}",
        base.absolute,
        base.alike,
        base,
        unscaled=(*base.unscaled, *unscaled),
    )


def _names(base: Law, names: Sequence[str], axis: str) -> list[str]:
    """The names, with the axis behind all of them where the base law has one already."""
    taken = set(names) & set(base.names)
    return [f"{name}_{axis}" if taken else name for name in names]


def mistuned(base: Law, axis: str = "learning_rate") -> FormulaLaw:
    """The base law times 1 + k log(axis / best)^2, best = c params^a tokens^b.

    A run off its best rate (or batch) loses a share of its loss that is quadratic in the log of the factor,
    which is what sweeps look like near their minimum. Fit it to all runs of a sweep, not to the best ones.
    """
    inner = formula_of(base)
    short = "rate" if axis == "learning_rate" else axis.removesuffix("_tokens")
    k, c, a, b = _names(base, "kcab", short)

    def loss(p, x):
        best = p[c] * jets.exp(p[a] * jets.log(x["params"]) + p[b] * jets.log(x["tokens"]))
        off = jets.log(x[axis]) - jets.log(best)
        return inner(p, x) * (1.0 + p[k] * off**2)

    formula = base.formula.removeprefix("loss = ")
    signed = {"low": -3.0, "high": 3.0, "start": (-0.8, 0.8)}
    return on_base(
        base,
        short,
        loss,
        (axis,),
        (
            Parameter(k, high=2.0, start=(0.0, 0.2)),
            Parameter(c, True, {axis: 1, "params": f"-{a}", "tokens": f"-{b}"}, -30.0, 30.0, (-2.0, 2.0)),
            Parameter(a, **signed),
            Parameter(b, **signed),
        ),
        f"loss = ({formula}) (1 + {k} log({axis}/({c} params^{a} tokens^{b}))^2)",
        "quadratic in log rate: Li et al. 2025, arXiv 2503.04715, section 3",
    )


def low_precision(base: Law, axes: Sequence[str] = ("bits",)) -> FormulaLaw:
    """The base law with params that count by the bits they are trained in: N (1 - exp(-bits/gamma)) an axis
    (Kumar et al. 2024, arXiv 2411.04330, equation 5).

    With the single axis `bits`, weights, activations and attention have the same precision and the factor
    is taken three times.
    """
    inner = formula_of(base)
    cube = tuple(axes) == ("bits",)
    names = (
        _names(base, ["gamma"], "bits") if cube else [f"gamma_{axis.removeprefix('bits_')}" for axis in axes]
    )

    def loss(p, x):
        effective = x["params"]
        for name, axis in zip(names, axes, strict=True):
            share = 1.0 - jets.exp(-1.0 * x[axis] / p[name])
            effective = effective * (share**3 if cube else share)
        return inner(p, {**x, "params": effective})

    # In bits: at gamma 100 a sixteen-bit model would have lost most of its params, in all three.
    limits = [
        Parameter(name, True, {axis: 1}, -8.0, 5.0, (-3.0, 1.0))
        for name, axis in zip(names, axes, strict=True)
    ]
    factor = (
        f"(1 - exp(-bits/{names[0]}))^3"
        if cube
        else " ".join(f"(1 - exp(-{axis}/{name}))" for name, axis in zip(names, axes, strict=True))
    )
    return on_base(
        base,
        "precision" if cube else "precisions",
        loss,
        axes,
        limits,
        base.formula.replace("params", "params'") + f", params' = params {factor}",
        "Kumar et al. 2024, arXiv 2411.04330, equation 5",
    )


def quantised(base: Law, axis: str = "bits_after") -> FormulaLaw:
    """The base law plus what quantising the trained weights to `bits_after` costs: more with more tokens
    (Kumar et al. 2024, arXiv 2411.04330, equation 2).

    delta = C tokens^d params^-n exp(-bits/gamma).
    """
    inner = formula_of(base)

    def loss(p, x):
        power = p["d"] * jets.log(x["tokens"]) - p["n"] * jets.log(x["params"]) - x[axis] / p["gamma_after"]
        return inner(p, x) + p["C_after"] * jets.exp(power)

    return on_base(
        base,
        "quantised",
        loss,
        (axis,),
        (
            coefficient("C_after", {"loss": 1, "tokens": "-d", "params": "n"}),
            Parameter("d", high=4.0, start=(0.1, 1.0)),
            Parameter("n", high=4.0, start=(0.1, 1.0)),
            Parameter("gamma_after", True, {axis: 1}, -8.0, 5.0, (-3.0, 1.0)),
        ),
        f"{base.formula} + C_after*tokens^d/params^n*exp(-{axis}/gamma_after)",
        "Kumar et al. 2024, arXiv 2411.04330, equation 2",
    )


# Beyond ten thousand repetitions a half-life says that copies are as good as new.
_HALF_LIFE = {"positive": True, "low": -7.0, "high": float(np.log(1e4)), "start": (-1.0, 5.0)}
REPETITION = (Parameter("R_D", **_HALF_LIFE), Parameter("R_N", **_HALF_LIFE))
_REPETITION_SOURCE = "Muennighoff et al. 2023, arXiv 2305.16264, equations 5 and 6"
_REPETITION_FORMULA = (
    "loss = E + A/params'^alpha + B/tokens'^beta, tokens' = U + U R_D (1 - exp(-(tokens/U - 1)/R_D)), "
    "params' alike"
)


def data_constrained(base: Mapping[str, float], name: str = "data-constrained") -> FormulaLaw:
    """Chinchilla's law `base` (E, A, B, alpha, beta; held fixed) when tokens repeat: fits R_D and R_N.

    Repeated tokens, and params beyond what the unique tokens can use, lose their worth exponentially
    (Muennighoff et al. 2023, arXiv 2305.16264, equations 5 and 6).
    """
    fixed = {key: base[key] for key in ("E", "A", "B", "alpha", "beta")}
    inputs = ("params", "tokens", "unique_tokens")
    return FormulaLaw(
        name,
        lambda p, x: _repeated({**fixed, **p}, x),
        inputs,
        REPETITION,
        _REPETITION_FORMULA,
        _REPETITION_SOURCE,
        absolute=True,
    )


def repeated(base: SumLaw) -> FormulaLaw:
    """The same with Chinchilla's law `base` fitted too: for tables with fresh and repeated runs."""
    return FormulaLaw(
        "data-constrained",
        _repeated,
        ("params", "tokens", "unique_tokens"),
        (
            coefficient("E", {"loss": 1}),
            coefficient("A", {"loss": 1, "params": "alpha"}),
            coefficient("B", {"loss": 1, "tokens": "beta"}),
            Parameter("alpha", low=1e-2, start=(0.05, 1.2)),
            Parameter("beta", low=1e-2, start=(0.05, 1.2)),
            *REPETITION,
        ),
        _REPETITION_FORMULA,
        _REPETITION_SOURCE,
        alike={"unique_tokens": "tokens"},
        under=base,
    )


def _repeated(p, x):
    unique = np.minimum(x["unique_tokens"], x["tokens"])
    # The params for which the unique tokens are compute-optimal: G^2 U^(beta/alpha)..., equation 4 of
    # arXiv 2203.15556 solved for N at D = U; in logs, since coefficients may be tiny.
    alpha, beta = p["alpha"], p["beta"]
    log_ratio = (jets.log(alpha) + jets.log(p["A"]) - jets.log(beta) - jets.log(p["B"])) / (alpha + beta)
    log_useful = log_ratio + (beta / alpha) * (jets.log(unique) + log_ratio)
    useful = jets.exp(jets.minimum(log_useful, jets.log(x["params"])))
    tokens = _worth(unique, x["tokens"] / unique - 1.0, p["R_D"])
    params = _worth(useful, x["params"] / useful - 1.0, p["R_N"])
    return p["E"] + _falling(p["A"], params, alpha) + _falling(p["B"], tokens, beta)


def _falling(factor, amount, exponent):
    return jets.exp(jets.log(factor) - exponent * jets.log(amount))


def _worth(amount, repeats, half_life):
    return amount * (1.0 + half_life * (1.0 - jets.exp(-1.0 * repeats / half_life)))
