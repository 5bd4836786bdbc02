"""What is asked of a law, as the command line names it."""

from dataclasses import replace

import numpy as np

from lab.errors import InputError
from sweeps.plan.next_cells import Candidates
from sweeps.plan.next_runs import Known


def target_of(name: str, at: str, known: Known, candidates: Candidates):
    """The target that was named. Raises InputError.

    at: FLOPs, "N,D", or "10x": the compute-optimal run at so many times the largest compute that is known.
    """
    from analysis.designs.targets import Target

    n, d = _places(known, candidates)
    top = float((6 * n * d).max())
    if name in ("exponent", "allocation"):
        factor = 1.0 if name == "exponent" else 10.0
        return Target(name, flops=_flops(at, top, factor))
    if name != "loss":
        if at:
            raise InputError(
                f"--at: says where for exponent, allocation and loss; {name} is a number of the law"
            )
        return Target("parameter", name=name)
    if "," in at:
        params, tokens = (positive(part) for part in at.split(",", 1))
        return Target("loss", params=params, tokens=tokens)
    flops = _flops(at, top, 10.0)
    if found := optima(known, flops, candidates) or optima(known, flops):
        return Target("loss", params=found[0], tokens=flops / 6 / found[0])
    raise InputError("--at: the law has no compute-optimum; say params and tokens, as in --at 1e6,2e7")


def optima(known: Known, flops: float, candidates: Candidates | None = None) -> list[float]:
    """Compute-optimal params at `flops` by each law in play that has any; with candidates only those that
    are not far from what can be trained: a law of few short runs may put them at a single param."""
    from analysis.fits.reach import FAR
    from analysis.laws.frontier import optimum, spends_compute

    laws = [one for one in known.laws if spends_compute(one.law)]
    found = [float(np.exp(optimum(one.law, one.params, flops))) for one in laws]
    found = [n for n in found if 0 < n < np.inf]
    if candidates is None:
        return found

    def near(value: float, have: np.ndarray, name: str) -> bool:
        return have.min() / FAR[name] <= value <= have.max() * FAR[name]

    sizes, budgets = candidates.params, candidates.tokens
    return [n for n in found if near(n, sizes, "params") and near(flops / 6 / n, budgets, "tokens")]


def beyond(target, at: str, known: Known, candidates: Candidates) -> list:
    """What must be said of a target that lies beyond the runs, or where nothing is trained beyond the
    candidates (`analysis.notes.Note`). Only what was named is called far: of FLOPs that were, the params and
    tokens of a loss are what a law made of them."""
    from analysis.fits.reach import CODES, outside

    if target.kind == "parameter":
        return []
    n, d = _places(known, candidates)
    of = "runs" if len(known) else "candidates"
    if target.kind != "loss":
        return outside({"flops": target.flops}, {"flops": 6 * n * d}, of)
    place = {"params": target.params, "tokens": target.tokens}
    found = outside(place, {"params": n, "tokens": d}, of)
    if "," not in at:
        found = [replace(note, code=CODES[1]) for note in found]
    return [*outside({"flops": 6 * target.params * target.tokens}, {"flops": 6 * n * d}, of), *found]


def _places(known: Known, candidates: Candidates) -> tuple[np.ndarray, np.ndarray]:
    return (known.params, known.tokens) if len(known) else (candidates.params, candidates.tokens)


def _flops(at: str, top: float, factor: float) -> float:
    if not at:
        return factor * top
    if at[-1:] in ("x", "×"):
        return positive(at[:-1]) * top
    return positive(at)


def positive(text: str, like: str = "give FLOPs (1e15), 10x, or params,tokens (1e6,2e7)") -> float:
    """The number that --at says. Raises InputError."""
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not (np.isfinite(number) and number > 0):
        raise InputError(f"--at: {text!r} is no positive number; {like}")
    return number
