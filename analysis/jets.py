"""Exact first and second derivatives of a formula written with ordinary numpy operators.

A `Jet` carries a value with its gradient and Hessian in P parameters (forward mode, second order), so that a
law is one line of arithmetic and the estimator still gets exact Newton steps.
"""

from __future__ import annotations

from dataclasses import dataclass

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
        first = slope[:, None] * self.first
        outer = self.first[:, :, None] * self.first[:, None]
        second = slope[:, None, None] * self.second + bend[:, None, None] * outer
        return Jet(value, first, second)

    def __add__(self, other) -> Jet:
        if isinstance(other, Jet):
            return Jet(self.value + other.value, self.first + other.first, self.second + other.second)
        value = self.value + other
        return Jet(
            value,
            self.first + np.zeros_like(value)[:, None],
            self.second + np.zeros_like(value)[:, None, None],
        )

    def __mul__(self, other) -> Jet:
        if isinstance(other, Jet):
            cross = self.first[:, :, None] * other.first[:, None]
            return Jet(
                self.value * other.value,
                self.first * other.value[:, None] + other.first * self.value[:, None],
                self.second * other.value[:, None, None]
                + other.second * self.value[:, None, None]
                + cross
                + np.swapaxes(cross, 1, 2),
            )
        factor = np.broadcast_to(other, np.broadcast_shapes(self.value.shape, np.shape(other)))
        return Jet(self.value * factor, self.first * factor[:, None], self.second * factor[:, None, None])

    def __pow__(self, other) -> Jet:
        if isinstance(other, Jet):
            return exp(other * log(self))
        return self.through(
            self.value**other,
            other * self.value ** (other - 1),
            other * (other - 1) * self.value ** (other - 2),
        )

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


def variables(theta: np.ndarray) -> list[Jet]:
    """One jet a parameter, for theta (B, P): values (B, 1), so that they broadcast over rows."""
    draws, width = theta.shape
    first = np.zeros((width, draws, width, 1))
    first[np.arange(width), :, np.arange(width)] = 1.0
    second = np.zeros((draws, width, width, 1))
    return [Jet(theta[:, index, None], first[index], second) for index in range(width)]


def exp(x):
    """exp of a jet, or of plain arrays."""
    if not isinstance(x, Jet):
        return np.exp(x)
    value = np.exp(x.value)
    return x.through(value, value, value)


def log(x):
    """Natural logarithm of a jet, or of plain arrays."""
    if not isinstance(x, Jet):
        return np.log(x)
    return x.through(np.log(x.value), 1 / x.value, -1 / x.value**2)
