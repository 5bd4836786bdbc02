"""The law that a design is judged by before it runs."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from lab.strict import Within

Factor = Annotated[float, Within(1e-12, 1e30)]
Exponent = Annotated[float, Within(0.01, 10.0)]


@dataclass(frozen=True)
class Prior:
    """loss = E + A / params^alpha + B / tokens^beta (2203.15556, equation 10), in nats a token.

    The default is a rounded fit to the quick start's runs (bytes of technical English, 7e3 to 7e4 params that
    multiply activations, 1.5e5 to 2.4e6 tokens), printed by `lab fit runs/quickstart`, and says nothing of
    other data: give your own in [prior], or point the plan at a store with finished runs. ``noise`` is the
    scatter of the log loss over seeds.
    """

    E: Annotated[float, Within(0.0, 1e3)] = 1.7
    A: Factor = 1900.0
    alpha: Exponent = 0.98
    B: Factor = 660.0
    beta: Exponent = 0.56
    noise: Annotated[float, Within(0.0, 1.0)] = 0.005

    def loss(self, params, tokens):
        return self.E + self.A * np.power(params, -self.alpha) + self.B * np.power(tokens, -self.beta)

    def optimal_params(self, flops: float) -> float:
        """N* of C = 6 N D: (alpha A / (beta B))^(1/(alpha+beta)) (C/6)^(beta/(alpha+beta))."""
        total = self.alpha + self.beta
        ratio = self.alpha * self.A / (self.beta * self.B)
        return ratio ** (1 / total) * (flops / 6) ** (self.beta / total)
