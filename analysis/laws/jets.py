"""Exact first and second derivatives of a formula written with ordinary numpy operators.

A `Jet` carries a value with its gradient and Hessian in P parameters (forward mode, second order), so that a
law is one line of arithmetic and the estimator still gets exact Newton steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Jet:
    """value (B, n), first (B, P, n), second (B, P, P, n): B parameter vectors at n rows."""

    value: np.ndarray
    first: np.ndarray
    second: np.ndarray

    # numpy must leave `array + jet` to Jet.__radd__ instead of making an array of objects.
    __array_priority__ = 1000
    __array_ufunc__ = None

    def through(self, value, slope, bend) -> Jet:
        """f(self), given f, f' and f'' at self.value: the chain rule to second order."""
        outer = self.first[:, :, None] * self.first[:, None]
        # In place where the shape allows: most of the time goes into new memory for (B, P, P, n).
        outer = np.multiply(bend[:, None, None], outer, out=_room(outer, bend))
        second = slope[:, None, None] * self.second
        second = np.add(second, outer, out=outer if outer.shape == second.shape else None)
        return Jet(value, slope[:, None] * self.first, second)

    def __add__(self, other) -> Jet:
        if isinstance(other, Jet):
            return Jet(self.value + other.value, self.first + other.first, self.second + other.second)
        value = self.value + other
        if value.shape == self.value.shape:
            return Jet(value, self.first, self.second)
        return Jet(
            value,
            self.first + np.zeros_like(value)[:, None],
            self.second + np.zeros_like(value)[:, None, None],
        )

    def __mul__(self, other) -> Jet:
        if isinstance(other, Jet):
            value = self.value * other.value
            cross = self.first[:, :, None] * other.first[:, None]
            second = self.second * other.value[:, None, None]
            second = np.add(second, other.second * self.value[:, None, None], out=_room(second, value))
            second = np.add(second, cross, out=_room(second, value))
            second = np.add(second, np.swapaxes(cross, 1, 2), out=_room(second, value))
            first = self.first * other.value[:, None] + other.first * self.value[:, None]
            return Jet(value, first, second)
        factor = np.broadcast_to(other, np.broadcast_shapes(self.value.shape, np.shape(other)))
        return Jet(self.value * factor, self.first * factor[:, None], self.second * factor[:, None, None])

    def __pow__(self, other) -> Jet:
        if isinstance(other, Jet):
            return exp(other * log(self))
        power = np.asarray(other, float)[()]
        # At other 1 the second derivative is 0 x^-1, which is no number at x = 0; and 0 x^-2 at 0.
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = np.where(power == 0, 0.0, power * self.value ** (power - 1))
            bend = np.where(power * (power - 1) == 0, 0.0, power * (power - 1) * self.value ** (power - 2))
        return self.through(self.value**power, slope, bend)

    def __rpow__(self, base) -> Jet:
        return exp(self * np.log(base))

    def __neg__(self) -> Jet:
        return Jet(-self.value, -self.first, -self.second)

    def __sub__(self, other) -> Jet:
        return self + (-other)

    def __rsub__(self, other) -> Jet:
        return (-self) + other

    def __truediv__(self, other) -> Jet:
        return self * other**-1.0 if isinstance(other, Jet) else self * (1.0 / np.asarray(other, float))

    def __rtruediv__(self, other) -> Jet:
        return self**-1.0 * other

    __radd__ = __add__
    __rmul__ = __mul__


def _room(array: np.ndarray, like: np.ndarray) -> np.ndarray | None:
    """The array (B, P, P, n) itself, to be written over, if it has all rows of `like` (B, n)."""
    return array if (array.shape[0], array.shape[-1]) == like.shape else None


def variables(theta: np.ndarray) -> list[Jet]:
    """One jet a parameter, for theta (B, P): values (B, 1), so that they broadcast over rows."""
    draws, width = theta.shape
    first = np.zeros((width, draws, width, 1))
    first[np.arange(width), :, np.arange(width)] = 1.0
    second = np.zeros((draws, width, width, 1))
    return [Jet(theta[:, index, None], first[index], second) for index in range(width)]


def exp(x: Any) -> Any:
    """exp of a jet, or of plain arrays."""
    if not isinstance(x, Jet):
        return np.exp(x)
    value = np.exp(x.value)
    return x.through(value, value, value)


def log(x: Any) -> Any:
    """Natural logarithm of a jet, or of plain arrays."""
    if not isinstance(x, Jet):
        return np.log(x)
    return x.through(np.log(x.value), 1 / x.value, -1 / x.value**2)


def softplus(x: Any) -> Any:
    """log(1 + exp x) of a jet, or of plain arrays, without overflow."""
    if not isinstance(x, Jet):
        return np.logaddexp(0.0, x)
    # 1 / (1 + exp -x), by the branch that cannot overflow.
    small = np.exp(-np.abs(x.value))
    share = np.where(x.value >= 0, 1.0, small) / (1.0 + small)
    return x.through(np.logaddexp(0.0, x.value), share, share * (1.0 - share))


def minimum(x, y):
    """The smaller of two jets or arrays, element by element; where they are equal, x."""
    if not isinstance(x, Jet) and not isinstance(y, Jet):
        return np.minimum(x, y)
    like = x if isinstance(x, Jet) else y
    x, y = _as_jet(x, like), _as_jet(y, like)
    first = x.value <= y.value
    return Jet(
        np.where(first, x.value, y.value),
        np.where(first[:, None], x.first, y.first),
        np.where(first[:, None, None], x.second, y.second),
    )


def _as_jet(x, like: Jet) -> Jet:
    """x as a constant jet where it is none, with the derivatives' shape of `like`."""
    if isinstance(x, Jet):
        return x
    value = np.broadcast_to(x, np.broadcast_shapes(np.shape(x), like.value.shape))
    return Jet(value, np.zeros_like(like.first), np.zeros_like(like.second))
