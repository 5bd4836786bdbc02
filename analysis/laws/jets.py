"""Exact first and second derivatives of a formula written with ordinary numpy operators.

A `Jet` carries a value with its gradient and Hessian in the parameters that it depends on (forward mode,
second order), so that a law is one line of arithmetic and the estimator still gets exact Newton steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Jet:
    """value (B, n), first (B, K, n), second (B, K, K, n): B parameter vectors at n rows. on: the numbers of
    the K parameters that it depends on, in ascending order; a term of a law hangs on two or three of them."""

    value: np.ndarray
    first: np.ndarray
    second: np.ndarray
    on: tuple[int, ...]

    # numpy must leave `array + jet` to Jet.__radd__ instead of making an array of objects.
    __array_priority__ = 1000
    __array_ufunc__ = None

    def through(self, value, slope, bend) -> Jet:
        """f(self), given f, f' and f'' at self.value: the chain rule to second order."""
        outer = self.first[:, :, None] * self.first[:, None]
        # In place where the shape allows: most of the time goes into new memory for (B, K, K, n).
        outer = np.multiply(bend[:, None, None], outer, out=_room(outer, bend))
        second = slope[:, None, None] * self.second
        second = np.add(second, outer, out=outer if outer.shape == second.shape else None)
        return Jet(value, slope[:, None] * self.first, second, self.on)

    def among(self, on: tuple[int, ...], rows: int) -> Jet:
        """The same with derivatives in all parameters of `on`, which has its own among others, at `rows`."""
        if on == self.on:
            return self
        mine = _places(self.on, on)
        draws, width = len(self.value), len(on)
        first, second = np.zeros((draws, width, rows)), np.zeros((draws, width, width, rows))
        first[:, mine], second[_block(mine, mine)] = self.first, self.second
        return Jet(self.value, first, second, on)

    def __add__(self, other) -> Jet:
        if isinstance(other, Jet):
            value = self.value + other.value
            if self.on == other.on:
                return Jet(value, self.first + other.first, self.second + other.second, self.on)
            out = self.among(_union(self.on, other.on), value.shape[1])
            if out is self:
                wide = np.zeros_like(value)
                out = Jet(value, self.first + wide[:, None], self.second + wide[:, None, None], self.on)
            theirs = _places(other.on, out.on)
            out.first[:, theirs] += other.first
            out.second[_block(theirs, theirs)] += other.second
            return Jet(value, out.first, out.second, out.on)
        value = self.value + other
        if value.shape == self.value.shape:
            return Jet(value, self.first, self.second, self.on)
        return Jet(
            value,
            self.first + np.zeros_like(value)[:, None],
            self.second + np.zeros_like(value)[:, None, None],
            self.on,
        )

    def __mul__(self, other) -> Jet:
        if isinstance(other, Jet):
            value = self.value * other.value
            cross = self.first[:, :, None] * other.first[:, None]
            if self.on != other.on:
                return self._times(other, value, cross)
            second = self.second * other.value[:, None, None]
            second = np.add(second, other.second * self.value[:, None, None], out=_room(second, value))
            second = np.add(second, cross, out=_room(second, value))
            second = np.add(second, np.swapaxes(cross, 1, 2), out=_room(second, value))
            first = self.first * other.value[:, None] + other.first * self.value[:, None]
            return Jet(value, first, second, self.on)
        factor = np.broadcast_to(other, np.broadcast_shapes(self.value.shape, np.shape(other)))
        first, second = self.first * factor[:, None], self.second * factor[:, None, None]
        return Jet(self.value * factor, first, second, self.on)

    def _times(self, other: Jet, value: np.ndarray, cross: np.ndarray) -> Jet:
        """The product with a jet of other parameters; cross (B, K, K of the other, n) of their gradients."""
        on = _union(self.on, other.on)
        mine, theirs = _places(self.on, on), _places(other.on, on)
        draws, rows = value.shape
        first, second = np.zeros((draws, len(on), rows)), np.zeros((draws, len(on), len(on), rows))
        first[:, mine] = self.first * other.value[:, None]
        first[:, theirs] += other.first * self.value[:, None]
        second[_block(mine, mine)] = self.second * other.value[:, None, None]
        second[_block(theirs, theirs)] += other.second * self.value[:, None, None]
        second[_block(mine, theirs)] += cross
        second[_block(theirs, mine)] += np.swapaxes(cross, 1, 2)
        return Jet(value, first, second, on)

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
        return Jet(-self.value, -self.first, -self.second, self.on)

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


@cache
def _union(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted({*one, *other}))


@cache
def _places(some: tuple[int, ...], on: tuple[int, ...]) -> slice | np.ndarray:
    """Where the parameters `some` stand among `on`: a slice where they are neighbours, which is a view."""
    index = [on.index(number) for number in some]
    if index == list(range(index[0], index[0] + len(index))):
        return slice(index[0], index[0] + len(index))
    return np.array(index)


def _block(rows: slice | np.ndarray, columns: slice | np.ndarray) -> tuple:
    """The index of these rows and columns of each (K, K) of (B, K, K, n)."""
    if isinstance(rows, slice) or isinstance(columns, slice):
        return slice(None), rows, columns
    return slice(None), rows[:, None], columns


def _room(array: np.ndarray, like: np.ndarray) -> np.ndarray | None:
    """The array (B, K, K, n) itself, to be written over, if it has all rows of `like` (B, n)."""
    return array if (array.shape[0], array.shape[-1]) == like.shape else None


def variables(theta: np.ndarray) -> list[Jet]:
    """One jet a parameter, for theta (B, P): values (B, 1), so that they broadcast over rows."""
    draws, width = theta.shape
    first, second = np.ones((draws, 1, 1)), np.zeros((draws, 1, 1, 1))
    return [Jet(theta[:, index, None], first, second, (index,)) for index in range(width)]


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
    on = _union(x.on, y.on)
    x, y = x.among(on, first.shape[1]), y.among(on, first.shape[1])
    return Jet(
        np.where(first, x.value, y.value),
        np.where(first[:, None], x.first, y.first),
        np.where(first[:, None, None], x.second, y.second),
        on,
    )


def _as_jet(x, like: Jet) -> Jet:
    """x as a constant jet where it is none, with the derivatives' shape of `like`."""
    if isinstance(x, Jet):
        return x
    value = np.broadcast_to(x, np.broadcast_shapes(np.shape(x), like.value.shape))
    return Jet(value, np.zeros_like(like.first), np.zeros_like(like.second), like.on)
