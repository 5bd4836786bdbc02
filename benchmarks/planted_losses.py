"""Tables of losses whose truth is known: what a forecast must hold, over laws that it has and has not.

Six truths on four designs. A truth is a surface of params and tokens; a design says which runs there are and
how far beyond the fitted ones the held-out runs lie. Every table is drawn anew from a stated seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

TABLE = Mapping[str, np.ndarray]
OWN = 0.005  # standard deviation of one run's log loss
TRUNK = 0.006  # of what all runs of a trunk share, where there are trunks


def chinchilla(n: np.ndarray, d: np.ndarray) -> np.ndarray:
    """arXiv 2404.10102's rounded constants."""
    return 1.82 + 482.0 * n**-0.348 + 2085.0 * d**-0.366


def joint(n: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Kaplan's joint form (arXiv 2001.08361, equation 1.5) on an irreducible loss: more params make more of
    tokens."""
    return 1.2 + ((6.4e10 / n) ** (0.3 / 0.38) + 4e10 / d) ** 0.38 * 0.4


def mistuned(n: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Learning rates that suit the small sizes: half a percent a squared decade beyond 3e7 params."""
    return chinchilla(n, d) * np.exp(0.005 * np.maximum(np.log10(n / 3e7), 0.0) ** 2)


def broken(n: np.ndarray, d: np.ndarray) -> np.ndarray:
    """The exponent of tokens falls from .45 to .25 at 3e9 tokens, within half a decade (arXiv 2210.14891)."""
    sharp = 2.0
    slow = (1 + (d / 3e9) ** sharp) ** (0.2 / sharp)
    return 1.82 + 482.0 * n**-0.348 + 12_000.0 * d**-0.45 * slow


def plateau(n: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Data that run out without a column to say so: tokens beyond 3e10 are worth ever less."""
    return chinchilla(n, d / (1 + d / 3e10))


TRUTHS: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "chinchilla": chinchilla,
    "joint": joint,
    "mistuned": mistuned,
    "broken": broken,
    "trunks": chinchilla,
    "plateau": plateau,
}


@dataclass(frozen=True)
class Design:
    """isoflop: levels of equal compute; else a grid of sizes by budgets. beyond: held out are the runs of
    more than 1/beyond of the largest compute."""

    isoflop: bool
    beyond: float


DESIGNS: Mapping[str, Design] = {
    "isoflop x 10": Design(True, 9.9),
    "isoflop x 3": Design(True, 3.1),
    "grid x 10": Design(False, 10.0),
    "grid x 3.3": Design(False, 3.3),
}


# Levels of equal compute share no sizes, so they have no trunks.
CELLS = tuple(
    (truth, name)
    for truth in TRUTHS
    for name, design in DESIGNS.items()
    if not (truth == "trunks" and design.isoflop)
)


def table(truth: str, design: Design, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """(columns with held_out, the true losses without noise (n,))."""
    rng = np.random.default_rng(seed)
    if design.isoflop:
        flops = np.repeat(np.geomspace(1e18, 1e21, 7), 7)
        n = np.sqrt(flops / 120) * np.tile(np.geomspace(0.2, 5, 7), 7)
        d = flops / 6 / n
    else:
        sizes, budgets = np.meshgrid(np.geomspace(1e7, 1e9, 7), np.geomspace(5e8, 3e10, 6), indexing="ij")
        n, d = sizes.ravel(), budgets.ravel()
        trunk = np.repeat(np.arange(7), 6)
    loss = TRUTHS[truth](n, d)
    noise = OWN * rng.standard_normal(n.size)
    columns = {"params": n, "tokens": d}
    if truth == "trunks":
        # Two trunks a size, each with a branch at every budget.
        again = np.concatenate([trunk * 2, trunk * 2 + 1])
        columns = {name: np.concatenate([values, values]) for name, values in columns.items()}
        loss = np.concatenate([loss, loss])
        noise = OWN / 2 * rng.standard_normal(loss.size)
        noise += TRUNK * rng.standard_normal(again.max() + 1)[again]
        columns["cluster"] = np.array([f"trunk {one}" for one in again], object)
    spent = 6 * columns["params"] * columns["tokens"]
    columns |= {"loss": loss * np.exp(noise), "held_out": spent > spent.max() / design.beyond}
    return columns, loss
