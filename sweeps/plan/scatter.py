"""What losses scatter by about a law: the law's own error, the luck of a trunk, that of a run."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scatter:
    """Standard deviations of the log loss about a law, and what they share.

    ``model``: what the law does not follow, alike for all seeds of a size and budget. Sizes have it of their
    own; along the tokens of one it changes smoothly, the correlation falling as exp(-distance / reach), with
    ``reach`` in natural logs of tokens. ``trunk``: shared by the budgets of one size and seed; ``run``: of
    each run alone.
    """

    model: float = 0.0
    reach: float = 1.0
    trunk: float = 0.0
    run: float = 0.0

    def draw(self, params, tokens, trunks, count: int, rng) -> np.ndarray:
        """(count, n) draws for runs of params and tokens (n,), numbered by trunk."""
        found = self.run * rng.standard_normal((count, len(params)))
        found += self.trunk * rng.standard_normal((count, int(trunks.max()) + 1))[:, trunks]
        for size in np.unique(params):
            of = params == size
            budgets, place = np.unique(np.log(tokens[of]), return_inverse=True)
            apart = np.abs(budgets[:, None] - budgets[None])
            root = np.linalg.cholesky(np.exp(-apart / self.reach) + 1e-9 * np.eye(len(budgets)))
            found[:, of] += (self.model * rng.standard_normal((count, len(budgets))) @ root.T)[:, place]
        return found

    def covariance(self, params, tokens, trunks) -> np.ndarray:
        """(n, n) of what :meth:`draw` draws."""
        same = np.equal.outer(params, params)
        apart = np.abs(np.subtract.outer(np.log(tokens), np.log(tokens)))
        found = self.model**2 * same * np.exp(-apart / self.reach)
        found += self.trunk**2 * np.equal.outer(trunks, trunks)
        # A scatter of nothing is no covariance: a millionth keeps it one.
        return found + (self.run**2 + 1e-12) * np.eye(len(params))

    def __str__(self) -> str:
        return (
            f"the law's own error {100 * self.model:.2g}% (alike over {np.exp(self.reach):.2g} times the "
            f"tokens), trunks {100 * self.trunk:.2g}%, runs {100 * self.run:.2g}%"
        )


def numbered(*columns) -> np.ndarray:
    """For each row the number of its combination of values (n,)."""
    stacked = np.stack([np.asarray(column, float) for column in columns])
    return np.unique(stacked, axis=1, return_inverse=True)[1].ravel()


def measured(residual, params, tokens, trunks) -> Scatter:
    """The scatter of residuals of the log loss (n,), by the method of moments.

    Cells with several seeds tell what seeds share; of what is left each trunk's mean tells its luck. With one
    seed a cell the law's error cannot be told from that luck, and all counts as the law's error: either way
    it is shared by neighbours. ``fitted``: numbers of the law, for which the residuals are too small.
    """
    residual = np.asarray(residual, float)
    cells = numbered(params, tokens)
    count = np.bincount(cells)
    mean = np.bincount(cells, residual) / count
    trunk = run = 0.0
    if (repeated := count[cells] > 1).any():
        # What the seeds of a cell differ by, freed from the pull of their mean.
        free = np.sqrt(count[cells] / np.maximum(count[cells] - 1, 1))
        trunk, run = _within(((residual - mean[cells]) * free)[repeated], numbered(trunks[repeated]))
    first = np.unique(cells, return_index=True)[1]
    luck = (trunk**2 + run**2) * float(np.mean(1 / count)) if repeated.any() else 0.0
    model = float(np.sqrt(max(0.0, float(np.mean(mean**2)) - luck)))
    order = np.lexsort((tokens[first], params[first]))
    n, d, m = params[first][order], np.log(tokens[first][order]), mean[order]
    near = np.diff(np.log(n)) == 0
    if model == 0 or not near.any():
        return Scatter(model, 1.0, trunk, run)
    alike = float(np.mean((m[1:] * m[:-1])[near])) / model**2
    step = float(np.median(np.diff(d)[near]))
    return Scatter(model, -step / float(np.log(np.clip(alike, 0.05, 0.8))), trunk, run)


def _within(values, groups) -> tuple[float, float]:
    """Standard deviations (between groups, within them) of numbers about zero."""
    count = np.bincount(groups)
    total = float(np.mean(np.square(values)))
    several = count > 1
    if not several.any():
        return 0.0, float(np.sqrt(total))
    mean = np.bincount(groups, values) / count
    inner = np.square(values - mean[groups])[several[groups]].sum() / (count[several] - 1).sum()
    return float(np.sqrt(max(0.0, total - inner))), float(np.sqrt(min(inner, total)))
