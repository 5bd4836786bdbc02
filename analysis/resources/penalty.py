"""Kumar's law of what rounding the weights of a trained model costs, fitted to a store's own penalties.

The law (Kumar et al. 2411.04330, section 3),

    penalty = C tokens^gD / params^gN exp(-bits / g),

is linear in its logarithm, so that its fit is least squares. Runs of one size and seed share their trunk and
are one cluster; errors are the jackknife's over clusters (CV3 of MacKinnon, Nielsen and Webb 2023), which
holds where clusters are few.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import stdtrit

from analysis.errors import InputError

if TYPE_CHECKING:
    import pandas

# A width of bits speaks when so many of its runs have a penalty that is told from none, and below MOST nats:
# beyond it the model is gone, and the law, a small disturbance's, with it.
SHARE, ERRORS, MOST = 0.9, 3.0, 1.0
PUBLISHED = {"C": 0.0598, "tokens_exponent": 0.5068, "params_exponent": 0.3439, "bits_scale": 0.5907}


@dataclass(frozen=True)
class PenaltyLaw:
    """C tokens^tokens_exponent / params^params_exponent exp(-bits / bits_scale), in nats.

    ratio: the exponent of tokens per param, where that alone stands for both. intervals: of each, at `level`.
    sd: of the residual, in the logarithm. bits: the widths that speak. left_out: their rows that do not.
    """

    C: float
    tokens_exponent: float
    params_exponent: float
    bits_scale: float
    ratio: float
    intervals: Mapping[str, tuple[float, float]]
    level: float
    bits: tuple[int, ...]
    rows: int
    runs: int
    clusters: int
    left_out: int
    sd: float

    def penalty(self, params, tokens, bits):
        """Nats; broadcasts."""
        size = self.C * np.asarray(tokens, float) ** self.tokens_exponent
        return size / np.asarray(params, float) ** self.params_exponent * np.exp(-bits / self.bits_scale)

    def __str__(self) -> str:
        low, high = self.intervals["ratio"]
        grows = "grows" if low > 0 else "falls" if high < 0 else "may grow or not"
        return (
            f"the penalty of rounding weights {grows} with tokens per param: as its power {self.ratio:.2f} "
            f"[{low:.2f}, {high:.2f}], and by a factor of {np.exp(1 / self.bits_scale):.2f} a bit less "
            f"({self.rows} penalties of {self.runs} runs, {min(self.bits)} to {max(self.bits)} bits)"
        )

    def to_dict(self) -> dict[str, Any]:
        said = {name: getattr(self, name) for name in self.__dataclass_fields__}
        intervals = {name: list(pair) for name, pair in self.intervals.items()}
        return {**said, "intervals": intervals, "bits": list(self.bits), "published": PUBLISHED}


def penalty_law(rows: pandas.DataFrame, level: float = 0.95) -> PenaltyLaw:
    """Least squares in the logarithm; rows have params, tokens, amount, penalty_nats, penalty_se, cluster and
    run_id.

    Raises InputError for fewer than three sizes, budgets, clusters or two widths of bits that speak.
    """
    penalty, error = rows["penalty_nats"].to_numpy(float), rows["penalty_se"].to_numpy(float)
    told = (penalty > ERRORS * error) & (penalty < MOST)
    told &= (rows[["params", "tokens"]].to_numpy(float) > 0).all(axis=1)
    amounts = rows["amount"].to_numpy(float)
    bits = tuple(sorted(int(b) for b in set(amounts) if told[amounts == b].mean() >= SHARE))
    among = np.isin(amounts, bits)
    used = rows[among & told]
    for name, least in (("params", 3), ("tokens", 3), ("cluster", 3), ("amount", 2)):
        if used[name].nunique() < least:
            what = {"params": "sizes", "tokens": "budgets", "cluster": "trunks", "amount": "widths of bits"}[
                name
            ]
            raise InputError(
                f"needs {least} {what} with penalties that are told from none and below {MOST:g} nats"
            )
    y = np.log(used["penalty_nats"].to_numpy(float))
    n, d, b = (used[name].to_numpy(float) for name in ("params", "tokens", "amount"))
    clusters = used["cluster"].to_numpy()
    ones = np.ones(len(y))
    values, errors, sd = _clustered(np.column_stack([ones, np.log(d), -np.log(n), -b]), y, clusters)
    ratio, ratio_errors, _ = _clustered(np.column_stack([ones, np.log(d / n), -b]), y, clusters)
    count = len(set(clusters.tolist()))
    reach = float(stdtrit(count - 1, 0.5 + level / 2))

    def interval(value: float, error: float) -> tuple[float, float]:
        return float(value - reach * error), float(value + reach * error)

    low, high = interval(values[3], errors[3])
    intervals = {
        "tokens_exponent": interval(values[1], errors[1]),
        "params_exponent": interval(values[2], errors[2]),
        "bits_scale": (1 / high, 1 / low if low > 0 else float("inf")),
        "ratio": interval(ratio[1], ratio_errors[1]),
    }
    return PenaltyLaw(
        C=float(np.exp(values[0])),
        tokens_exponent=float(values[1]),
        params_exponent=float(values[2]),
        bits_scale=float(1 / values[3]),
        ratio=float(ratio[1]),
        intervals=intervals,
        level=level,
        bits=bits,
        rows=len(used),
        runs=int(used["run_id"].nunique()),
        clusters=count,
        left_out=int(among.sum() - len(used)),
        sd=sd,
    )


def _clustered(X: np.ndarray, y: np.ndarray, clusters: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Coefficients, their standard errors (jackknife over clusters), residual deviation."""
    rows, columns = X.shape
    values = np.linalg.lstsq(X, y, rcond=None)[0]
    names = sorted(set(clusters.tolist()))
    without = np.array(
        [np.linalg.lstsq(X[clusters != one], y[clusters != one], rcond=None)[0] for one in names]
    )
    errors = np.sqrt((len(names) - 1) / len(names) * ((without - values) ** 2).sum(0))
    return values, errors, float(np.sqrt(((y - X @ values) ** 2).sum() / (rows - columns)))
