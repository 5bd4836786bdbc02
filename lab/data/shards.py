"""Token shards: a text as two memory-mapped files of tokens, one to train on and one held out.

Built once, in bounded memory, whatever the size of the text: parts in the order of hashes (`parts`), by
several processes, and then one merge of them, which drops duplicates, holds documents out and frames the
rest. The order of the documents is that of the SHA-256 of their text: as good as random, so that any head of
a shard is a sample of the whole, and the same on every machine, for any number of processes, and after any
interruption. What is left at the end is a folder of

    train.tokens, validation.tokens          <start> tokens <end> of each document, uint16 or uint32
    train.ends, validation.ends              where each document ends, int64
    validation.spans                         bytes of each token, uint32, where the id does not tell them
    facts.json                               counts and digests; written last: with it the shards are whole

which every process that trains on it maps, and none holds.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lab import python
from lab.data import parts
from lab.data.corpus import held_out
from lab.data.parts import INDEX, TextTokenizer
from lab.errors import InputError
from lab.files import read_json, write_json, writing
from lab.tokenizers import ByteTokenizer

FORMAT = 2
MERGED, MOST_MERGED = 1 << 22, 1 << 26  # tokens merged at a time, at least and at most
_SLICES = (
    1 << 10
)  # of a large text: every part is opened for every slice, so they grow before their number does
PARALLEL = 1 << 26  # bytes of text from which on several processes are worth their start
MOST_WORKERS = 16
_CHECKED = 1 << 26  # bytes; a larger file is compared with its digest where its time changed, others always
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Shards:
    """What is in a folder of shards; arrays are mapped, not read."""

    folder: Path
    facts: dict

    def tokens(self, side: str) -> np.ndarray:
        """Tokens of "train" or "validation", (N,), uint16 or uint32."""
        return _mapped(self.folder / f"{side}.tokens", np.dtype(self.facts["dtype"]))

    def ends(self, side: str) -> np.ndarray:
        """Where each document ends in them, (D,), int64."""
        return _mapped(self.folder / f"{side}.ends", np.dtype("<i8"))

    def spans(self) -> np.ndarray | None:
        """Bytes of text of each held-out token, (N,), where its id does not tell them."""
        path = self.folder / "validation.spans"
        return _mapped(path, np.dtype("<u4")) if self.facts["spans"] else None


def _mapped(path: Path, dtype: np.dtype) -> np.ndarray:
    if path.stat().st_size == 0:
        return np.empty(0, dtype)
    return np.memmap(path, dtype, "r")


def read(folder: Path) -> Shards | None:
    """The shards in a folder; None where there are none, or not what was written."""
    try:
        facts = read_json(folder / "facts.json")
    except InputError:
        return None
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        return None
    times = facts.get("times", {})
    met = {}  # times of the large files
    for name, size in facts["sizes"].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            return None
        if size > _CHECKED:
            met[name] = path.stat().st_mtime_ns
            if met[name] == times.get(name):
                continue
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != facts["digests"].get(name):
                return None
    if met != times:  # built just now, or copied: compared once
        facts["times"] = met
        with contextlib.suppress(OSError, InputError):
            write_json(folder / "facts.json", facts)
    return Shards(folder, facts)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time builds in a folder; the lock ends with its process, however that ends.

    Raises InputError, naming the folder, for what the disk refuses meanwhile.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)
    except OSError as error:
        raise InputError(
            f"{folder}: token shards cannot be built there ({error.strerror or error}); "
            "the environment variable SCALING_LAB_DATA names another place"
        ) from None


def build(
    folder: Path,
    plan: parts.Plan,
    tokenizer: TextTokenizer,
    name: str,
    dedupe: bool,
    documents=None,
    progress: Progress | None = None,
) -> Shards:
    """The shards of a plan in `folder`, read if they are there, else built; a killed build is gone on with.

    Args:
        name: of the source, as errors say it.
        documents: (group, text) pairs in place of the plan's jobs: a corpus in memory.
        progress: called with the bytes that were tokenised, and all of them.
    """
    with locked(folder):
        if (found := read(folder)) is not None:
            return found
        work = folder / "parts"
        work.mkdir(exist_ok=True)
        for left in (*folder.glob(".*.tmp"), *work.glob(".*.tmp")):  # of a build that was killed
            left.unlink()
        if documents is None:
            plan.write(work, tokenizer)
            _run(work, plan, progress)
        elif not parts.is_done(work, 0):
            parts.write_parts(work, 0, ((g, t, 0) for g, t in documents), tokenizer)
        facts = _Merge(work, folder, tokenizer, name, plan.val_fraction, dedupe).run()
        write_json(folder / "facts.json", facts)
        shutil.rmtree(work)
        found = read(folder)
        if found is None:
            raise InputError(f"{folder}: what was written there is not what is read; is the disk in order?")
        return found


def _run(work: Path, plan: parts.Plan, progress: Progress | None) -> None:
    total = sum(job.size for job in plan.jobs)
    workers = min(os.cpu_count() or 1, len(plan.jobs), MOST_WORKERS) if total >= PARALLEL else 1
    for old in work.glob("problems-*.json"):
        old.unlink()
    if workers <= 1:
        if problems := parts.work(work, 1, 0):
            raise InputError(*problems)
        return
    # not -m: it would warn that lab.data has this module already
    code = "import sys; from lab.data import parts; sys.exit(parts.main(sys.argv[1:]))"
    command = python.command("-c", code, work, workers)
    started = [
        subprocess.Popen([*command, str(i)], env=python.environment(), stdin=subprocess.DEVNULL)
        for i in range(workers)
    ]
    try:
        while any(process.poll() is None for process in started):
            time.sleep(0.2)
            if progress:
                progress(sum(j.size for i, j in enumerate(plan.jobs) if parts.is_done(work, i)), total)
    finally:
        for process in started:
            if process.poll() is None:
                process.terminate()
            process.wait()
    problems = [line for path in sorted(work.glob("problems-*.json")) for line in read_json(path)]
    if problems:
        raise InputError(*problems)
    failed = [process.returncode for process in started if process.returncode]
    if failed:
        raise InputError(
            f"{len(failed)} of {workers} processes that tokenise the text ended with {failed[0]}"
            f"{' (killed; is the memory full?)' if failed[0] == -9 else ''}; "
            "the same command goes on where they were"
        )
    if progress:
        progress(total, total)


class _Piece(NamedTuple):
    """What of a part belongs to a slice of the hashes: documents, and their tokens."""

    first: int
    beyond: int
    first_token: int
    beyond_token: int


class _Merge:
    """All parts of a build as two streams of documents. Of each document it holds 12 bytes throughout."""

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
            "format": FORMAT,
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


def key_of(*facts) -> str:
    """Name of a folder of shards: a hash of all that decides them."""
    text = json.dumps([FORMAT, *facts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
