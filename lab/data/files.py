"""Documents from the user's own files: text, JSONL, Parquet, or a directory of them.

A `.txt` (`.md`, `.rst`) given alone is split into documents at blank lines; in a directory each such file
is one document, but for the README and its like beside `.jsonl` or `.parquet`, which describe the data.
A line of JSONL and a row of Parquet are one document each, the string under `text`. Text
must be UTF-8; a byte-order mark is dropped and line ends become "\\n".
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from lab.data.corpus import Corpus, collect
from lab.errors import InputError
from lab.files import opened

TEXT = (".txt", ".md", ".rst")
LINES = (".jsonl", ".jsonl.gz")
TABLE = (".parquet",)
ABOUT = ("readme", "license", "licence", "changelog", "citation", "notice", "dataset_card")
UNPACKED, RATIO = 1 << 28, 32  # a packed file may hold so many bytes, or so many times its own size
_ANY = 1 << 50  # what is not packed costs the memory that its size says
MOST_PROBLEMS = 10  # of one file; a broken export repeats itself on every line


def read(path: Path, split: str = "", dedupe: bool = True, val_fraction: float = 0.05) -> Corpus:
    """The corpus of a file or directory; its ``told`` says in numbers what was done to the text.

    Args:
        split: "blank_lines" or "file": where documents of .txt, .md and .rst end; "": a lone file at blank
            lines, those of a directory with the file.
        dedupe: keep one of documents that are equal.
        val_fraction: of a lone file that is one document, the end that is held out, at most.

    Raises InputError for a missing, unknown, unreadable, empty or undecodable file, a JSONL line that is no
    object with a string `text`, a Parquet file without that column.
    """
    left_out: list[str] = []
    if path.is_dir():
        files, left_out = _files_of(path)
    elif path.exists():
        files = [path]
    else:
        raise InputError(f"{path}: no such file or directory")
    lone = not path.is_dir()
    if split and lone and not path.name.lower().endswith(TEXT):
        raise InputError(
            f"{path}: split: is for {', '.join(TEXT)}; a line or a row of this file is a document"
        )
    whole = split == "file" or (not split and not lone)
    documents: list[str] = []
    problems: list[str] = []
    text_characters = 0
    for file in files:
        try:
            if file.name.lower().endswith(TEXT):
                text = _decoded(file, _bytes(file))
                text_characters += len(text)
                if whole and lone:
                    documents.extend(_cut(text, val_fraction))
                else:
                    blocks = [text] if whole else re.split(r"\n\s*\n", text)
                    documents.extend(block.strip() for block in blocks if block.strip())
            else:
                documents.extend(_documents(file))
        except InputError as error:
            problems.extend(error.problems)
    if not problems and not documents:
        problems.append(f"{path}: no text in it")
    if problems:
        raise InputError(*problems)
    # A document is its own group: the split then depends on what is said, not on the names of files.
    encoded = (text.encode("utf-8", errors="replace") for text in documents)
    corpus = collect(((hashlib.sha256(text).hexdigest(), text) for text in encoded), dedupe=dedupe)
    only_text = all(file.name.lower().endswith(TEXT) for file in files)
    stripped = text_characters - sum(map(len, documents)) if only_text else None
    return replace(corpus, told=_told(path, files, left_out, corpus, whole and lone, whole, stripped, dedupe))


def _told(path, files, left_out, corpus, cut, whole, stripped, dedupe) -> str:
    """What was done, with the keys that undo it."""
    kinds = Counter(
        next(end for end in (*TEXT, *LINES, *TABLE) if f.name.lower().endswith(end)) for f in files
    )
    said = [
        f"{path}: {corpus.read:,} documents of " + ", ".join(f"{n:,} {kind}" for kind, n in kinds.items())
    ]
    if cut:
        said[0] = f"{path}: one document, as it is; its end is held out"
    elif stripped is not None:
        where = "whole files" if whole else 'split at blank lines (data.split = "file" keeps a file whole)'
        said.append(f"{where}, {stripped:,} characters of white space around them dropped")
    if dedupe:
        said.append(f"{corpus.duplicates:,} duplicates dropped (data.dedupe = false keeps them)")
    if not cut:
        said.append("in the order of their hashes")
    if left_out:
        more = f" and {len(left_out) - 5:,} more" if len(left_out) > 5 else ""
        said.append(f"left out, as they describe the data: {', '.join(left_out[:5])}{more}")
    return "; ".join(said)


def _cut(text: str, val_fraction: float) -> list[str]:
    """A text as two documents: what is trained on, and an end of at most ``val_fraction`` of its bytes.

    Cut at the end of a line where there is one.
    """
    raw = text.encode("utf-8", errors="replace")
    at = len(raw) - int(val_fraction * len(raw))
    while at < len(raw) and raw[at] & 0xC0 == 0x80:  # not inside a character
        at += 1
    line = raw.find(b"\n", at - 1) + 1
    at = line if 0 < line < len(raw) else at
    return [part.decode() for part in (raw[:at], raw[at:]) if part]


def _files_of(folder: Path) -> tuple[list[Path], list[str]]:
    """Files to read, and names of those left out: what describes a data set is none of it."""
    relative = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    visible = (path for path in relative if not any(part.startswith(".") for part in path.parts))
    files = [folder / path for path in sorted(visible) if path.name.lower().endswith((*TEXT, *LINES, *TABLE))]
    if not files:
        raise InputError(f"{folder}: no file in it ends in {', '.join((*TEXT, *LINES, *TABLE))}")
    if not any(path.name.lower().endswith((*LINES, *TABLE)) for path in files):
        return files, []  # a folder of texts, in which a README is one as good as any
    about = [f for f in files if f.name.lower().endswith(TEXT) and f.stem.lower() in ABOUT]
    return [f for f in files if f not in about], [str(f.relative_to(folder)) for f in about]


def _documents(path: Path) -> Iterator[str]:
    name = path.name.lower()
    if name.endswith(TABLE):
        yield from _table(path)
    elif name.endswith(LINES):
        yield from _lines(path)
    else:
        raise InputError(
            f"{path}: unknown kind of file; known: {', '.join((*TEXT, *LINES, *TABLE))}, a directory"
        )


def _bytes(path: Path) -> bytes:
    try:
        with opened(path, limit=_ANY) as file:
            if not path.name.lower().endswith(".gz"):
                return file.read()
            most = _most_unpacked(path)
            raw = gzip.GzipFile(fileobj=file).read(most + 1)
        if len(raw) > most:
            raise _too_large(path, most, "gunzip it first")
        return raw
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: damaged gzip file ({error})") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def _decoded(path: Path, raw: bytes) -> str:
    raw = raw.removeprefix(codecs.BOM_UTF8)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, line {line}: not UTF-8 (byte {error.start} is 0x{raw[error.start]:02x}); convert it "
            "first, for example with: iconv -f ENCODING -t UTF-8"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _lines(path: Path) -> Iterator[str]:
    problems = []
    # Not splitlines(): U+2028 and others are legal inside a JSON string.
    for number, line in enumerate(_decoded(path, _bytes(path)).split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:  # ValueError: a number of too many digits too
            problems.append(f"{path}, line {number}: not JSON ({error})")
        else:
            text = value.get("text") if isinstance(value, dict) else None
            if isinstance(text, str):
                if text.strip():
                    yield text
                continue
            keys = f"keys: {', '.join(list(value)[:8]) or 'none'}" if isinstance(value, dict) else "no object"
            problems.append(f"{path}, line {number}: no string under the key 'text' ({keys})")
        if len(problems) == MOST_PROBLEMS:
            problems.append(f"{path}: stopped after {MOST_PROBLEMS} bad lines")
            break
    if problems:
        raise InputError(*problems)


def _table(path: Path) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.compute
    import pyarrow.parquet as pq

    try:
        with opened(path, limit=_ANY) as source, pq.ParquetFile(source, read_dictionary=["text"]) as file:
            found = pq.read_schema(source)
            if "text" not in found.names:
                raise InputError(f"{path}: no column 'text' (columns: {', '.join(found.names)})")
            if found.field("text").type not in (pa.string(), pa.large_string()):
                raise InputError(f"{path}: column 'text' holds {found.field('text').type}, not strings")
            most, size = _most_unpacked(path), 0
            groups = (file.metadata.row_group(i) for i in range(file.metadata.num_row_groups))
            chunks = (group.column(j) for group in groups for j in range(group.num_columns))
            stated = sum(c.total_uncompressed_size for c in chunks if c.path_in_schema == "text")
            if stated > most:
                raise _too_large(path, most, "write it without such repetition")
            for part in file.iter_batches(columns=["text"]):
                # as references to texts: one long text may stand in millions of rows
                column = pa.compute.dictionary_encode(part["text"])
                lengths = pa.compute.binary_length(column.dictionary).take(column.indices)
                size += pa.compute.sum(lengths).as_py() or 0
                if size > most:
                    raise _too_large(path, most, "write it without such repetition")
                yield from (text for text in column.to_pylist() if text is not None and text.strip())
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(
            f"{path}: not a readable Parquet file ({str(error).partition(chr(10))[0]})"
        ) from None


def _most_unpacked(path: Path) -> int:
    return max(UNPACKED, RATIO * path.stat().st_size)


def _too_large(path: Path, most: int, remedy: str) -> InputError:
    return InputError(f"{path}: unpacked, it has more than {most:,} bytes, which no text has; {remedy}")
