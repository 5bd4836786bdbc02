"""Which rows of one size are seeds: runs that differ by luck alone. Copies and other models are not."""

from __future__ import annotations

import numpy as np
from scipy.special import pdtrc

from analysis.notes import Note

RECIPES = ("model", "family", "name", "corpus", "source", "dataset", "data", "recipe")
_COINCIDENCE = 1e-4  # probability of as many equal scores from which they are copies
_ONE_LOSS = 0.02  # of the loss: seeds of one cell differ by less
_FEWEST = 3  # degrees of freedom from which seeds say how much they differ


def places(part, axis: str, keys: list[str], notes: list[Note]):
    """The rows, and the columns that tell one place on the axis: along the loss, models of one size and
    budget have each its own."""
    if axis != "loss_nats" or axis in keys:
        return part, keys
    named = _differ(part, keys)
    if named is not None:
        return part, [*keys, named]
    loss = part.groupby(keys)[axis]
    if not _seeded(part) and ((loss.max() - loss.min()) > _ONE_LOSS * loss.mean()).any():
        text = "rows of one size and budget differ in loss by more than seeds do: each has its own place"
        notes.append(Note("own_places", text))
        return part, [*keys, axis]
    return part, keys


def without_copies(part, keys: list[str], notes: list[Note]):
    """Without rows that repeat another of their size, where that many equal scores are no coincidence.

    A deterministic evaluation run again, or a table joined with itself, gives the same counts at every size;
    seeds do so once in a while, where items are few or the score is near an end, and always at 0 and 1.
    """
    groups = part.groupby(keys)["score"]
    if groups.size().max() < 2:
        return part
    equal = expected = pairs = 0.0
    for _, each in part.groupby(keys):
        score = each["score"].to_numpy()
        share = bool(each["proportion"].all())
        mean = score.mean()
        if score.size < 2 or (share and not 0 < mean < 1):
            continue
        here = score.size * (score.size - 1) / 2
        _, count = np.unique(score, return_counts=True)
        pairs += here
        equal += (count * (count - 1) / 2).sum()
        items = float(np.nanmedian(each["items"])) if each["items"].notna().any() else np.nan
        if share and np.isfinite(items):
            expected += here * min(1.0, 1 / (2 * np.sqrt(np.pi * items * mean * (1 - mean))))
        else:  # rounded to some digits, of which seeds share all but the last few
            expected += here * min(1.0, max(10.0 ** -_digits(score) / (0.05 * abs(mean) + 1e-12), 1e-6))
    if equal == 0 or pdtrc(equal - 1, expected) > _COINCIDENCE:
        return part
    twice = part.duplicated([*keys, "score", "items"])
    if equal < pairs and part["proportion"].all():
        twice &= (part["score"] > 0) & (part["score"] < 1)
    text = f"{int(twice.sum())} rows repeat another of the same size and score: copies, counted once"
    notes.append(Note("duplicates", text))
    return part[~twice]


def one_recipe(part, keys: list[str], notes: list[Note]):
    """(rows, whether different models share a size). Where seeds are given within models, those of the model
    that has most sizes; else all rows, none of which is a seed of another."""
    named = _differ(part, keys)
    if named is None:
        return part, False
    freedom = int((part.groupby([*keys, named], dropna=False).size() - 1).sum())
    if freedom < _FEWEST:
        text = f"different values of {named!r} at one size are other models, not seeds of one"
        notes.append(Note("other_models", text + ": how much seeds differ is not known from them"))
        return part, True
    sizes = part.groupby(named, dropna=False).size()
    kept = part[part[named] == sizes.idxmax()]
    text = f"only rows with {named} {sizes.idxmax()!r}: {len(part) - len(kept)} of other models left out"
    notes.append(Note("other_models", text))
    return kept, False


def labels(part, size: np.ndarray, notes: list[Note], recipes: bool) -> np.ndarray:
    """The seed of each row (C,); rows without one are runs of their own."""
    number = part.groupby(size).cumcount()
    if not _seeded(part):
        if number.max() > 0 and not recipes:
            text = (
                "no seed column: rows at one size are taken as replicates, and their spread for that of seeds"
            )
            notes.append(Note("replicates_assumed", text))
        return number.to_numpy()
    blank = part["seed"].isna()
    if not blank.any():
        return part["seed"].to_numpy()
    text = f"{int(blank.sum())} rows without a seed are taken as runs of their own"
    notes.append(Note("seed_blank", text))
    return part["seed"].astype(object).where(~blank, "unnamed " + number.astype(str)).astype(str).to_numpy()


def _seeded(part) -> bool:
    return "seed" in part and bool(part["seed"].notna().any())


def _differ(part, keys: list[str]) -> str | None:
    """The column by which rows of one size are different models; None where their seeds tell them apart."""
    if _seeded(part):
        named = part[part["seed"].notna()]
        blanks = len(named) < len(part)
        if not blanks and not named.duplicated([*keys, "seed"]).any():
            return None
    for name in RECIPES:
        if name in part and part.groupby(keys)[name].nunique().max() > 1:
            return name
    return None


def _digits(score: np.ndarray) -> int:
    return max(len(repr(float(value)).partition(".")[2]) for value in score)
