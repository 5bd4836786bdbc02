"""The laws that are named: each with its formula, its source and its domain.

A new law is a `SumLaw` of terms, or a `FormulaLaw` around one line of arithmetic; fits, intervals, forecasts
and plots take it as they take these.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from analysis import jets
from analysis.columns import nearest
from analysis.coupled import CoupledLaw
from analysis.errors import InputError
from analysis.law import FormulaLaw, Law, Parameter, SumLaw, Term, coefficient, tidy_formula

__all__ = [
    "LAWS",
    "FormulaLaw",
    "Law",
    "Parameter",
    "SumLaw",
    "Term",
    "coefficient",
    "data_constrained",
    "find",
    "tidy_formula",
]

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


def data_constrained(base: Mapping[str, float], name: str = "data-constrained") -> FormulaLaw:
    """Chinchilla's law `base` (E, A, B, alpha, beta; held fixed) when tokens repeat: fits R_D and R_N.

    Repeated tokens, and params beyond what the unique tokens can use, lose their worth exponentially
    (Muennighoff et al. 2023, arXiv 2305.16264, equations 5 and 6).
    """
    e, a, b, alpha, beta = (base[key] for key in ("E", "A", "B", "alpha", "beta"))
    ratio = (alpha * a / (beta * b)) ** (1 / (alpha + beta))

    def loss(p, x):
        unique = np.minimum(x["unique_tokens"], x["tokens"])
        useful = np.minimum(x["params"], ratio * (unique * ratio) ** (beta / alpha))
        tokens = _worth(unique, x["tokens"] / unique - 1, p["R_D"])
        params = _worth(useful, x["params"] / useful - 1, p["R_N"])
        return e + a * params**-alpha + b * tokens**-beta

    # Beyond ten thousand repetitions a half-life says that copies are as good as new.
    limits = {"positive": True, "low": -7.0, "high": float(np.log(1e4)), "start": (-1.0, 5.0)}
    half_lives = (Parameter("R_D", **limits), Parameter("R_N", **limits))
    return FormulaLaw(
        name,
        loss,
        ("params", "tokens", "unique_tokens"),
        half_lives,
        "loss = E + A/params'^alpha + B/tokens'^beta, tokens' = U + U R_D (1 - exp(-(tokens/U - 1)/R_D))",
        "Muennighoff et al. 2023, arXiv 2305.16264, equations 5 and 6",
        absolute=True,
    )


def _worth(unique, repeats, half_life):
    return unique * (1.0 + half_life * (1.0 - jets.exp(-1.0 * repeats / half_life)))


# The paper's fit to unrepeated C4 (alpha = beta), in nats a token of its tokenizer.
C4_BASE = {
    "E": float(np.exp(0.6254804)),
    "A": float(np.exp(6.255414)),
    "B": float(np.exp(7.3049974)),
    "alpha": 0.3526596,
    "beta": 0.3526596,
}

_ALL: tuple[Law, ...] = (
    CHINCHILLA,
    CHINCHILLA_TIED,
    OVERTRAINING,
    KAPLAN,
    CoupledLaw(),
    data_constrained(C4_BASE, "data-constrained-c4"),
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
