"""A model that must be served: the cheapest of a given quality over its life, by a law (arXiv 2401.00448)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from analysis.allocations.limits import SERVED, Limits, Search
from analysis.laws.frontier import FACTOR
from analysis.laws.law import Law
from analysis.laws.named import LAWS
from analysis.text import number, table


@dataclass(frozen=True)
class Serving:
    """The model that reaches the loss of the compute-optimal one of `naive_params` at the lowest FLOPs of
    training and serving together; `saved` of what that one would take."""

    loss: float
    naive_params: float
    naive_tokens: float
    inference_tokens: float
    params: float
    tokens: float
    flops: float
    naive_flops: float

    @property
    def saved(self) -> float:
        return 1.0 - self.flops / self.naive_flops


def serving(law: Law, params: Mapping[str, float], naive_params: float, inference_tokens: float) -> Serving:
    """For the quality that the law gives the compute-optimal model of `naive_params` params."""
    free, search = Search(law, Limits()), Search(law, Limits(inference_tokens=inference_tokens))
    low, high = np.log(FACTOR * naive_params), np.log(FACTOR * naive_params) + 60.0
    for _ in range(100):  # the optimum grows with the budget
        middle = 0.5 * (low + high)
        small = float(free.best(params, middle)[0]) < np.log(naive_params)
        low, high = (middle, high) if small else (low, middle)
    tokens = float(np.exp(high)) / FACTOR / naive_params
    loss = float(search.value(params, naive_params, tokens))
    budget = float(search.budget(params, np.log(loss), high))
    at, _ = search.best(params, budget)
    naive = float(np.exp(high)) + SERVED * naive_params * inference_tokens
    return Serving(
        loss,
        naive_params,
        tokens,
        inference_tokens,
        float(np.exp(at)),
        float(search.tokens(at, budget)),
        float(np.exp(budget)),
        naive,
    )


# (law, its coefficients, who says so). The third is what arXiv 2404.10102 makes of the same runs.
_CHINCHILLA = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.336, "beta": 0.283}
COEFFICIENTS = {
    "unrounded exponents": _CHINCHILLA,
    "rounded exponents": {**_CHINCHILLA, "alpha": 0.34, "beta": 0.28},
    "arXiv 2404.10102": {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658},
}
# arXiv 2401.00448: (size whose quality is asked, tokens to serve), and what it prints of the best model.
PUBLISHED = {(13e9, 2e12): (7e9, 0.17), (30e9, 1e13): (13.6e9, 0.28)}


def published() -> list[dict[str, Any]]:
    """The paper's two examples under each set of coefficients; its own were computed with the first."""
    rows = []
    for (size, demand), (params, saved) in PUBLISHED.items():
        for name, coefficients in COEFFICIENTS.items():
            found = serving(LAWS["chinchilla"], coefficients, size, demand)
            own = name == "unrounded exponents"
            said = {"published_params": params if own else None, "published_saved": saved if own else None}
            rows.append({"coefficients": name, **asdict(found), "saved": found.saved, **said})
    return rows


def published_text() -> str:
    def percent(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.1f} %"

    rows = [
        (
            f"{row['naive_params'] / 1e9:g}B",
            number(row["inference_tokens"]),
            row["coefficients"],
            number(row["params"]),
            number(row["tokens"]),
            percent(row["saved"]),
            number(row["published_params"]),
            percent(row["published_saved"]),
        )
        for row in published()
    ]
    head = ("quality of", "to serve", "law", "params", "tokens", "saved", "published", "published")
    return "\n".join(
        (
            "the cheapest model of a quality, 6 params tokens to train and 2 params tokens to serve",
            table(rows, head),
            "  published: arXiv 2401.00448, with the exponents of Chinchilla's law before they were rounded",
        )
    )
