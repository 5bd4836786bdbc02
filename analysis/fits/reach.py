"""How far beyond its runs a law is asked: said first, and refused far out unless one insists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from analysis.errors import InputError
from analysis.fits.results import Fit
from analysis.notes import Note

# Beyond these factors of the fitted runs a verb refuses without --far: three decades of compute, two of
# params or tokens. Published laws were checked over one to three decades of compute, hardly one over more.
FAR = {"flops": 1e3, "params": 1e2, "tokens": 1e2, "width": 10.0}
# From here on it is said.
NEAR = 10.0
CODES = ("far_extrapolation", "extrapolation")


def beyond(fit: Fit, params: ArrayLike, tokens: ArrayLike, flops: ArrayLike | None = None) -> list[Note]:
    """What must be said of runs of params and tokens (flops: 6 params tokens unless given): one remark an
    axis, on the run that lies furthest out."""
    n, d = np.atleast_1d(np.asarray(params, float)), np.atleast_1d(np.asarray(tokens, float))
    spent = 6 * n * d if flops is None else np.atleast_1d(np.asarray(flops, float))
    fitted = {name: fit.data[name] for name in ("params", "tokens") if name in fit.data}
    if len(fitted) == 2:
        fitted["flops"] = 6 * fitted["params"] * fitted["tokens"]
    return outside({"flops": spent, "params": n, "tokens": d}, fitted, "fitted runs")


def outside(asked: Mapping[str, ArrayLike], have: Mapping[str, np.ndarray], of: str) -> list[Note]:
    """What must be said of numbers that lie beyond those there are, by name (those of `FAR`); of: whose those
    are, in words. One remark a name, on the number that lies furthest out."""
    found = []
    for name, numbers in asked.items():
        if name not in have:
            continue
        values = np.atleast_1d(np.asarray(numbers, float))
        low, high = float(have[name].min()), float(have[name].max())
        factors = np.maximum(values / high, low / values)
        at = int(np.argmax(factors))
        factor, value = float(factors[at]), float(values[at])
        if factor > (NEAR if name == "flops" else 2) * (1 + 1e-9):
            side = "times the largest" if value > high else "times below the smallest"
            unit = "FLOPs" if name == "flops" else name
            span = f"{low:.3g} to {high:.3g}"
            text = f"{value:.3g} {unit} are {factor:.3g} {side} of the {of} ({span})"
            found.append((factor / FAR[name], Note(CODES[factor <= FAR[name]], text)))
    return [note for _, note in sorted(found, key=lambda one: -one[0])]


def beyond_levels(flops: float, low: float, high: float) -> list[Note]:
    """What must be said of a budget beside levels of compute from low to high."""
    factor = max(flops / high, low / flops)
    if factor <= NEAR:
        return []
    side = "times the largest" if flops > high else "times below the smallest"
    text = f"{flops:.3g} FLOPs are {factor:.3g} {side} of the levels with a minimum ({low:.3g} to {high:.3g})"
    return [Note(CODES[factor <= FAR["flops"]], text)]


def refuse_far(notes: Sequence[Note], far: bool, otherwise: str = "--far answers all the same") -> None:
    """Raises InputError for what lies far beyond the runs, unless `far`; otherwise: what does without."""
    problems = [note.text for note in notes if note.code == CODES[0]]
    if problems and not far:
        limits = "1,000 times their compute, 100 times their params or tokens"
        text = f"no law is trusted beyond {limits}; {otherwise}"
        raise InputError(*dict.fromkeys(problems), text)


def first(notes: Sequence[Note]) -> str:
    """The remarks on extrapolation as lines for the top of a text; empty without any."""
    lines = [f"BEYOND THE RUNS: {note.text}" for note in notes if note.code in CODES]
    return "\n".join(dict.fromkeys(lines))


def others(notes: Sequence[Note]) -> list[Note]:
    """The remarks that `first` leaves for the end."""
    return [note for note in notes if note.code not in CODES]
