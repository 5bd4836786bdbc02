"""Ids that another tool made: nanoGPT's and llm.c's `.bin`, NumPy's `.npy`. They are mapped as they lie.

`.bin` is uint16 without a header (nanoGPT), or 256 int32 of which the first are a magic number, a version and
the count of tokens, then uint16 (GPT-2, 20240520) or uint32 (Llama 3, 20240801), as llm.c writes and reads.
Of a folder, files with the word "val" (valid, validation) in their name are held out, those with "test" left
out; of a lone file, its end is held out.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from lab.data.dataset import Validation
from lab.data.files import ABOUT, CODE, LINES, TABLE, TEXT, TOKENS
from lab.data.packed import in_groups
from lab.errors import InputError
from lab.files import opened, read_json, write_json

_HEADER = 256 * 4
_LLM_C = {20240520: (1, "<u2"), 20240801: (7, "<u4")}
_BLOCK = 1 << 24
_ANY = 1 << 50
_HELD = re.compile(r"(?<![a-z])val(id|idation)?(?![a-z])")
_TEST = re.compile(r"(?<![a-z])test(?![a-z])")


@dataclass(frozen=True)
class Stream:
    """A file of ids: what it holds, where they begin."""

    path: Path
    dtype: np.dtype
    offset: int
    count: int

    @cached_property
    def ids(self) -> np.ndarray:
        return np.memmap(self.path, self.dtype, "r", self.offset, (self.count,))


@dataclass(frozen=True)
class Found:
    """Streams to train on and held-out ones, files left out as their name says, and endings not read."""

    train: tuple[Stream, ...]
    held: tuple[Stream, ...]
    left_out: tuple[str, ...]
    passed_over: tuple[str, ...]


def hold_ids(places: tuple[Path, ...], include: tuple[str, ...], asked_for: bool) -> bool:
    """Whether the places hold ids. Raises InputError where some do and others do not.

    A folder does where the tokenizer (`asked_for`: "ids:N") or `include` asks for them, or where no text or
    data but a README lies beside them and no more code than ids: that which made them.
    """
    kinds = [_holds_ids(place, include, asked_for) for place in places]
    if any(kinds) and not all(kinds):
        raise InputError(
            f"{places[kinds.index(True)]} holds ids and {places[kinds.index(False)]} does not; "
            "a list should be of one kind (data.sources mixes two)"
        )
    return any(kinds)


def _holds_ids(place: Path, include: tuple[str, ...], asked_for: bool) -> bool:
    if not place.is_dir():
        return place.name.lower().endswith(TOKENS)
    found = len(ids_in(place))
    if not found or include:
        return bool(found) and all(pattern.lower().endswith(TOKENS) for pattern in include)
    if asked_for:
        return True
    beside = [path.name.lower() for path in place.iterdir() if path.is_file()]
    beside = [name for name in beside if not name.startswith((".", *ABOUT))]
    if any(name.endswith((*TEXT, *LINES, *TABLE, ".arrow")) for name in beside):
        return False
    below = (path.relative_to(place) for path in place.rglob("*") if path.name.lower().endswith(CODE))
    return sum(not any(part.startswith(".") for part in path.parts) for path in below) <= found


def ids_in(folder: Path) -> list[Path]:
    """The files of ids of a folder, sorted."""
    return sorted(p for p in folder.iterdir() if p.name.lower().endswith(TOKENS) and p.name[0] != ".")


def find(places: tuple[Path, ...], include: tuple[str, ...] = ()) -> Found:
    """What is read of the places. Raises InputError for bad files, all at once."""
    paths: list[Path] = []
    beside: Counter[str] = Counter()
    for place in places:
        if not place.is_dir():
            paths.append(place)
            continue
        chosen = [p for p in ids_in(place) if not include or any(map(p.match, include))]
        others = [p for p in place.iterdir() if p.is_file() and p.name[0] != "." and p not in chosen]
        beside.update(p.suffix.lower() or "without ending" for p in others)
        paths += chosen
    tests = [path for path in paths if _TEST.search(path.name.lower())]
    tests = tests if len(tests) < len(paths) else []
    streams, problems = [], []
    for path in paths:
        try:
            streams += [_stream(path)] if path not in tests else []
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*problems)
    held = [s for s in streams if len(streams) > 1 and _HELD.search(s.path.name.lower())]
    return Found(
        tuple(s for s in streams if s not in held),
        tuple(held),
        tuple(path.name for path in tests),
        tuple(f"{n:,} {ending}" for ending, n in sorted(beside.items(), key=lambda one: (-one[1], one[0]))),
    )


def _stream(path: Path) -> Stream:
    try:
        with opened(path, limit=_ANY) as file:
            size = path.stat().st_size
            if path.name.lower().endswith(".npy"):
                return _numpy(path, file)
            begin = file.read(_HEADER)
            head = np.frombuffer(begin, "<i4") if len(begin) == _HEADER else np.zeros(256, "<i4")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if int(head[0]) in _LLM_C and size >= _HEADER:
        version, kind = _LLM_C[int(head[0])]
        dtype = np.dtype(kind)
        count = (size - _HEADER) // dtype.itemsize
        if head[1] != version or int(head[2]) != count or (size - _HEADER) % dtype.itemsize:
            raise InputError(
                f"{path}: its header says version {head[1]} and {int(head[2]):,} tokens of {dtype.itemsize} "
                f"bytes; should be version {version}, and the file has room for {count:,}"
            )
        return Stream(path, dtype, _HEADER, count)
    if int(head[0]) == 20240522:
        raise InputError(f"{path}: holds items of an evaluation (llm.c), no text to train on")
    if size == 0 or size % 2:
        raise InputError(f"{path}: has {size:,} bytes; uint16 tokens without a header take an even number")
    if head[0] and not head[3:].any():
        raise InputError(
            f"{path}: begins like a header of llm.c with the magic number {head[0]:,}; "
            f"known are {', '.join(map(str, _LLM_C))}"
        )
    few = np.frombuffer(begin, "<u2")
    if len(few) >= 64 and few[::2].any() and not few[1::2].any():
        raise InputError(
            f"{path}: without a header it should hold uint16, and every second one is 0, as of uint32; "
            "save it as .npy"
        )
    return Stream(path, np.dtype("<u2"), 0, size // 2)


def _numpy(path: Path, file) -> Stream:
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"{path}: no .npy file ({str(error)[:100]})") from None
    if dtype.kind not in "ui" or dtype.hasobject or len(shape) != 1:
        raise InputError(f"{path}: holds {dtype} of shape {shape}; should be whole numbers in one row")
    if path.stat().st_size < file.tell() + shape[0] * dtype.itemsize:
        raise InputError(
            f"{path}: is cut off: {shape[0]:,} tokens of {dtype.itemsize} bytes do not fit in it"
        )
    return Stream(path, dtype, file.tell(), shape[0])


def survey(streams: list[Stream], known: Path | None) -> dict:
    """Largest and least id and the SHA-256 of each stream, in one pass; kept in `known` by name and time."""
    stats = [(s.path, s.path.stat()) for s in streams]
    stamps = [[str(p.resolve()), st.st_size, st.st_mtime_ns, st.st_ctime_ns] for p, st in stats]
    if known is not None:
        try:
            found = read_json(known)
        except InputError:
            found = None
        if isinstance(found, dict) and found.get("stamps") == stamps:
            return found
    found = {"stamps": stamps, "largest": [], "least": [], "digests": []}
    for stream in streams:
        largest, least, digest = -1, 0, hashlib.sha256()
        for at in range(0, stream.count, _BLOCK):
            block = np.fromfile(
                stream.path,
                stream.dtype,
                min(_BLOCK, stream.count - at),
                offset=stream.offset + at * stream.dtype.itemsize,
            )
            largest, least = max(largest, int(block.max())), min(least, int(block.min()))
            digest.update(block.astype("<u4"))  # the same ids are the same text, whatever their type
        found["largest"].append(largest)
        found["least"].append(least)
        found["digests"].append(digest.hexdigest())
    if known is not None:
        try:
            write_json(known, found)
        except (OSError, InputError):
            return found
    return found


def check(streams: list[Stream], found: dict, size: int) -> None:
    """Raises InputError, with the numbers, for ids beyond a vocabulary of `size`."""
    problems = [
        f"{s.path}: holds the id {largest if largest >= size else least:,}; "
        f"a vocabulary of {size:,} has 0 to {size - 1:,}"
        + ("; are these numbers of another type?" if largest >= 2 * size else "")
        for s, largest, least in zip(streams, found["largest"], found["least"], strict=True)
        if largest >= size or least < 0
    ]
    if problems:
        raise InputError(*problems)


@dataclass(frozen=True)
class TokenRows:
    """Windows of T + 1 tokens with stride T of several streams; no window crosses from one to the next.

    The id `mark`, which stands between documents, is read as `start`.
    """

    ids: tuple[np.ndarray, ...]
    context: int
    unique: int
    mark: int | None
    start: int

    @cached_property
    def _first(self) -> np.ndarray:
        return np.concatenate([[0], np.cumsum([(len(i) - 1) // self.context for i in self.ids])])

    def take(self, rows_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets (N, T), int32."""
        which = np.searchsorted(self._first, rows_N, side="right") - 1
        rows = np.empty((len(rows_N), self.context + 1), np.int32)
        for k in np.unique(which):
            windows = np.lib.stride_tricks.sliding_window_view(self.ids[k], self.context + 1)
            chosen = which == k
            rows[chosen] = windows[:: self.context][rows_N[chosen] - self._first[k]]
        if self.mark is not None:
            rows[rows == self.mark] = self.start
        return rows[:, :-1], rows[:, 1:]


def rows(
    arrays: list[np.ndarray], context: int, max_tokens: int | None, mark, start: int, name: str
) -> TokenRows:
    """All windows of the streams, or the first `max_tokens`. Raises InputError where there is none."""
    longest = max(map(len, arrays), default=0)
    arrays = [a for a in arrays if len(a) > context]
    unique = sum((len(a) - 1) // context for a in arrays)
    if not unique:
        raise InputError(
            f"{name}: no stream in it has more tokens than one sequence of {context}; the longest has "
            f"{longest:,}"
        )
    if max_tokens is not None:
        unique = min(unique, max_tokens // context)
    return TokenRows(tuple(arrays), context, unique, mark, start)


def cut(stream: np.ndarray, val_fraction: float, mark: int | None) -> int:
    """Where the held-out end of a lone stream begins: at a mark, if one is near."""
    at = len(stream) - max(int(val_fraction * len(stream)), 1)
    if mark is not None:
        marks = np.flatnonzero(stream[at : at + _BLOCK] == mark)
        if len(marks) and at + int(marks[0]) < len(stream) - 1:
            at += int(marks[0])
    return at


def validation(held: TokenRows, at_most: int, bytes_of_token: np.ndarray | None) -> Validation:
    """At most `at_most` windows spread evenly over the held-out streams."""
    chosen = np.linspace(0, held.unique - 1, min(at_most, held.unique)).round().astype(np.int64)
    inputs, targets = in_groups(held.take, chosen, list(held.ids))
    counted = np.zeros(len(targets), np.int64)
    return Validation(
        inputs, targets, counted if bytes_of_token is None else bytes_of_token[targets].sum(axis=1)
    )
