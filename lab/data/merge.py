"""The merge of the parts of a build (`parts`) into the two streams of a folder of shards (`shards`).

A slice of the hashes at a time: in their order, without duplicates, held out or not, each document framed.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lab.data import parts
from lab.data.corpus import held_out
from lab.data.parts import INDEX
from lab.errors import InputError
from lab.files import read_json, writing
from lab.tokenizers import ByteTokenizer

MERGED, MOST_MERGED = 1 << 22, 1 << 26  # tokens merged at a time, at least and at most
# Of a large text: every part is opened for every slice, so they grow before their number does.
_SLICES = 1 << 10


class _Piece(NamedTuple):
    """What of a part belongs to a slice of the hashes: documents, and their tokens."""

    first: int
    beyond: int
    first_token: int
    beyond_token: int


class Merge:
    """All parts of a build as two streams of documents. Of each document it holds 12 bytes throughout.

    work: the folder of the parts. folder: where the streams are written. name: of the source, for errors.
    """

    def __init__(self, work: Path, folder: Path, tokenizer, name: str, val_fraction: float, dedupe: bool):
        self.folder, self.tokenizer, self.name = folder, tokenizer, name
        self.val_fraction, self.dedupe = val_fraction, dedupe
        records = sorted(work.glob("[0-9]*.json"), key=lambda path: int(path.stem))
        self.records = [read_json(path) for path in records]
        names = [
            f"{path.stem}-{i}"
            for path, record in zip(records, self.records, strict=True)
            for i in range(record["parts"])
        ]
        self.stems = [work / name for name in names]
        self.with_spans = isinstance(tokenizer, ByteTokenizer) is False and tokenizer.bytes_of_token is None

    def run(self) -> dict:
        """Write both streams; what facts.json says of them. Raises InputError for a source without text."""
        read = sum(record["read"] for record in self.records)
        empty = sum(record["empty"] for record in self.records)
        if not read:
            all_of_them = f"; {empty:,} documents, all empty" if empty else ""
            raise InputError(f"{self.name}: no text in it{all_of_them}")
        tokens = sum(int(self._index(k)["tokens"].sum(dtype=np.int64)) for k in range(len(self.stems)))
        merged = min(max(MERGED, tokens // _SLICES), max(MERGED, MOST_MERGED))
        borders = np.linspace(0, 2.0**64, tokens // merged + 2)[1:-1].astype(np.uint64)
        cuts, firsts = zip(*(self._cut(k, borders) for k in range(len(self.stems))), strict=True)
        slices = [
            [_Piece(c[j], c[j + 1], f[j], f[j + 1]) for c, f in zip(cuts, firsts, strict=True)]
            for j in range(len(borders) + 1)
        ]
        groups, sizes = np.empty(read, "<u8"), np.empty(read, np.uint32)
        count = 0
        for one in slices:
            rows, _, _ = self._kept(self._indexes(one))
            groups[count : count + len(rows)], sizes[count : count + len(rows)] = rows["group"], rows["bytes"]
            count += len(rows)
        groups, sizes = groups[:count], sizes[:count]
        held = held_out(groups, sizes, self.val_fraction, self.name)
        held_bytes = int(sizes[held].sum(dtype=np.int64))
        facts = {
            "read": read,
            "empty": empty,
            "around": sum(record["around"] for record in self.records),
            "documents": len(groups),
            "duplicates": read - len(groups),
            "groups": 1 + int(np.count_nonzero(np.diff(np.sort(groups)))),
            "bytes": int(sizes.sum(dtype=np.int64)),
            "validation_bytes": held_bytes,
            "validation_documents": int(held.sum()),
            "spans": self.with_spans,
            "dtype": "<u2" if self.tokenizer.vocab_size <= 2**16 else "<u4",
        }
        return facts | self._write(slices, held, groups, sizes, np.dtype(facts["dtype"]))

    def _index(self, k: int, first: int = 0, count: int = -1) -> np.ndarray:
        """Read, not mapped: pages of a mapping would count as this process's memory."""
        stem = self.stems[k]
        return np.fromfile(stem.with_name(f"{stem.name}.index"), INDEX, count, offset=first * INDEX.itemsize)

    def _cut(self, k: int, borders: np.ndarray) -> tuple[list[int], list[int]]:
        """Of a part: where the slices of the hashes begin, in documents and in tokens."""
        index = self._index(k)
        cuts = [0, *np.searchsorted(index["high"], borders).tolist(), len(index)]
        return cuts, _from_zero(index["tokens"])[cuts].tolist()

    def _indexes(self, one: list[_Piece]) -> list[np.ndarray]:
        return [self._index(k, piece.first, piece.beyond - piece.first) for k, piece in enumerate(one)]

    def _kept(self, indexes: list[np.ndarray]):
        """Documents of a slice of the hashes, in order, without duplicates: index, part and place of each."""
        rows = np.concatenate(indexes)
        counts = list(map(len, indexes))
        part = np.repeat(np.arange(len(counts)), counts)
        place = np.concatenate([np.arange(count) for count in counts])
        order = np.lexsort((rows["low"], rows["high"]))
        rows, part, place = rows[order], part[order], place[order]
        if self.dedupe and len(rows):
            again = (rows["high"][1:] == rows["high"][:-1]) & (rows["low"][1:] == rows["low"][:-1])
            first = np.concatenate([[True], ~again])
            rows, part, place = rows[first], part[first], place[first]
        return rows, part, place

    def _write(self, slices, held, groups, sizes, dtype) -> dict:
        """Both streams, their ends and spans; returns their sizes and digests."""
        t = self.tokenizer
        text = hashlib.sha256()  # of bytes: the digest that a corpus in memory has
        done = 0
        with contextlib.ExitStack() as stack:
            sides = [_Side(self.folder, side, stack) for side in ("train", "validation")]
            span_digest = hashlib.sha256()
            spans = (
                stack.enter_context(writing(self.folder / "validation.spans")) if self.with_spans else None
            )
            for one in slices:
                indexes = self._indexes(one)
                _, part, place = self._kept(indexes)
                starts = [_from_zero(index["tokens"]) for index in indexes]
                read = [self._tokens(k, piece) for k, piece in enumerate(one)]
                widths = [self._spans(k, piece) for k, piece in enumerate(one)] if spans else None
                for row_part, row_place in zip(part.tolist(), place.tolist(), strict=True):
                    a, b = starts[row_part][row_place : row_place + 2].tolist()
                    tokens = read[row_part][a:b]
                    is_held = bool(held[done])
                    framed = np.empty(b - a + 2, dtype)
                    framed[0], framed[-1] = t.start, t.end
                    framed[1:-1] = tokens
                    sides[is_held].add(framed)
                    if isinstance(t, ByteTokenizer):
                        text.update(tokens)
                    if spans and is_held:
                        framed = np.concatenate([[0], widths[row_part][a:b], [0]]).astype("<u4")
                        spans.write(framed)
                        span_digest.update(framed)
                    done += 1
            facts = [side.close() for side in sides]
        if isinstance(t, ByteTokenizer):
            beyond = 0
            for at in range(0, len(sizes), 1 << 20):
                ends = beyond + np.cumsum(sizes[at : at + (1 << 20)], dtype="<i8")
                text.update(ends)
                beyond = int(ends[-1])
            text.update(groups)
            digest = text.hexdigest()
        else:
            said = [f"{f['digests'][name]}" for f in facts for name in sorted(f["digests"])]
            said += [span_digest.hexdigest()] if self.with_spans else []
            digest = hashlib.sha256(" ".join(("shards/1", *said)).encode()).hexdigest()
        whole = {"sizes": {}, "digests": {}, "digest": digest}
        for f in facts:
            whole["sizes"] |= f["sizes"]
            whole["digests"] |= f["digests"]
        if self.with_spans:
            path = self.folder / "validation.spans"
            whole["sizes"]["validation.spans"] = path.stat().st_size
            whole["digests"]["validation.spans"] = span_digest.hexdigest()
        return whole

    def _tokens(self, k: int, piece: _Piece) -> np.ndarray:
        return self._read(k, piece, "tokens", parts.token_dtype(self.tokenizer))

    def _spans(self, k: int, piece: _Piece) -> np.ndarray:
        return self._read(k, piece, "spans", np.dtype("<u4"))

    def _read(self, k: int, piece: _Piece, what: str, dtype: np.dtype) -> np.ndarray:
        path = self.stems[k].with_name(f"{self.stems[k].name}.{what}")
        count = piece.beyond_token - piece.first_token
        return np.fromfile(path, dtype, count, offset=piece.first_token * dtype.itemsize)


def _from_zero(counts: np.ndarray) -> np.ndarray:
    """Where each of some things begins, and the last one ends, int64."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


class _Side:
    """One of the two streams while it is written."""

    def __init__(self, folder: Path, side: str, stack: contextlib.ExitStack):
        self.side = side
        self.out = stack.enter_context(writing(folder / f"{side}.tokens"))
        self.ends = stack.enter_context(writing(folder / f"{side}.ends"))
        self.digest, self.ends_digest = hashlib.sha256(), hashlib.sha256()
        self.tokens = self.documents = self.bytes = 0
        self._held: list[np.ndarray] = []
        self._size = 0

    def add(self, framed: np.ndarray) -> None:
        self._held.append(framed)
        self._size += len(framed)
        if self._size >= 1 << 20:
            self._flush()

    def _flush(self) -> None:
        if not self._held:
            return
        block = np.concatenate(self._held)
        ends = (self.tokens + np.cumsum([len(one) for one in self._held])).astype("<i8")
        self.out.write(block)
        self.ends.write(ends)
        self.digest.update(block)
        self.ends_digest.update(ends)
        self.tokens += len(block)
        self.bytes += block.nbytes
        self.documents += len(ends)
        self._held, self._size = [], 0

    def close(self) -> dict:
        self._flush()
        tokens, ends = f"{self.side}.tokens", f"{self.side}.ends"
        return {
            "sizes": {tokens: self.bytes, ends: 8 * self.documents},
            "digests": {tokens: self.digest.hexdigest(), ends: self.ends_digest.hexdigest()},
        }
