"""A corpus: documents without duplicates in a fixed order, and the split into training and validation."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lab.errors import InputError

AT_ONCE = 1 << 20  # documents, about, whose groups are summed at a time
LONG_LINE = 24  # bytes; shorter lines repeat by chance ("Returns", "-------")


@dataclass(frozen=True)
class Corpus:
    """D documents, back to back in the order of the SHA-256 of their text.

    That order is as good as random, so that any head of the corpus is a sample of the whole, and it is the
    same on every machine. Documents of one group (a file) stay on one side of the split.
    """

    text: np.ndarray  # uint8, UTF-8 of all documents
    ends_D: np.ndarray  # int64, where each document ends in `text`
    group_D: np.ndarray  # uint64, hash of the document's group
    read: int  # documents before any was dropped
    duplicates: int  # exact duplicates dropped
    near_duplicates: int  # documents dropped because most of their lines had been met before
    near_empty: int  # documents dropped for being shorter than the least length

    @property
    def lengths_D(self) -> np.ndarray:
        return np.diff(self.ends_D, prepend=0)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the documents, their borders and their groups."""
        total = hashlib.sha256(self.text)
        total.update(self.ends_D.astype("<i8"))
        total.update(self.group_D.astype("<u8"))
        return total.hexdigest()


def collect(
    documents: Iterable[tuple[str, bytes]],
    least_bytes: int = 1,
    most_repeated: float = 1.0,
    dedupe: bool = True,
) -> Corpus:
    """Corpus of (group, UTF-8 text) pairs. Exact duplicates go to the group of the smallest name.

    Documents shorter than `least_bytes` are dropped, and those of whose long lines more than `most_repeated`
    (by bytes) stand in a document kept before.
    """
    kept: dict[bytes, tuple[str, bytes]] = {}
    times: Counter[bytes] = Counter()
    read = duplicates = near_empty = 0
    for group, text in documents:
        read += 1
        if len(text) < least_bytes:
            near_empty += 1
            continue
        key = hashlib.sha256(text).digest()
        if key in kept:
            duplicates += dedupe
            group = min(group, kept[key][0])
        times[key] += 1
        kept[key] = (group, text)
    ordered = [kept[key] for key in sorted(kept) for _ in range(1 if dedupe else times[key])]
    unlike = _without_near_duplicates(ordered, most_repeated) if most_repeated < 1 else ordered
    near_duplicates = len(ordered) - len(unlike)
    ordered = unlike
    groups = {group: hash64(group) for group, _ in ordered}
    return Corpus(
        text=np.frombuffer(b"".join(text for _, text in ordered), np.uint8),
        ends_D=np.cumsum([len(text) for _, text in ordered], dtype=np.int64),
        group_D=np.array([groups[group] for group, _ in ordered], np.uint64),
        read=read,
        duplicates=duplicates,
        near_duplicates=near_duplicates,
        near_empty=near_empty,
    )


def _without_near_duplicates(documents: list[tuple[str, bytes]], most: float) -> list[tuple[str, bytes]]:
    seen: set[bytes] = set()
    kept = []
    for group, text in documents:
        lines = {line for line in map(bytes.strip, text.split(b"\n")) if len(line) >= LONG_LINE}
        repeated = sum(map(len, lines & seen))
        if repeated <= most * sum(map(len, lines)):
            kept.append((group, text))
            seen |= lines
    return kept


def split(corpus: Corpus, val_fraction: float, name: str) -> np.ndarray:
    """Which documents are held out: :func:`held_out` of a corpus in memory."""
    return held_out(corpus.group_D, corpus.lengths_D, val_fraction, name)


def held_out(group_D: np.ndarray, bytes_D: np.ndarray, val_fraction: float, name: str) -> np.ndarray:
    """Which documents are held out for validation: bool of shape (D,).

    Groups are held out in the order of their hash while they fit into `val_fraction` of the bytes; at least
    one is. Raises InputError when there are fewer than two groups.
    """
    if not len(group_D) or group_D.min() == group_D.max():
        raise InputError(
            f"{name}: all text is one document, so none can be held out for validation; "
            "separate documents by blank lines (.txt), lines (.jsonl) or files (directory), or let "
            'data.split = "file" (`lab init --split file`) hold out the end of a lone text'
        )
    budget = val_fraction * int(bytes_D.sum(dtype=np.int64))
    least = int(bytes_D.min())
    held_D = np.zeros(len(group_D), bool)
    # a range of the hashes at a time: documents may be many
    borders = np.linspace(0, 2.0**64, len(group_D) // AT_ONCE + 2)[1:-1].astype(np.uint64)
    for low, high in zip([None, *borders], [*borders, None], strict=True):
        if budget < least:
            break
        inside = np.ones(len(group_D), bool) if low is None else group_D >= low
        if high is not None:
            inside &= group_D < high
        chosen = np.flatnonzero(inside)
        groups, group_of = np.unique(group_D[chosen], return_inverse=True)
        bytes_G = _bytes_of_groups(group_of, bytes_D[chosen], len(groups))
        held_G = np.zeros(len(groups), bool)
        for g in np.flatnonzero(bytes_G <= budget).tolist():
            if bytes_G[g] <= budget:
                held_G[g] = True
                budget -= int(bytes_G[g])
            elif budget < least:
                break
        held_D[chosen] = held_G[group_of]
    if not held_D.any():
        groups, group_of = np.unique(group_D, return_inverse=True)
        held_D = group_of == np.argmin(_bytes_of_groups(group_of, bytes_D, len(groups)))
    return held_D


def _bytes_of_groups(group_of_D: np.ndarray, bytes_D: np.ndarray, count: int) -> np.ndarray:
    return np.bincount(group_of_D, weights=bytes_D, minlength=count).astype(np.int64)


def hash64(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
