"""Formulas over columns, as `--columns` takes them: read by a small grammar of their own, never as Python.

    sum     = product (("+" | "-") product)*
    product = signed (("*" | "/") signed)*
    signed  = ("+" | "-") signed | power
    power   = atom [("**" | "^") signed]
    atom    = number | column | function "(" sum ")" | "(" sum ")"

A column's name may hold any sign (`val-loss`, `Params (M)`): where an atom stands, the longest name that fits
is taken before anything is computed; quoted or not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.tables.units import numbers

FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {
    "log": np.log,
    "ln": np.log,
    "log10": np.log10,
    "log2": np.log2,
    "exp": np.exp,
    "sqrt": np.sqrt,
}
# Longer texts are no formulas; brackets and signs in one another more than so many times neither.
LONGEST, DEEPEST = 1000, 40
_NUMBER = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_OPERATOR = re.compile(r"\*\*|[-+*/^()]")
_WORD = re.compile(r"\w+")


class FormulaError(ValueError):
    """What is wrong with a formula, in one sentence. unknown: the name that is no column, if that is it."""

    def __init__(self, text: str, unknown: str = ""):
        super().__init__(text)
        self.unknown = unknown


@dataclass(frozen=True)
class Formula:
    """A formula that was read. columns: those it uses, in order; whole: it is nothing but a column."""

    text: str
    columns: tuple[str, ...]
    whole: bool
    _steps: tuple[tuple[str, Any], ...]

    def of(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """Its values (rows,), float64, NaN where a column has no number."""
        length = len(columns[self.columns[0]])
        stack: list[Any] = []
        with np.errstate(all="ignore"):
            for kind, what in self._steps:
                if kind == "number":
                    stack.append(what)
                elif kind == "column":
                    stack.append(numbers(columns[what]))
                elif kind == "call":
                    stack.append(FUNCTIONS[what](stack.pop()))
                elif kind == "minus":
                    stack.append(-stack.pop())
                else:
                    right, left = stack.pop(), stack.pop()
                    stack.append(_OPERATIONS[what](left, right))
        return np.broadcast_to(np.asarray(stack[0], float), (length,)).copy()


_OPERATIONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    # Of floats alone: whole numbers to a negative power are an error of NumPy.
    "**": lambda a, b: np.power(np.asarray(a, float), np.asarray(b, float)),
}


def parse(text: str, columns: Collection[str]) -> Formula:
    """The formula that a text means over these columns. A column of exactly that name comes first.

    Raises FormulaError for what is none, for a name that is no column, and where no column is used at all.
    """
    text = text.strip()
    if text in columns:
        return Formula(text, (text,), True, (("column", text),))
    if len(text) > LONGEST:
        raise FormulaError(f"a formula may have {LONGEST} characters; this has {len(text)}")
    reader = _Reader(text, sorted((name for name in columns if name), key=len, reverse=True))
    reader.sum(0)
    if reader.peek():
        raise FormulaError(f"{text!r}: what follows {text[: reader.at].strip()!r} is no operator")
    used = tuple(dict.fromkeys(what for kind, what in reader.steps if kind == "column"))
    if not used:
        raise FormulaError(f"{text!r} uses no column", text)
    return Formula(text, used, False, tuple(reader.steps))


def evaluate(text: str, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Values (rows,) of a formula. Raises FormulaError."""
    return parse(text, columns).of(columns)


class _Reader:
    """Reads a text from left to right into steps of a stack machine."""

    def __init__(self, text: str, names: list[str]):
        self.text, self.names, self.at = text, names, 0
        self.steps: list[tuple[str, Any]] = []

    def peek(self) -> str:
        """The text that is left, without the blanks before it."""
        self.at += len(self.text[self.at :]) - len(self.text[self.at :].lstrip())
        return self.text[self.at :]

    def operator(self, among: str) -> str:
        """The operator that comes next, if it is one of these; it is then read."""
        match = _OPERATOR.match(self.peek())
        sign = match[0] if match else ""
        if not sign or sign not in among.split():
            return ""
        self.at += len(sign)
        return "**" if sign == "^" else sign

    def sum(self, depth: int) -> None:
        self.product(depth)
        while sign := self.operator("+ -"):
            self.product(depth)
            self.steps.append(("two", sign))

    def product(self, depth: int) -> None:
        self.signed(depth)
        while sign := self.operator("* /"):
            self.signed(depth)
            self.steps.append(("two", sign))

    def signed(self, depth: int) -> None:
        if depth > DEEPEST:
            raise FormulaError(f"{self.text!r}: brackets or signs in more than {DEEPEST} others")
        # A name such as `-log p` comes before a sign.
        if self.column() is None and (sign := self.operator("+ -")):
            self.signed(depth + 1)
            if sign == "-":
                self.steps.append(("minus", ""))
            return
        self.atom(depth)
        if self.operator("** ^"):
            self.signed(depth + 1)
            self.steps.append(("two", "**"))

    def atom(self, depth: int) -> None:
        if (found := self.column()) is not None:
            name, length = found
            self.at += length
            self.steps.append(("column", name))
            return
        left = self.peek()
        if (match := _NUMBER.match(left)) and not _WORD.match(left[match.end() :]):
            self.at += match.end()
            self.steps.append(("number", float(match[0])))
            return
        call = re.match(r"(\w+)\s*\(", left)
        if (call and call[1] in FUNCTIONS) or left.startswith("("):
            self.at += call.end() if call else 1
            self.sum(depth + 1)
            if not self.operator(")"):
                raise FormulaError(f"{self.text!r}: a bracket is not closed")
            if call:
                self.steps.append(("call", call[1]))
            return
        if not left or _OPERATOR.match(left):
            where = f"before {left[:1]!r}" if left else "at the end"
            raise FormulaError(f"{self.text!r}: a column or a number is missing {where}")
        raise FormulaError(f"{self.text!r}: no such column", self._unknown(left))

    def column(self) -> tuple[str, int] | None:
        """(the column that stands here, the characters it takes), or None."""
        left = self.peek()
        for quote in "'\"`":
            end = left.find(quote, 1)
            if left.startswith(quote) and left[1:end] in self.names:
                return left[1:end], end + 1
        for name in self.names:
            if left.startswith(name):
                after = left[len(name) : len(name) + 1]
                # `loss` is not the beginning of `loss_nats`; and digits are a number before they are a name.
                if (_WORD.match(name[-1:]) and _WORD.match(after)) or name.isdigit():
                    continue
                return name, len(name)
        return None

    def _unknown(self, left: str) -> str:
        """The name that was meant: up to a sign that names rarely have."""
        return re.split(r"[*^()+]|\s[-/]|[-/]\s", left, maxsplit=1)[0].strip() or left
