"""Kaplan's exponent from Chinchilla's law (Pearce and Song, arXiv 2406.12907): what N leaves out.

Where compute and size leave out embeddings, as in Kaplan et al. (arXiv 2001.08361), and models are small,
Chinchilla's law itself says that params grow as compute to the power 0.74 to 0.78. No data are needed.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from analysis.replicate.checks import Picture, Replication, near

# Total params of N non-embedding ones, N + OMEGA N^(1/3): fitted to Chinchilla's models, section 3 there.
OMEGA = 47491.0
# Non-embedding params of Kaplan's smallest and largest model.
RANGE = (768.0, 1.5e9)
EPOCH = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
HOFFMANN = {"E": 1.6934, "A": 406.4, "B": 410.7, "alpha": 0.3392, "beta": 0.2849}


def budgets(law: Mapping[str, float], params: np.ndarray) -> np.ndarray:
    """Non-embedding FLOPs at which `params` non-embedding params are compute-optimal under the law.

    The optimum of A / N_T^alpha + B / D^beta over N at C = 6 N D, with N_T = N + OMEGA N^(1/3): section 3.
    """
    total = params + OMEGA * params ** (1 / 3)
    slope = 1 + OMEGA / 3 * params ** (-2 / 3)
    a, alpha, b, beta = (law[name] for name in ("A", "alpha", "B", "beta"))
    tokens = (beta * b * total ** (alpha + 1) / (alpha * a * params * slope)) ** (1 / beta)
    return 6 * params * tokens


def exponent(law: Mapping[str, float]) -> float:
    """The power of compute that non-embedding params follow over Kaplan's range: a line through the logs at
    budgets that are evenly spaced in log compute.
    """
    params = np.geomspace(*RANGE, 4000)
    flops = np.log(budgets(law, params))
    even = np.linspace(flops[0], flops[-1], 400)
    return float(np.polyfit(even, np.interp(even, flops, np.log(params)), 1)[0])


def replicate() -> Replication:
    # Published with two digits; how the fitted budgets were spaced, which moves the third, is not.
    checks = (
        near("non-embedding exponent, constants of arXiv 2404.10102", 0.78, exponent(EPOCH), 0.012),
        near("non-embedding exponent, constants of arXiv 2203.15556", 0.74, exponent(HOFFMANN), 0.012),
    )
    params = np.geomspace(*RANGE, 60)
    lines = {
        "constants of 2404.10102": (budgets(EPOCH, params), params),
        "constants of 2203.15556": (budgets(HOFFMANN, params), params),
    }
    kaplan = budgets(EPOCH, params)
    lines["compute^0.73 (Kaplan)"] = (kaplan, params[30] * (kaplan / kaplan[30]) ** 0.73)
    picture = Picture("non-embedding FLOPs", "compute-optimal non-embedding params", {}, lines)
    return Replication(
        "kaplan",
        "Kaplan's exponent follows from Chinchilla's law",
        "Pearce and Song 2024, arXiv 2406.12907",
        checks,
        picture,
    )
