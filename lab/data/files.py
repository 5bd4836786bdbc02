"""Documents from the user's own files: text, JSONL, Parquet, or a directory of them.

A `.txt` (`.md`, `.rst`) given alone is split into documents at blank lines; in a directory each such file
is one document. A line of JSONL and a row of Parquet are one document each, the string under `text`. Text
must be UTF-8; a byte-order mark is dropped and line ends become "\\n".
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from lab.data.corpus import Corpus, collect
from lab.errors import InputError

TEXT = (".txt", ".md", ".rst")
LINES = (".jsonl", ".jsonl.gz")
TABLE = (".parquet",)
MOST_PROBLEMS = 10  # of one file; a broken export repeats itself on every line


def read(path: Path) -> Corpus:
    """The corpus of a file or directory.

    Raises InputError for a missing, unknown, unreadable, empty or undecodable file, a JSONL line that is no
    object with a string `text`, a Parquet file without that column.
    """
    if path.is_dir():
        files = _files_of(path)
    elif path.exists():
        files = [path]
    else:
        raise InputError(f"{path}: no such file or directory")
    documents: list[str] = []
    problems: list[str] = []
    for file in files:
        try:
            documents.extend(_documents(file, whole=path.is_dir()))
        except InputError as error:
            problems.extend(error.problems)
    if not problems and not documents:
        problems.append(f"{path}: no text in it")
    if problems:
        raise InputError(*problems)
    # A document is its own group: the split then depends on what is said, not on the names of files.
    encoded = (text.encode("utf-8", errors="replace") for text in documents)
    return collect((hashlib.sha256(text).hexdigest(), text) for text in encoded)


def _files_of(folder: Path) -> list[Path]:
    relative = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    visible = (path for path in relative if not any(part.startswith(".") for part in path.parts))
    files = [folder / path for path in sorted(visible) if path.name.lower().endswith((*TEXT, *LINES, *TABLE))]
    if not files:
        raise InputError(f"{folder}: no file in it ends in {', '.join((*TEXT, *LINES, *TABLE))}")
    return files


def _documents(path: Path, whole: bool) -> Iterator[str]:
    name = path.name.lower()
    if name.endswith(TABLE):
        yield from _table(path)
    elif name.endswith(LINES):
        yield from _lines(path)
    elif name.endswith(TEXT):
        text = _decoded(path, _bytes(path))
        blocks = [text] if whole else re.split(r"\n\s*\n", text)
        yield from (block.strip() for block in blocks if block.strip())
    else:
        raise InputError(
            f"{path}: unknown kind of file; known: {', '.join((*TEXT, *LINES, *TABLE))}, a directory"
        )


def _bytes(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if path.name.lower().endswith(".gz") else raw
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
        except (json.JSONDecodeError, RecursionError) as error:
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
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
        if "text" not in schema.names:
            raise InputError(f"{path}: no column 'text' (columns: {', '.join(schema.names)})")
        if schema.field("text").type not in (pa.string(), pa.large_string()):
            raise InputError(f"{path}: column 'text' holds {schema.field('text').type}, not strings")
        column = pq.read_table(path, columns=["text"])["text"]
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(
            f"{path}: not a readable Parquet file ({str(error).partition(chr(10))[0]})"
        ) from None
    yield from (text for text in column.to_pylist() if text is not None and text.strip())
