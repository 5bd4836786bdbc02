"""Allocation under limits: unique tokens, tokens to be served, the size that memory or latency allows.

Everything is one search: along params, the tokens that the rest of the budget buys, and the loss there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from analysis.allocations.optimum import DEVIATIONS
from analysis.errors import InputError
from analysis.fits.reach import beyond
from analysis.fits.results import Deviation, Fit
from analysis.intervals.bootstrap import Interval, interval, left_out
from analysis.laws.frontier import FACTOR, lowest, optimum, separable
from analysis.laws.law import Law
from analysis.laws.repeated import assumed, loss_at
from analysis.notes import Note

# FLOPs of one token through one parameter at inference (arXiv 2401.00448, section 2).
SERVED = 2.0
# Draws that the search for a target loss goes through, and how far their budgets lie from the estimate's.
MOST_DRAWS, NEAR = 200, 5.0
# Budgets between which a target loss is looked for, in natural logs about the table's largest.
REACH = 40.0

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Limits:
    """What a run must respect.

    unique_tokens: distinct tokens of the data, None for as many as are trained on. inference_tokens: to be
    served over the model's life, out of the same budget, at 2 params FLOPs each (arXiv 2401.00448).
    max_params: the largest model, with `why` in words for messages.
    """

    unique_tokens: float | None = None
    inference_tokens: float = 0.0
    max_params: float | None = None
    why: str = "--max-params"


@dataclass(frozen=True, repr=False)
class Plan:
    """The best run under limits. flops is the whole budget: train_flops and inference_flops.

    epochs: tokens over unique tokens. binding: limits that the run lies on. free: the same budget's params,
    tokens and loss without limits. cost: share of the budget that the limits cost, 1 - C'/C with C' the
    budget that reaches this loss without limits. naive_flops: what the compute-optimal model of the same
    loss would cost in training and serving together; None where nothing is served.
    """

    law: str
    flops: float
    train_flops: float
    inference_flops: float
    params: float
    tokens: float
    epochs: float | None
    loss: float
    intervals: Mapping[str, Interval]
    level: float
    binding: tuple[str, ...]
    free: Mapping[str, float]
    cost: float
    naive_flops: float | None
    deviations: tuple[Deviation, ...]
    limits: Limits
    warnings: tuple[Note, ...] = ()
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        out = {name: getattr(self, name) for name in self.__dataclass_fields__}
        out |= {
            "intervals": {name: list(pair) for name, pair in self.intervals.items()},
            "deviations": [asdict(one) for one in self.deviations],
            "limits": asdict(self.limits),
            "binding": list(self.binding),
            "free": dict(self.free),
            "tokens_per_param": self.tokens / self.params,
            "warnings": [note.to_dict() for note in self.warnings],
        }
        return out

    def to_frame(self) -> pandas.DataFrame:
        """A row each for params, tokens, loss and flops: quantity, optimum, low, high (at `level`)."""
        import pandas

        nothing = (float("nan"), float("nan"))
        names = ("params", "tokens", "loss", "flops")
        rows = [(name, getattr(self, name), *self.intervals.get(name, nothing)) for name in names]
        return pandas.DataFrame(rows, columns=["quantity", "optimum", "low", "high"])

    def __repr__(self) -> str:
        return (
            f"Plan({self.flops:.3g} FLOPs: {self.params:.4g} params, {self.tokens:.4g} tokens, "
            f"loss {self.loss:.4f}; {', '.join(self.binding) or 'no limit binds'})"
        )


def size_limit(
    max_params: float | None = None,
    memory: float | None = None,
    latency: float | None = None,
    bandwidth: float | None = None,
    bytes_per_param: float = 2.0,
) -> tuple[float | None, str]:
    """(the largest size that all allow, which of them decides).

    memory: bytes for the weights. latency: seconds a token, bound by reading every weight once from memory of
    `bandwidth` bytes a second (arXiv 2211.05102, section 3.1). Raises InputError for what is not positive.
    """
    given = {
        "--max-params": max_params,
        "--memory": memory,
        "--latency": latency,
        "--bandwidth": bandwidth,
        "--bytes-per-param": bytes_per_param,
    }
    problems = [
        f"{name}: {value} is not a positive number"
        for name, value in given.items()
        if value is not None and not (np.isfinite(value) and value > 0)
    ]
    if (latency is None) != (bandwidth is None):
        problems.append(
            "--latency and --bandwidth go together: seconds a token, and bytes a second of memory"
        )
    if problems:
        raise InputError(*problems)
    sizes = {}
    if max_params is not None:
        sizes["--max-params"] = float(max_params)
    if memory is not None:
        sizes["--memory"] = memory / bytes_per_param
    if latency is not None and bandwidth is not None:
        sizes["--latency"] = latency * bandwidth / bytes_per_param
    if not sizes:
        return None, "--max-params"
    why = min(sizes, key=lambda name: sizes[name])
    return sizes[why], why


def plan(
    fit: Fit, flops: float | None = None, loss: float | None = None, limits: Limits | None = None
) -> Plan:
    """The params and tokens of lowest loss at a budget of `flops`, or of lowest budget that reaches `loss`.

    flops: of training, 6 params tokens, and of what `limits` say is to be served. loss: in the unit of the
    fitted table. Raises InputError unless exactly one of the two is given, for numbers that are not positive,
    for laws that hang on more than params, tokens, flops and unique tokens, and where no run satisfies the
    limits.
    """
    limits = limits or Limits()
    _check(fit, flops, loss, limits)
    search = Search(fit.law, limits)
    free = Search(fit.law, Limits())
    if flops is None:
        assert loss is not None  # as `_check` saw to
        flops = float(np.exp(search.budget(fit.params, np.log(loss), _middle(fit))))
        if not np.isfinite(flops):
            raise InputError(f"--loss: {loss:g} is not reached under these limits by the law {fit.law.name}")
    budget = np.log(flops)
    at, where = search.best(fit.params, budget)
    best = float(search.loss(fit.params, at, budget))
    if not np.isfinite(best):
        raise InputError("no run satisfies the limits: serving the smallest model takes the whole budget")
    params, tokens = float(np.exp(at)), float(search.tokens(at, budget))
    intervals, told = _intervals(fit, search, flops, loss, (params, tokens, best))
    served = SERVED * params * limits.inference_tokens
    at_free, _ = free.best(fit.params, budget)
    unlimited = float(free.loss(fit.params, at_free, budget))
    same = float(free.budget(fit.params, np.log(best), budget))
    return Plan(
        law=fit.law.name,
        flops=flops,
        train_flops=flops - served,
        inference_flops=served,
        params=params,
        tokens=tokens,
        epochs=None if limits.unique_tokens is None else tokens / limits.unique_tokens,
        loss=best,
        intervals=intervals,
        level=fit.level,
        binding=_binding(limits, int(where), params, tokens),
        free={
            "params": float(np.exp(at_free)),
            "tokens": float(flops / FACTOR / np.exp(at_free)),
            "loss": unlimited,
        },
        cost=max(0.0, 1.0 - float(np.exp(same - budget))),
        naive_flops=_naive(fit, free, same, limits),
        deviations=tuple(_deviations(fit, search, at, budget, best, limits)),
        limits=limits,
        warnings=(*told, *_said(fit, limits), *beyond(fit, params, tokens, flops - served), *fit.warnings),
        why="" if fit.leading is None else fit.leading.reason,
    )


class Search:
    """The loss along log params at a log budget, under limits. All arguments broadcast."""

    def __init__(self, law: Law, limits: Limits):
        self.law, self.limits = law, limits
        self.value = _worth(law, limits.unique_tokens)

    def tokens(self, log_n: ArrayLike, budget: ArrayLike) -> np.ndarray:
        n = np.exp(log_n)
        return (np.exp(budget) - SERVED * n * self.limits.inference_tokens) / (FACTOR * n)

    def loss(self, params: Mapping[str, Any], log_n: ArrayLike, budget: ArrayLike) -> np.ndarray:
        d = self.tokens(log_n, budget)
        with np.errstate(all="ignore"):
            value = self.value(params, np.exp(log_n), np.where(d > 0, d, np.nan))
        return np.where(np.isfinite(value), value, np.inf)

    def best(self, params: Mapping[str, Any], budget: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """(log of the best params, where: see `allocation.lowest`)."""
        budget = np.asarray(budget, float)
        if self.limits == Limits() and separable(self.law):
            return optimum(self.law, params, np.exp(budget)), np.zeros((), int)
        shape = np.broadcast_shapes(budget.shape, *(np.shape(value) for value in params.values()))
        high = np.broadcast_to(budget - np.log(FACTOR), shape)
        if self.limits.inference_tokens > 0:
            high = np.minimum(high, budget - np.log(SERVED * self.limits.inference_tokens))
        if self.limits.max_params is not None:
            high = np.minimum(high, np.log(self.limits.max_params))
        return lowest(lambda log_n: self.loss(params, log_n, budget), np.zeros(shape), high)

    def budget(
        self, params: Mapping[str, Any], log_loss: ArrayLike, middle: float, reach: float = REACH
    ) -> np.ndarray:
        """log of the lowest budget whose best loss is exp(log_loss), by bisection about `middle` to 1e-9 of
        `reach`; inf where none within it is enough."""
        shape = np.broadcast_shapes(np.shape(log_loss), *(np.shape(value) for value in params.values()))
        target = np.exp(np.broadcast_to(log_loss, shape))

        def misses(budget: np.ndarray) -> np.ndarray:
            return self.loss(params, self.best(params, budget)[0], budget) > target

        low, high = np.full(shape, middle - reach), np.full(shape, middle + reach)
        never = misses(high)
        for _ in range(31):
            centre = 0.5 * (low + high)
            above = misses(centre)
            low, high = np.where(above, centre, low), np.where(above, high, centre)
        return np.where(never, np.inf, high)


def _worth(law: Law, unique: float | None) -> Callable[[Mapping[str, Any], Any, Any], np.ndarray]:
    """loss(params, n, d), with at most `unique` distinct tokens among the d."""

    def inputs(n: Any, d: Any) -> dict[str, Any]:
        out = {"params": n, "tokens": d, "flops": FACTOR * n * d}
        return out if unique is None else out | {"unique_tokens": np.minimum(unique, d)}

    if unique is None and "unique_tokens" in law.inputs:
        return lambda p, n, d: law.loss(p, {**inputs(n, d), "unique_tokens": d})
    return lambda p, n, d: loss_at(law, p, inputs(n, d))


def _check(fit: Fit, flops: float | None, loss: float | None, limits: Limits) -> None:
    problems = []
    if (flops is None) == (loss is None):
        problems.append("give either --flops, a budget, or --loss, a target")
    named = {"--flops": flops, "--loss": loss, "--unique-tokens": limits.unique_tokens}
    for name, value in named.items():
        if value is not None and not (np.isfinite(value) and value > 0):
            problems.append(f"{name}: {value} is not a positive number")
    if not (np.isfinite(limits.inference_tokens) and limits.inference_tokens >= 0):
        problems.append(f"--inference-tokens: {limits.inference_tokens} is not a number of tokens")
    known = {"params", "tokens", "flops", "unique_tokens"}
    if not {"params", "tokens"} <= set(fit.law.inputs) <= known:
        problems.append(f"the law {fit.law.name} is not one of params and tokens alone; fit chinchilla")
    if limits.max_params is not None and limits.max_params <= 1:
        problems.append(f"{limits.why}: {limits.max_params:g} params are no model")
    if problems:
        raise InputError(*problems)


def _middle(fit: Fit) -> float:
    return float(np.log((FACTOR * fit.data["params"] * fit.data["tokens"]).max()))


def _binding(limits: Limits, where: int, params: float, tokens: float) -> tuple[str, ...]:
    out = []
    if limits.max_params is not None and where > 0 and params >= 0.999 * limits.max_params:
        out.append(limits.why)
    if limits.unique_tokens is not None and tokens > limits.unique_tokens:
        out.append("--unique-tokens")
    if limits.inference_tokens > 0:
        out.append("--inference-tokens")
    return tuple(out)


def _naive(fit: Fit, free: Search, budget: float, limits: Limits) -> float | None:
    if not limits.inference_tokens > 0 or not np.isfinite(budget):
        return None
    at, _ = free.best(fit.params, budget)
    return float(np.exp(budget) + SERVED * np.exp(at) * limits.inference_tokens)


def _intervals(
    fit: Fit, search: Search, flops: float, loss: float | None, here: tuple[float, float, float]
) -> tuple[dict[str, Interval], tuple[Note, ...]]:
    if not fit.draws:
        return {}, ()
    draws = {name: np.asarray(values)[:MOST_DRAWS] for name, values in fit.draws.items()}
    budget = np.log(flops)
    drawn = {}
    told: tuple[Note, ...] = ()
    if loss is not None:
        budget = search.budget(draws, np.log(loss), budget, NEAR)
        told = left_out("budget that reaches the loss", budget)
        drawn["flops"] = np.exp(np.where(np.isfinite(budget), budget, np.nan))
        budget = np.where(np.isfinite(budget), budget, np.log(flops))
    at, _ = search.best(draws, budget)
    told = (*told, *left_out("compute optimum", at))
    drawn |= {"params": np.exp(at), "tokens": search.tokens(at, budget)}
    if loss is None:
        drawn["loss"] = search.loss(draws, at, budget)
    values = dict(zip(("params", "tokens", "loss"), here, strict=True)) | {"flops": flops}
    intervals = {
        name: interval(values[name], numbers, fit.level, fit.spread, positive=True)
        for name, numbers in drawn.items()
    }
    return intervals, told


def _deviations(
    fit: Fit, search: Search, at: np.ndarray, budget: float, best: float, limits: Limits
) -> list[Deviation]:
    """What other sizes cost under the same limits; those that the limits forbid are left out."""
    factors = np.array(DEVIATIONS)
    there = at + np.log(factors)
    loss = search.loss(fit.params, there, budget)
    open_to = np.isfinite(loss) & (np.exp(there) <= 1.0001 * (limits.max_params or np.inf))
    factors, there, loss = factors[open_to], there[open_to], loss[open_to]
    wasted = 1.0 - np.exp(search.budget(fit.params, np.log(loss), budget) - budget)
    columns = (factors, np.exp(there), search.tokens(there, budget), loss, loss - best, wasted)
    return [Deviation(*map(float, row)) for row in zip(*columns, strict=True)]


def _said(fit: Fit, limits: Limits) -> list[Note]:
    if limits.unique_tokens is None or "unique_tokens" in fit.law.inputs:
        return []
    return [Note("repetition_assumed", assumed(fit.law))]
