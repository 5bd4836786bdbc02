"""How far an interval from few clusters must be widened, for each quantity by the clusters that inform it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

# A variance with fewer degrees of freedom has no mean to speak of.
FEWEST = 2.0
# The share of a row that leverage leaves at least: what a fit follows whole says nothing of noise.
LEFT = 0.05
# Draws whose values lie further out say nothing about the slope of a quantity.
TAILS = (2.5, 97.5)


@dataclass(frozen=True, eq=False)
class Freedom:
    """Student's factor for whatever is computed from the draws of a law.

    theta (B, P): the draws; forms (G, G, P, P): for a quantity with slope c in theta, c forms[g, h] c is the
    covariance of what clusters g and h add to it, as residuals give it; scatter: degrees of freedom of what
    is added to draws beyond the law (one run's noise). factor: on top, from a calibration.

    A quantity between sizes (alpha from twelve runs of many checkpoints) rests on those dozen runs, less the
    parameters that they determine; one within them (beta) on what each run says by itself. Bell and McCaffrey
    2002 (Surv. Methodol. 28) count the degrees of freedom of either by one formula, in the working model of
    runs with an offset each (Imbens and Kolesar 2016, Rev. Econ. Stat. 98).
    """

    theta: np.ndarray
    forms: np.ndarray
    scatter: int
    factor: float = 1.0

    def __mul__(self, factor: float) -> Freedom:
        return replace(self, factor=self.factor * factor)

    def degrees(self, values: np.ndarray) -> np.ndarray:
        """Degrees of freedom (M,) of quantities with draws values (b, M), of the first b draws."""
        theta = np.clip(self.theta[: len(values)], *np.percentile(self.theta, TAILS, axis=0))
        theta = theta - theta.mean(axis=0)
        scale = np.maximum(theta.std(axis=0), 1e-300)
        count = len(self.forms)
        flat = self.forms.reshape(count * count, -1)
        out = np.empty(values.shape[1])
        for index, column in enumerate(values.T):
            finite = np.isfinite(column)
            if finite.sum() <= theta.shape[1]:
                out[index] = count
                continue
            drawn = column[finite]
            drawn = np.clip(drawn, *np.percentile(drawn, TAILS))
            drawn = drawn - drawn.mean()
            slope = np.linalg.lstsq(theta[finite] / scale, drawn, rcond=1e-6)[0] / scale
            shares = (flat @ np.outer(slope, slope).ravel()).reshape(count, count)
            total, squares = float(np.trace(shares)), float((shares**2).sum())
            own = total**2 / squares if squares > 0 else float(count)
            size = float(drawn.var())
            law = 1.0 - float((drawn - theta[finite] @ slope).var()) / size if size > 0 else 1.0
            # Satterthwaite 1946 (Biometrics 2): the law's variance and one run's, each with its own degrees.
            out[index] = 1.0 / (law**2 / max(own, 1e-9) + (1.0 - law) ** 2 / max(self.scatter, 1))
        return np.maximum(out, FEWEST)

    def factors(self, values: np.ndarray, level: float) -> np.ndarray:
        """By what to widen the percentiles of values (B, ...): (...)."""
        degrees = self.degrees(values.reshape(len(values), -1)).reshape(values.shape[1:])
        return self.factor * student(degrees, level)


def student(freedom, level: float):
    """Student's quantile over the normal's."""
    from scipy.special import ndtri, stdtrit

    tail = 0.5 + level / 2
    return stdtrit(freedom, tail) / ndtri(tail)


def forms(jacobian: np.ndarray, clusters: np.ndarray, shared: float, own: float, power: float) -> np.ndarray:
    """(G, G, P, P) for `Freedom`. jacobian (P, n) of the log loss; shared, own: standard deviations of the
    noise that a cluster's rows have in common and of what each has alone; power: see `resample.inflated`.
    """
    width = len(jacobian)
    count = int(clusters.max()) + 1
    scale = np.maximum(np.sqrt((jacobian**2).sum(axis=1)), 1e-300)
    rows = (jacobian / scale[:, None]).T
    basis, upper = np.linalg.qr(rows)
    inverse = np.linalg.pinv(upper, rcond=1e-10).T / scale
    # What a unit of noise at each row moves theta by, were the cluster's leverage corrected: (n, P).
    moves = corrected(basis, clusters, basis, power) @ inverse
    pulls = np.zeros((count, basis.shape[1], width))
    same = np.zeros((count, width, width))
    for cluster in range(count):
        mine = clusters == cluster
        pulls[cluster] = basis[mine].T @ moves[mine]
        same[cluster] = moves[mine].T @ moves[mine]
    alone = -np.einsum("gkp,hkq->ghpq", pulls, pulls)
    places = np.arange(count)
    alone[places, places] += same
    sums, means = np.zeros((count, width)), np.zeros((count, basis.shape[1]))
    np.add.at(sums, clusters, moves)
    np.add.at(means, clusters, basis)
    # (G, G', P): what the common noise of cluster G' adds through the residuals of cluster G.
    common = -np.einsum("bk,gkp->gbp", means, pulls)
    common[places, places] += sums
    wide = common.transpose(0, 2, 1).reshape(count * width, count)
    joint = (wide @ wide.T).reshape(count, width, count, width).transpose(0, 2, 1, 3)
    return own**2 * alone + shared**2 * joint


def corrected(basis: np.ndarray, clusters: np.ndarray, values: np.ndarray, power: float) -> np.ndarray:
    """(I - H_g)^-power values_g for each cluster; basis (n, k) orthonormal, values (n,) or (n, m)."""
    out = values.copy()
    for cluster in range(int(clusters.max()) + 1):
        rows = np.flatnonzero(clusters == cluster)
        axes, sizes, _ = np.linalg.svd(basis[rows], full_matrices=False)
        more = np.maximum(1.0 - sizes**2, LEFT) ** -power - 1.0
        part = axes.T @ values[rows]
        out[rows] += axes @ (more * part.T).T
    return out
