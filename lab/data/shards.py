"""Token shards: a text as two memory-mapped files of tokens, one to train on and one held out.

Built once, in bounded memory, whatever the size of the text: parts in the order of hashes (`parts`), by
several processes, and then one merge of them (`merge`), which drops duplicates, holds documents out and
frames the rest. The order of the documents is that of the SHA-256 of their text: as good as random, so that
any head of a shard is a sample of the whole, and the same on every machine, for any number of processes, and
after any interruption. What is left at the end is a folder of

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

import numpy as np

from lab import python
from lab.data import merge, parts
from lab.data.parts import TextTokenizer
from lab.errors import InputError
from lab.files import read_json, write_json

FORMAT = 2
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
        facts = merge.Merge(work, folder, tokenizer, name, plan.val_fraction, dedupe).run()
        write_json(folder / "facts.json", {"format": FORMAT, **facts})
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


def key_of(*facts) -> str:
    """Name of a folder of shards: a hash of all that decides them."""
    text = json.dumps([FORMAT, *facts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
