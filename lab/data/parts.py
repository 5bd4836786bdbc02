"""First pass over a text: documents as tokens on disk, in parts that are each in the order of their hashes.

A job (a file or a piece of one) becomes parts of `PART_BYTES` of text and, as its last act, a record of what
it read: a job that has one is done, and a build that was killed goes on with the others. Jobs know nothing of
each other, so several processes share them by number.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lab.data import files
from lab.data.corpus import hash64
from lab.errors import InputError
from lab.files import read_json, read_text, write_json, write_text, writing
from lab.tokenizers import ByteTokenizer, SubwordTokenizer

PART_BYTES = 1 << 24  # of text held in memory
_AT_ONCE = 1 << 19  # bytes of text given to the `tokenizers` library in a call: its results are large
MOST_DOCUMENT = 1 << 31
INDEX = np.dtype(
    [("high", "<u8"), ("low", "<u8"), ("group", "<u8"), ("bytes", "<u4"), ("tokens", "<u4")]
)  # high, low: the first 16 bytes of the SHA-256 of the text, whose order is that of the documents

TextTokenizer = ByteTokenizer | SubwordTokenizer


@dataclass(frozen=True)
class Plan:
    """All that a worker has to know; kept as `plan.json` beside the parts."""

    jobs: tuple[files.Job, ...]
    field: str
    val_fraction: float
    subwords: bool  # their tokenizer.json lies beside the plan

    def write(self, folder: Path, tokenizer: TextTokenizer) -> None:
        if isinstance(tokenizer, SubwordTokenizer):
            write_text(folder / "tokenizer.json", tokenizer.json)
        write_json(folder / "plan.json", asdict(self))


def read_plan(folder: Path) -> tuple[Plan, TextTokenizer]:
    said = read_json(folder / "plan.json")
    jobs = tuple(files.Job(**job) for job in said["jobs"])
    plan = Plan(jobs, said["field"], said["val_fraction"], said["subwords"])
    if not plan.subwords:
        return plan, ByteTokenizer()
    return plan, SubwordTokenizer(read_text(folder / "tokenizer.json", limit=1 << 28))


def token_dtype(tokenizer: TextTokenizer) -> np.dtype:
    """Of tokens without marks, as parts keep them."""
    least = np.uint8 if tokenizer.start <= 2**8 else np.uint16 if tokenizer.start <= 2**16 else np.uint32
    return np.dtype(least).newbyteorder("<")


def is_done(folder: Path, job: int) -> bool:
    return (folder / f"{job}.json").exists()


def run_job(folder: Path, plan: Plan, job: int, tokenizer: TextTokenizer) -> None:
    """Write the parts of a job and then its record. Raises InputError for what cannot be read."""
    found = files.documents(plan.jobs[job], plan.field, plan.val_fraction)
    raw = ((None, text.encode("utf-8", "replace"), around) for text, around in found)
    write_parts(folder, job, raw, tokenizer)


def write_parts(
    folder: Path, job: int, documents: Iterable[tuple[int | None, bytes, int]], tokenizer: TextTokenizer
) -> None:
    """Parts of (group, UTF-8 text, characters around it); a document without a group is its own.

    Empty documents are counted and dropped.
    """
    held: list[tuple[bytes, int, bytes]] = []
    size = parts = read = total = around_all = empty = 0
    for group, text, around in documents:
        around_all += around
        if not text:
            empty += 1
            continue
        if len(text) > MOST_DOCUMENT:
            raise InputError(f"a document of {len(text):,} bytes; one should have at most {MOST_DOCUMENT:,}")
        key = hashlib.sha256(text)
        own = hash64(key.hexdigest()) if group is None else group
        held.append((key.digest(), own, text))
        size += len(text)
        read, total = read + 1, total + len(text)
        if size >= PART_BYTES:
            _write_part(folder, f"{job}-{parts}", held, tokenizer)
            held, size, parts = [], 0, parts + 1
    if held:
        _write_part(folder, f"{job}-{parts}", held, tokenizer)
        parts += 1
    record = {"parts": parts, "read": read, "empty": empty, "bytes": total, "around": around_all}
    write_json(folder / f"{job}.json", record)


def _write_part(
    folder: Path, name: str, held: list[tuple[bytes, int, bytes]], tokenizer: TextTokenizer
) -> None:
    held.sort(key=lambda one: one[0])
    index = np.zeros(len(held), INDEX)
    keys = np.frombuffer(b"".join(key[:16] for key, _, _ in held), ">u8").reshape(-1, 2)
    index["high"], index["low"] = keys[:, 0], keys[:, 1]
    index["group"] = [group for _, group, _ in held]
    index["bytes"] = [len(text) for _, _, text in held]
    if isinstance(tokenizer, ByteTokenizer):
        index["tokens"] = index["bytes"]
        with writing(folder / f"{name}.tokens") as out:
            out.writelines(text for _, _, text in held)
    else:
        index["tokens"] = _write_subwords(folder, name, [text for _, _, text in held], tokenizer)
    with writing(folder / f"{name}.index") as out:
        out.write(index.tobytes())


def _write_subwords(folder: Path, name: str, texts: list[bytes], tokenizer: SubwordTokenizer) -> list[int]:
    dtype = token_dtype(tokenizer)
    counts: list[int] = []
    spans = None if tokenizer.bytes_of_token is not None else writing(folder / f"{name}.spans")
    with writing(folder / f"{name}.tokens") as out:
        sink = spans.__enter__() if spans else None
        for some in _slices(texts):
            ids, widths = tokenizer.encode_many([text.decode() for text in some])
            counts += map(len, ids)
            out.write(np.concatenate(ids).astype(dtype).tobytes())
            if sink:
                sink.write(np.concatenate(widths).astype("<u4").tobytes())
    if spans:
        spans.__exit__(None, None, None)
    return counts


def _slices(texts: list[bytes]) -> Iterator[list[bytes]]:
    some: list[bytes] = []
    size = 0
    for text in texts:
        some.append(text)
        size += len(text)
        if size >= _AT_ONCE:
            yield some
            some, size = [], 0
    if some:
        yield some


def work(folder: Path, workers: int, worker: int, stopped: Callable[[], bool] = lambda: False) -> list[str]:
    """Do every job of this worker that is not done; the problems of those that cannot be."""
    plan, tokenizer = read_plan(folder)
    problems: list[str] = []
    for job in range(worker, len(plan.jobs), workers):
        if stopped():
            break
        if not is_done(folder, job):
            try:
                run_job(folder, plan, job, tokenizer)
            except InputError as error:
                problems += error.problems
    return problems


def main(argv: list[str]) -> int:
    """A worker process, by FOLDER WORKERS WORKER. It ends when the process that started it does."""
    folder, workers, worker = Path(argv[0]), int(argv[1]), int(argv[2])
    parent = os.getppid()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the workers fill the cores
    try:
        problems = work(folder, workers, worker, lambda: os.getppid() != parent)
        if problems:
            write_json(folder / f"problems-{worker}.json", problems)
            return 2
    except OSError as error:  # a full disk, on which no file of problems fits either
        print(f"error: {folder}: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0
