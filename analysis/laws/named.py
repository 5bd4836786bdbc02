"""The laws that are named: each with its formula, its source and its domain.

A new law is a `SumLaw` of terms, or a `FormulaLaw` around one line of arithmetic; fits, intervals, forecasts
and plots take it as they take these. On the command line it is `--law FILE.py:NAME`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from analysis.errors import InputError
from analysis.laws import axes, varied
from analysis.laws.axes import broken_power_law, power_law
from analysis.laws.coupled import KAPLAN, CoupledLaw
from analysis.laws.law import FormulaLaw, Law, Parameter, coefficient, tidy_formula
from analysis.laws.links import exponential_link, logit_link, sigmoid_link
from analysis.laws.sums import SumLaw, Term
from analysis.laws.terms import data_constrained, low_precision, mistuned, quantised, repeated
from analysis.tables.columns import nearest

__all__ = [
    "LAWS",
    "FormulaLaw",
    "Law",
    "Parameter",
    "SumLaw",
    "Term",
    "broken_power_law",
    "coefficient",
    "data_constrained",
    "find",
    "find_law",
    "low_precision",
    "mistuned",
    "power_law",
    "quantised",
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
# Chinchilla's two terms and their product: the gain from tokens may depend on size, and stays linear in K.
PRODUCT = SumLaw(
    "product",
    (
        Term("E"),
        Term("A", {"params": "alpha"}),
        Term("B", {"tokens": "beta"}),
        Term("K", {"params": "alpha", "tokens": "beta"}),
    ),
    "Chinchilla's terms and their product; the simplest coupling that stays linear in its factors",
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
    PRODUCT,
    OVERTRAINING,
    KAPLAN,
    CoupledLaw(),
    repeated(CHINCHILLA),
    data_constrained(C4_BASE, "data-constrained-c4"),
    mistuned(CHINCHILLA, "learning_rate"),
    mistuned(CHINCHILLA, "batch_tokens"),
    low_precision(CHINCHILLA),
    low_precision(CHINCHILLA, ("bits_weights", "bits_activations", "bits_attention")),
    quantised(CHINCHILLA),
    *varied.on(CHINCHILLA),
    *varied.LAWS,
    *axes.LAWS,
    sigmoid_link(),
    logit_link(),
    exponential_link(),
)
LAWS: dict[str, Law] = {law.name: law for law in _ALL}


# Terms that `--law` can put on a law of params and tokens, as in coupled+rate+batch.
TERMS: dict[str, Callable[[Law], Law]] = {
    "rate": lambda base: mistuned(base, "learning_rate"),
    "batch": lambda base: mistuned(base, "batch_tokens"),
    "precision": low_precision,
    "quantised": quantised,
    **varied.TERMS,
}


def find(law: str | Law) -> Law:
    """The law of that name, with terms on it as in coupled+rate; the law itself; or NAME of a Python file as
    FILE.py:NAME (which is run).

    Raises InputError naming the nearest law or term, or what is wrong with the file.
    """
    if isinstance(law, Law):
        return law
    base, *terms = str(law).split("+")
    if ".py:" in base:
        found = _from_file(base)
    elif base in LAWS:
        found = LAWS[base]
    else:
        raise InputError(f"no law {base!r}{nearest(base, LAWS)}")
    for term in terms:
        if term not in TERMS:
            raise InputError(
                f"law {law}: no term {term!r}{nearest(term, TERMS)}; there are {', '.join(TERMS)}"
            )
        if not {"params", "tokens"} <= set(found.inputs) or found.name.endswith(f"-{term}"):
            raise InputError(f"law {law}: the term {term!r} goes once, on a law of params and tokens")
        found = TERMS[term](found)
    return found


# For `import analysis as sl; sl.find_law(...)`.
find_law = find


def _from_file(place: str) -> Law:
    import runpy
    from pathlib import Path

    file, _, name = place.rpartition(":")
    if not Path(file).is_file():
        raise InputError(f"--law: {file}: no such file")
    try:
        found = runpy.run_path(file)
    except Exception as error:
        # The user's own code: whatever it raises is what is wrong with it.
        raise InputError(f"--law: {file}: {type(error).__name__}: {error}") from None
    laws = {key: value for key, value in found.items() if isinstance(value, Law)}
    if name not in laws:
        raise InputError(f"--law: {file}: no law {name!r}{nearest(name, laws)}")
    return laws[name]
