"""Text as training sequences: documents framed, packed back to back, cut into windows."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lab.data.corpus import Corpus
from lab.data.dataset import Validation
from lab.errors import InputError
from lab.tokenizers import ByteTokenizer

AT_ONCE = 32  # windows of a mapped file


def pack(corpus: Corpus, chosen_D: np.ndarray, tokenizer: ByteTokenizer) -> np.ndarray:
    """Tokens of the chosen documents, `<start> bytes <end>` each, back to back: uint16."""
    lengths = corpus.lengths_D[chosen_D]
    tokens = np.empty(int(lengths.sum()) + 2 * len(lengths), np.uint16)
    inside = np.ones(len(tokens), bool)
    ends = np.cumsum(lengths + 2)
    inside[ends - 1] = False
    inside[ends - lengths - 2] = False
    tokens[ends - 1] = tokenizer.end
    tokens[ends - lengths - 2] = tokenizer.start
    tokens[inside] = corpus.text[np.repeat(chosen_D, corpus.lengths_D)]
    return tokens


@dataclass(frozen=True)
class Windows:
    """Windows of T + 1 tokens with stride T: every token but the first is a target exactly once."""

    tokens: np.ndarray
    context: int
    unique: int  # number of windows in use

    def take(self, rows_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets (N, T), int32."""
        rows = self.of(self.tokens, rows_N).astype(np.int32)
        return rows[:, :-1], rows[:, 1:]

    def of(self, values: np.ndarray, rows_N: np.ndarray) -> np.ndarray:
        """The windows (N, T + 1) of anything that there is one of for each token."""
        windows = np.lib.stride_tricks.sliding_window_view(values, self.context + 1)[:: self.context]
        return windows[rows_N]


def windows(tokens: np.ndarray, context: int, max_tokens: int | None, name: str) -> Windows:
    """All windows of a token stream, or its first `max_tokens`. Raises InputError when there is none."""
    unique = (len(tokens) - 1) // context
    if unique < 1:
        raise InputError(
            f"{name}: {len(tokens)} tokens are less than one sequence of {context}; "
            f"more text, or a data.context below {len(tokens)}"
        )
    if max_tokens is not None:
        unique = min(unique, max_tokens // context)
    return Windows(tokens, context, unique)


def in_groups(take: Callable, rows_N: np.ndarray, mapped: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    """What `take` gives for the rows, read so that no more than some pages of a mapped file are held at once.

    Of rows that are spread over a large file a kernel may map megabytes each, which count as this process's.
    """
    found = []
    for some in np.array_split(rows_N, -(-len(rows_N) // AT_ONCE)):
        found.append(take(some))
        for values in mapped:
            if getattr(values, "_mmap", None) is not None:
                values._mmap.madvise(mmap.MADV_DONTNEED)  # a page that is asked for again is mapped again
    return tuple(np.concatenate(part) for part in zip(*found, strict=True))


def validation(
    tokens: np.ndarray,
    context: int,
    at_most: int,
    bytes_of_token: np.ndarray | None,
    name: str,
    spans: np.ndarray | None = None,
) -> Validation:
    """At most `at_most` windows spread evenly over the held-out stream.

    Args:
        bytes_of_token: bytes of text that each id stands for, (V,).
        spans: those of each token of the stream, where the id does not tell them; with neither of the two
            no window has a count of bytes.
    """
    if 0 < len(tokens) <= context:
        raise InputError(
            f"{name}: {len(tokens)} tokens, the part held out for validation, are less than one sequence of "
            f"{context}; a larger data.val_fraction or a data.context below {len(tokens)} mends it"
        )
    held_out = windows(tokens, context, None, f"{name} (the part held out for validation)")
    chosen = np.linspace(0, held_out.unique - 1, min(at_most, held_out.unique)).round().astype(np.int64)
    inputs, targets = in_groups(held_out.take, chosen, [tokens])
    if spans is not None:
        bytes_of = lambda rows_N: (held_out.of(spans, rows_N)[:, 1:].sum(axis=1, dtype=np.int64),)
        (bytes_W,) = in_groups(bytes_of, chosen, [spans])
    elif bytes_of_token is not None:
        bytes_W = bytes_of_token[targets].sum(axis=1)
    else:
        bytes_W = np.zeros(len(targets), np.int64)
    return Validation(inputs, targets, bytes_W)
