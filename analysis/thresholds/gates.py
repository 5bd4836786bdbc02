"""Data that should not be believed, whatever shape it has. Each gate has a published case behind it."""

from __future__ import annotations

from math import comb

import numpy as np
from scipy.stats import binom

from analysis.notes import Note
from analysis.thresholds.cells import Cells


def check(cells: Cells) -> tuple[tuple[Note, ...], tuple[Note, ...]]:
    """(faults, remarks): with a fault the verdict is `invalid`; a remark is only said."""
    faults, remarks = [], []
    if not cells.continuous:
        for gate in (_fractional_counts, _impossible_zeros, _constant_answers):
            fault, remark = gate(cells)
            faults += fault
            remarks += remark
    if np.isfinite(cells.parse_rate).any():
        lowest = float(np.nanmin(cells.parse_rate))
        if lowest < 0.5:
            faults.append(Note("parse_rate", f"only {lowest:.0%} of the answers of a cell could be parsed"))
        elif lowest < 0.95:
            remarks.append(Note("parse_rate", f"as few as {lowest:.0%} of the answers of a cell were parsed"))
    return tuple(faults), tuple(remarks)


def _fractional_counts(cells: Cells):
    """A share of whole items times the items is a whole number (GRIM, Brown and Heathers 2017)."""
    if not cells.whole:
        return [], []
    product = cells.score * cells.raw_items
    rounding = 0.5 * 10.0 ** -np.array([_decimals(s) for s in cells.score]) * cells.raw_items
    off = np.abs(product - np.rint(product)) > rounding + 1e-6 * cells.raw_items
    if not off.any():
        return [], []
    first = int(np.flatnonzero(off)[0])
    text = (
        f"score {cells.score[first]:.6g} of {cells.raw_items[first]:g} items is no whole number of correct "
        f"answers ({int(off.sum())} of {off.size} cells)"
    )
    return [Note("fractional_counts", text)], []


def _decimals(value: float) -> int:
    text = repr(float(value))
    return len(text.split(".")[1]) if "." in text and "e" not in text else 12


def _impossible_zeros(cells: Cells):
    """Exactly 0 of n where chance, or smaller models, cannot give 0 (a tokenizer bug scored LLaMA 0 on ten
    arithmetic tasks: EleutherAI/lm-evaluation-harness 443)."""
    total = np.bincount(cells.size, cells.items, cells.x.size)
    hits = np.bincount(cells.size, cells.correct, cells.x.size)
    zero = hits == 0
    by_chance = total * np.log1p(-min(cells.chance, 1 - 1e-9))
    faults = []
    impossible = zero & (by_chance < np.log(1e-9))
    if impossible.any():
        at = cells.place[impossible]
        faults.append(
            Note("exact_zero", f"exactly 0 at {_names(at)} {cells.axis}, where chance is {cells.chance:g}")
        )
    mixed = [
        i
        for i in range(cells.x.size)
        if 0 < (part := cells.correct[cells.size == i] == 0).sum() < part.size
        and np.max(cells.score[cells.size == i]) > 0.2
    ]
    sudden = []
    for i in np.flatnonzero(zero):
        same_or_smaller = hits[:i] / total[:i]
        drop = i > 0 and same_or_smaller[-1] * total[i] > 25 and same_or_smaller[-1] >= 0.2
        returns = i > 0 and i < zero.size - 1 and same_or_smaller.max() * total[i] > 25
        returns = returns and bool((~zero[i + 1 :]).any())
        if drop or returns:
            sudden.append(i)
    if sudden and not faults:
        text = f"exactly 0 at {_names(cells.place[sudden])} {cells.axis}, where smaller models score above 0"
        faults.append(Note("exact_zero", text + ": look for a parser or tokenizer fault"))
    stated = cells.stated_zero_error & np.isin(cells.score, (0.0, 1.0))
    if mixed and stated.any() and not faults:
        at = _names(cells.place[mixed])
        faults.append(
            Note("exact_zero", f"at {at} {cells.axis} some rows are exactly 0 with stderr 0 and others high")
        )
    elif stated.any() and not faults:
        text = "a stderr of 0 is stated for an exact 0 or 1: its real upper bound is 3 of n items"
        return faults, [Note("zero_stderr", text)]
    return faults, []


def _constant_answers(cells: Cells):
    """The same count again and again is one answer given to every item, not a score (label flips)."""
    inside = (cells.score > 0) & (cells.score < 1)
    if inside.sum() < 4:
        return [], []
    values, counts = np.unique(np.round(cells.score[inside], 9), return_counts=True)
    score, times = float(values[counts.argmax()]), int(counts.max())
    items = float(np.median(cells.raw_items))
    same = min(1.0, 1 / (2 * np.sqrt(np.pi * items * score * (1 - score))))
    chance_of_it = comb(int(inside.sum()), times) * same ** (times - 1)
    if times < 4 or times < inside.sum() / 2 or chance_of_it > 1e-4:
        return [], []
    text = f"{times} of {cells.size.size} cells score exactly {score:.6g}: one answer given to every item?"
    expected = binom.cdf(round(score * items), round(items), cells.chance) if cells.chance else 1.0
    off_chance = cells.chance > 0 and min(expected, 1 - expected) < 1e-3
    note = Note("constant_answers", text)
    return ([note], []) if off_chance else ([], [note])


def _names(places: np.ndarray) -> str:
    shown = ", ".join(f"{place:.4g}" for place in places[:3])
    return shown + (f" and {len(places) - 3} more" if len(places) > 3 else "")
