"""The law that a design is judged by before it runs."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike

from lab.strict import Within

Factor = Annotated[float, Within(1e-12, 1e30)]
Exponent = Annotated[float, Within(0.01, 10.0)]
Share = Annotated[float, Within(0.0, 1.0)]


@dataclass(frozen=True)
class Prior:
    """loss = E + A / params^alpha + B / tokens^beta (2203.15556, equation 10), in nats a token.

    The scatter of the log loss about it: ``noise`` of each run, ``trunk_noise`` shared by the budgets of a
    size and seed, ``model_error`` what the law does not follow, alike for all seeds and for budgets within
    exp(``model_reach``) of each other. ``lab plan --prior STORE`` prints what a store has of each. A study
    that states nothing is judged by the law and scatter that `sweeps.plan.promised_intervals` has built in,
    instead of these numbers.
    """

    E: Annotated[float, Within(0.0, 1e3)] = 1.7  # nats a token
    A: Factor = 1900.0  # of params
    alpha: Exponent = 0.98
    B: Factor = 660.0  # of tokens
    beta: Exponent = 0.56
    noise: Share = 0.012  # scatter of the log loss, of each run
    trunk_noise: Share = 0.0  # shared by the budgets of a size and seed
    model_error: Share = 0.0  # what the law does not follow
    # log of the factor of tokens over which that is alike
    model_reach: Annotated[float, Within(0.01, 100.0)] = 1.0

    def loss(self, params: ArrayLike, tokens: ArrayLike) -> np.ndarray:
        return self.E + self.A * np.power(params, -self.alpha) + self.B * np.power(tokens, -self.beta)

    def optimal_params(self, flops: float) -> float:
        """N* of C = 6 N D: (alpha A / (beta B))^(1/(alpha+beta)) (C/6)^(beta/(alpha+beta))."""
        total = self.alpha + self.beta
        ratio = self.alpha * self.A / (self.beta * self.B)
        return ratio ** (1 / total) * (flops / 6) ** (self.beta / total)
