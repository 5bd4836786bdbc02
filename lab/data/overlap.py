"""Held-out documents that nearly stand in the training text too: their loss is partly memory.

MinHash (Broder 1997) by the `datasketch` library, of shingles of `SHINGLE` tokens: two documents are near if
the Jaccard similarity of their shingles is estimated at `NEAR` or more.
"""

from __future__ import annotations

import numpy as np

from lab.data.dataset import Dataset
from lab.tokenizers import INSTALL

SHINGLE = 8
NEAR = 0.7
PERMUTATIONS = 64
MOST_HELD = 500  # held-out documents that are compared
MOST_READ = 1 << 24  # tokens of a stream that are looked at
MOST_TOKENS = 4096  # of a document, its beginning


def near_duplicates(dataset: Dataset, trained: int) -> dict:
    """How many of the held-out documents have a near one among so many training documents.

    The first of both: documents are in the order of their hashes, so these are samples of the whole.
    """
    try:
        from datasketch import MinHash, MinHashLSH
    except ImportError:
        return {"not_looked_for": f"needs {INSTALL}"}
    end = dataset.tokenizer.end
    train, held = _first(dataset.rows.tokens, end, trained), _first(dataset.held_tokens, end, MOST_HELD)
    found = MinHashLSH(threshold=NEAR, num_perm=PERMUTATIONS)
    sketches = {}
    for i, shingles in enumerate(held):
        sketches[i] = MinHash(PERMUTATIONS)
        sketches[i].update_batch(shingles)
        found.insert(i, sketches[i])
    near: set[int] = set()
    for shingles in train:
        one = MinHash(PERMUTATIONS)
        one.update_batch(shingles)
        near |= {i for i in found.query(one) if i not in near and one.jaccard(sketches[i]) >= NEAR}
    return {
        "held_out_compared": len(held),
        "training_compared": len(train),
        "held_out_with_a_near_one": len(near),
        "similarity": NEAR,
    }


def _first(tokens: np.ndarray, end: int, most: int) -> list[list[bytes]]:
    """Shingles of the first documents of a stream; what is shorter than one has none."""
    ends = np.flatnonzero(tokens[:MOST_READ] == end)[:most].tolist()
    starts = [0, *(at + 1 for at in ends[:-1])]
    found = (tokens[a + 1 : min(b, a + 1 + MOST_TOKENS)] for a, b in zip(starts, ends, strict=True))
    return [_shingles(one) for one in found if len(one) >= SHINGLE]


def _shingles(tokens: np.ndarray) -> list[bytes]:
    windows = np.lib.stride_tricks.sliding_window_view(np.ascontiguousarray(tokens, "<u4"), SHINGLE)
    return list({row.tobytes() for row in windows})
