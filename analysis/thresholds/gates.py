"""Data that should not be believed, whatever shape it has. Each gate has a published case behind it."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import numpy as np

from analysis.notes import Note
from analysis.thresholds import outliers
from analysis.thresholds.scores import Cells
from analysis.thresholds.tails import binomial_at_most

_READ = 0.5  # share of the answers of a size that a parser should read at the least
_DROP = 0.2  # of the parse rate between sizes: more than models of two sizes happen to differ
_BARELY = 0.02  # score of a model that has barely begun to learn, at the most
_COINCIDENCE = 1e-3  # probability of equal counts from which they are remarked on
_IMPOSSIBLE = 1e-5  # and, with their distance from chance, not believed
_SURE = 0.9  # probability, or share of right tokens, from which a model knows an answer


def check(cells: Cells, others: Sequence[Cells] = ()) -> tuple[tuple[Note, ...], tuple[Note, ...]]:
    """(faults, remarks): with a fault the verdict is `invalid`; a remark is only said. others: the other
    metrics of the task."""
    faults, remarks = [], []
    if not cells.continuous:
        for gate in (_fractional_counts, _impossible_zeros, _constant_answers):
            fault, remark = gate(cells)
            faults += fault
            remarks += remark
        fault, remark = _unreadable(cells, others)
        faults += fault
        remarks += remark
    return tuple(faults), tuple(remarks)


def _unreadable(cells: Cells, others: Sequence[Cells]):
    """Few answers could be parsed: is that the parser's fault (right answers were missed in
    EleutherAI/lm-evaluation-harness 2707), or do these models not end their answers yet, which is part of the
    ability?

    A model that can answer goes on answering when it grows, so a fault shows in one of four ways: more is
    right than was read; a size is read less than a smaller one; the answers' own probabilities say that they
    are known; or the largest size is read no better than the smallest.
    """
    if not np.isfinite(cells.parse_rate).any():
        return [], []
    sizes = range(cells.x.size)
    rate = np.array([_mean(cells.parse_rate[cells.size == i]) for i in sizes])
    known = np.flatnonzero(np.isfinite(rate))
    low = known[rate[known] < _READ]
    if low.size == 0:
        least = float(rate[known].min())
        if least >= 0.95:
            return [], []
        return [], [Note("parse_rate", f"as few as {least:.0%} of the answers of a size were parsed")]
    at = _names(cells.place[low])
    said = f"only {rate[low].min():.0%} of the answers at {at} {cells.axis} could be parsed"
    reason = None
    over = [i for i in known if cells.pooled[i] > rate[i] + 0.05]
    before = np.array([np.nanmax(rate[known[known < i]], initial=0.0) for i in low])
    if over:
        reason = f"yet {cells.pooled[over[0]]:.0%} are right at {cells.place[over[0]]:.4g}"
    elif (before - rate[low] > _DROP).any():
        reason = f"while {before.max():.0%} were at smaller ones"
    elif name := _knows(cells, low, others):
        reason = f"while {name} says that the model knows them"
    elif rate[known[-1]] < _READ and rate[known[-1]] - rate[known[0]] < _DROP:
        reason = "and larger sizes are read no better"
    if reason is not None:
        return [Note("parse_rate", f"{said}, {reason}: a fault of the parser or the format")], []
    text = (
        f"{said}, and more with size: small models do not end their answers yet, which is part of the ability"
    )
    return [], [Note("parse_rate", text)]


def _knows(cells: Cells, low: np.ndarray, others: Sequence[Cells]) -> str | None:
    """The continuous metric by which most runs of a size that cannot be read know the answer."""
    for other in others:
        measure = other.measure
        nats = other.score if measure.nats and measure.kind == "positive" else None
        if nats is None and other.metric != "token_accuracy":
            continue
        for place in cells.place[low]:
            here = np.isclose(other.place[other.size], place)
            sure = np.exp(-nats[here]) if nats is not None else other.score[here]
            if here.any() and np.median(sure) > _SURE:
                return other.metric
    return None


def _mean(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else np.nan


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
        f"answers ({int(off.sum())} of {off.size} cells); a mean over subtasks needs its stderr, not items"
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
    begun = np.cumsum(~zero) > 0
    if cells.axis != "params" and impossible.any() and not (impossible & begun).any():
        last = _names(cells.place[impossible][-1:])
        text = (
            f"exactly 0 up to {last} {cells.axis}: models that have barely begun do not answer yet, which is "
            "below chance and no fault"
        )
        return [], [Note("exact_zero", text)]
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
        # What a model that has barely begun gets right by luck it may lose again.
        returns = returns and same_or_smaller.max() > _BARELY
        returns = returns and bool((~zero[i + 1 :]).any())
        if drop or returns:
            sudden.append(i)
    if sudden and not faults and outliers.mixed(cells):
        text = f"exactly 0 at {_names(cells.place[sudden])} {cells.axis}, amid models of other recipes"
        return faults, [Note("exact_zero", text)]
    if sudden and not faults and mixed and not cells.stated_zero_error.any():
        at, luck = _names(cells.place[sudden]), _names(cells.place[mixed])
        text = f"exactly 0 at {at} {cells.axis}, as are some seeds, not all, at {luck}: luck, not a fault"
        return faults, [Note("exact_zero", text)]
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
    chance_of_it = min(1.0, comb(int(inside.sum()), times) * same ** (times - 1))
    if times < 4 or times < inside.sum() / 2 or chance_of_it > _COINCIDENCE:
        return [], []
    text = f"{times} of {cells.size.size} cells score exactly {score:.6g}: one answer given to every item?"
    # Guessing gives the same count again and again, and this far from chance, with the product of both.
    below = binomial_at_most(round(score * items), round(items), cells.chance)
    tail = 2 * min(below, 1 - below, 0.5) if cells.chance > 0 else 1.0
    note = Note("constant_answers", text)
    fault = tail < 0.02 and (chance_of_it * tail < _IMPOSSIBLE)
    return ([note], []) if fault else ([], [note])


def _names(places: np.ndarray) -> str:
    shown = ", ".join(f"{place:.4g}" for place in places[:3])
    return shown + (f" and {len(places) - 3} more" if len(places) > 3 else "")
