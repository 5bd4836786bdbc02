"""Shapes from parameter targets, and budgets from parameters: everything that needs a count of them.

Parameters here are those that multiply activations: all but an untied input table, which is a look-up
(2406.19146). It is what `lab fit` counts, so that budgets are level where the fit looks.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated

from lab.config import Layers, ModelConfig, Width
from lab.config import Rate as PeakRate
from lab.errors import InputError
from lab.model import accounting
from lab.strict import Within

_MOST_WIDTH = 1 << 16


@dataclass(frozen=True)
class Rate:
    """Peak learning rate as a power of the width: ``learning_rate`` at ``width``, times (M / width)^power."""

    width: Width
    learning_rate: PeakRate
    power: Annotated[float, Within(-10.0, 10.0)]

    def at(self, width: int) -> float:
        """Three digits: a rate is no more certain, and reads better."""
        return float(f"{self.learning_rate * (width / self.width) ** self.power:.3g}")


@dataclass(frozen=True)
class Shape:
    """From a parameter target to a shape: one depth unless ``aspect`` is given (uneven ones bend a law)."""

    layers: Layers | None = None  # of every size; that of [model] by default
    aspect: Annotated[float, Within(0.1, 65_536.0)] | None = None  # width / layers, instead of one depth
    # heads = width / head_width; else as many heads as [model] has
    head_width: Annotated[int, Within(2, 65_536)] | None = None
    multiple_of: Width | None = None  # step of the widths; by default the finest that the heads allow
    rate: Rate | None = None  # learning rates along the ladder

    def problems(self):
        if self.layers is not None and self.aspect is not None:
            yield "aspect", "replaces layers, which is given too; give one of them"
        if self.head_width is not None and self.head_width % 2:
            yield "head_width", f"should be even, is {self.head_width}"
        if self.head_width and self.multiple_of and self.multiple_of % self.head_width:
            yield (
                "multiple_of",
                f"should be a multiple of head_width {self.head_width}, is {self.multiple_of}",
            )

    def model(self, base: ModelConfig, width: int) -> ModelConfig:
        layers = max(1, round(width / self.aspect)) if self.aspect else self.layers or base.layers
        heads = width // self.head_width if self.head_width else base.heads
        return replace(base, width=width, layers=layers, heads=heads)

    def step(self, base: ModelConfig) -> int:
        return self.multiple_of or self.head_width or 2 * base.heads


def counted(model: ModelConfig, vocab: int) -> int:
    """Parameters that multiply activations."""
    params = accounting.count_params(model, vocab)
    return params.total - params.embedding


def shape_for(target: float, rule: Shape, base: ModelConfig, vocab: int) -> ModelConfig:
    """The shape whose count is nearest to ``target`` by ratio, counted from the real shapes.

    Raises:
        InputError: where the smallest or the largest width that the rule allows is still a factor of 2 away.
    """
    step = rule.step(base)
    if wrong := [text for key, text in rule.model(base, step).problems() if key == "heads"]:
        raise InputError(f"shape.multiple_of: widths in steps of {step} do not fit the heads: {wrong[0]}")

    def count(k: int) -> int:
        return counted(rule.model(base, k * step), vocab)

    low, high = 1, max(1, _MOST_WIDTH // step)
    guess = 4
    while low < high:  # counts rise about as the square of the width, so a few steps are enough
        k = min(max(guess, low), high - 1)
        found = count(k)
        guess = round(k * (target / found) ** 0.5)
        if found < target:
            low, guess = k + 1, max(guess, k + 1)
        else:
            high, guess = k, min(guess, k - 1)
    best = min((k for k in (low - 1, low) if k >= 1), key=lambda k: abs(count(k) / target - 1))
    if not 0.5 <= count(best) / target <= 2:
        least = f"{count(1):,}" if count(1) > target else f"{count(high):,}"
        raise InputError(
            f"{target:,.0f} params are not within a factor of 2 of any width; nearest is {least}"
        )
    return rule.model(base, best * step)


def tokens_of_flops(flops: float, params: int) -> int:
    """D = C / (6 N)."""
    return round(flops / (6 * params))


def valley(
    flops: float, sizes: int, spread: float, tokens_per_param: float, shape: Callable[[float], ModelConfig]
) -> list[ModelConfig]:
    """Shapes around the expected optimum N* of a budget, from N*/spread to N* spread at equal ratios.

    With D* = r N*, C = 6 N* D* gives N* = sqrt(C / (6 r)) (2203.15556, approach 2).
    """
    centre = (flops / (6 * tokens_per_param)) ** 0.5
    exponents = [-1 + 2 * i / (sizes - 1) for i in range(sizes)] if sizes > 1 else [0.0]
    return list(dict.fromkeys(shape(centre * spread**e) for e in exponents))
