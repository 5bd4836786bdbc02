"""The laws that are named: each with its formula, its source and its domain.

A new law is a `SumLaw` of terms, or a `FormulaLaw` around one line of arithmetic; fits, intervals, forecasts
and plots take it as they take these.
"""

from __future__ import annotations

from analysis.columns import nearest
from analysis.errors import InputError
from analysis.law import FormulaLaw, Law, Parameter, SumLaw, Term, coefficient, tidy_formula

__all__ = ["LAWS", "FormulaLaw", "Law", "Parameter", "SumLaw", "Term", "coefficient", "find", "tidy_formula"]

CHINCHILLA = SumLaw(
    "chinchilla",
    (Term("E"), Term("A", {"params": "alpha"}), Term("B", {"tokens": "beta"})),
    "Hoffmann et al. 2022, arXiv 2203.15556, equation 10",
)
CHINCHILLA_TIED = SumLaw(
    "chinchilla-tied",
    (Term("E"), Term("A", {"params": "alpha"}), Term("B", {"tokens": "alpha"})),
    "Muennighoff et al. 2023, arXiv 2305.16264, appendix A (alpha = beta)",
)
# L = E + (a M^eta + b M^-eta) C^-eta with M = tokens / params.
OVERTRAINING = SumLaw(
    "overtraining",
    (
        Term("E"),
        Term("a", {"flops": "eta", "tokens": "-eta", "params": "eta"}),
        Term("b", {"flops": "eta", "tokens": "eta", "params": "-eta"}),
    ),
    "Gadre et al. 2024, arXiv 2403.08540, equation 4",
)


def power_law(axis: str, offset: bool) -> SumLaw:
    """loss = A / axis^alpha, and with `offset` the irreducible loss E added."""
    terms = (Term("E"),) if offset else ()
    name = f"power-{axis}" + ("-offset" if offset else "")
    return SumLaw(
        name, (*terms, Term("A", {axis: "alpha"})), "Kaplan et al. 2020, arXiv 2001.08361, equations 1.1-1.3"
    )


KAPLAN = FormulaLaw(
    "kaplan",
    lambda p, x: (
        ((p["N_c"] / x["params"]) ** (p["alpha_N"] / p["alpha_D"]) + p["D_c"] / x["tokens"]) ** p["alpha_D"]
    ),
    ("params", "tokens"),
    (
        coefficient("N_c", {"params": 1, "loss": lambda p: 1 / p["alpha_N"]}, start=(-12.0, 3.0)),
        coefficient("D_c", {"tokens": 1, "loss": lambda p: 1 / p["alpha_D"]}, start=(-12.0, 3.0)),
        Parameter("alpha_N", low=1e-3, start=(0.02, 1.0)),
        Parameter("alpha_D", low=1e-3, start=(0.02, 1.0)),
    ),
    "loss = ((N_c/params)^(alpha_N/alpha_D) + D_c/tokens)^alpha_D",
    "Kaplan et al. 2020, arXiv 2001.08361, equation 1.5",
)
# With gamma = 1 this is Chinchilla's; gamma is poorly determined by small tables.
COUPLED = FormulaLaw(
    "coupled",
    lambda p, x: (
        p["E"] + (p["A"] / x["params"] ** p["alpha"] + p["B"] / x["tokens"] ** p["beta"]) ** p["gamma"]
    ),
    ("params", "tokens"),
    (
        coefficient("E", {"loss": 1}),
        coefficient("A", {"params": "alpha", "loss": lambda p: 1 / p["gamma"]}),
        coefficient("B", {"tokens": "beta", "loss": lambda p: 1 / p["gamma"]}),
        Parameter("alpha", start=(0.05, 1.5)),
        Parameter("beta", start=(0.05, 1.5)),
        Parameter("gamma", low=1e-2, high=20.0, start=(0.3, 2.0)),
    ),
    "loss = E + (A/params^alpha + B/tokens^beta)^gamma",
    "xLSTM scaling laws, arXiv 2510.02228, equation 3",
)

_ALL: tuple[Law, ...] = (
    CHINCHILLA,
    CHINCHILLA_TIED,
    OVERTRAINING,
    KAPLAN,
    COUPLED,
    *(power_law(axis, offset) for axis in ("params", "tokens", "flops") for offset in (False, True)),
)
LAWS: dict[str, Law] = {law.name: law for law in _ALL}


def find(law: str | Law) -> Law:
    """The law of that name, or the law itself. Raises InputError naming the nearest one."""
    if isinstance(law, Law):
        return law
    if law not in LAWS:
        raise InputError(f"no law {law!r}{nearest(str(law), LAWS)}")
    return LAWS[law]
