"""Documents from the lines of JSONL, packed or not, read as a stream."""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from lab.data import unpacked
from lab.errors import InputError
from lab.files import opened

MOST_PROBLEMS = 10  # of one file; a broken export repeats itself on every line
_ANY = 1 << 50
_BLOCK = 1 << 20


def not_utf8(path: Path, line: int, place: int, byte: int) -> InputError:
    is_utf16 = place == 0 and byte in (codecs.BOM_UTF16_LE[0], codecs.BOM_UTF16_BE[0])
    encoding = "UTF-16" if is_utf16 else "ENCODING (LATIN1, CP1252, GB18030, ...)"
    return InputError(
        f"{path}, line {line}: not UTF-8 (byte {place} is 0x{byte:02x}); convert it first, for example with: "
        f"iconv -f {encoding} -t UTF-8"
    )


def lines_before(path: Path, start: int) -> int:
    if not start:
        return 0
    with opened(path, limit=_ANY) as file:
        return sum(file.read(min(_BLOCK, start - at)).count(b"\n") for at in range(0, start, _BLOCK))


def of_lines(path: Path, field: str, start: int, stop: int) -> Iterator[str]:
    """The strings under `field`, in order; "" for a document that is null or white space.

    Raises InputError for a damaged file, and for lines that are no objects with such a string.
    """
    problems: list[str] = []
    place, good = start, False
    other = 0  # problems that are not of the key
    for number, raw in enumerate(_raw_lines(path, start, stop), 1):
        if number == 1 and start == 0:
            raw = raw.removeprefix(codecs.BOM_UTF8)
        try:
            lines = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            line = lines_before(path, start) + number
            raise not_utf8(path, line, place + error.start, raw[error.start]) from None
        place += len(raw) + 1
        # Not splitlines(): U+2028 and others are legal inside a JSON string.
        for line in lines.split("\r"):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:  # ValueError: a number of too many digits too
                if number == 1 and start == 0 and line.strip() in ("[", "{", "[{"):
                    raise InputError(
                        f"{path}: is one JSON value over several lines; should have an object a line "
                        "(jq -c '.[]' makes them of a list)"
                    ) from None
                said, other = f"not JSON ({error})", other + 1
            else:
                if isinstance(value, dict) and field in value and isinstance(value[field], str | None):
                    good = good or value[field] is not None
                    yield (value[field] or "") if (value[field] or "").strip() else ""
                    continue
                said = _wrong(value, field)
            problems.append(f"{path}, line {lines_before(path, start) + number}: {said}")
        if len(problems) >= MOST_PROBLEMS and not good and not other:
            raise InputError(f"{problems[0]}, and so on: no line so far has one")
        if len(problems) >= MOST_PROBLEMS:
            problems.append(f"{path}: stopped after {MOST_PROBLEMS} bad lines")
            break
    if problems:
        raise InputError(*problems)


def _wrong(value, field: str) -> str:
    """What is wrong with a line that has no string under `field`, and what would be right."""
    if not isinstance(value, dict):
        return f"is {_kind(value)}, should be an object with a string under the key {field!r}"
    texts = [key for key, text in value.items() if isinstance(text, str)]
    longest = max(texts, key=lambda key: len(value[key]), default=None)
    hint = f'; data.text_field = "{longest}" reads another' if longest is not None else ""
    if field in value:
        return f"the key {field!r} holds {_kind(value[field])}, should be a string{hint}"
    return f"no string under the key {field!r} (keys: {', '.join(list(value)[:8]) or 'none'}{hint})"


def _kind(value) -> str:
    if isinstance(value, dict):
        return f"an object with the keys {', '.join(list(value)[:8])}" if value else "an empty object"
    if isinstance(value, list):
        talk = bool(value) and all(isinstance(one, dict) and "content" in one for one in value)
        return "a list of messages" if talk else "a list"
    if isinstance(value, bool):
        return "true or false"
    return "null" if value is None else "a string" if isinstance(value, str) else "a number"


def _raw_lines(path: Path, start: int, stop: int) -> Iterator[bytes]:
    """Lines of a file, unpacked where it is packed, without their ends."""
    kept: list[bytes] = []
    for block in _blocks(path, start, stop):
        first, *rest = block.split(b"\n")
        kept.append(first)
        if rest:
            yield b"".join(kept)
            yield from rest[:-1]
            kept = [rest[-1]]
    yield b"".join(kept)


def _blocks(path: Path, start: int, stop: int) -> Iterator[bytes]:
    import pyarrow as pa

    name = path.name.lower()
    try:
        with opened(path, limit=_ANY) as file:
            if not name.endswith((".gz", ".zst")):
                file.seek(start)
                left = stop - start if stop >= 0 else _ANY
                while left > 0 and (block := file.read(min(_BLOCK, left))):
                    left -= len(block)
                    yield block
                return
            source: BinaryIO = gzip.GzipFile(fileobj=file) if name.endswith(".gz") else _zstd(file)
            most, size = unpacked.most(path), 0
            while block := source.read(_BLOCK):
                size += len(block)
                if size > most:
                    raise unpacked.too_large(path, most, "unpack it first")
                yield block
    except InputError:
        raise
    except (EOFError, zlib.error, gzip.BadGzipFile, pa.ArrowException) as error:
        raise InputError(f"{path}: damaged {name.rpartition('.')[2]} file ({str(error)[:100]})") from None
    except OSError as error:
        if name.endswith(".zst") and error.strerror is None:  # as pyarrow tells of what is no zstd
            raise InputError(f"{path}: damaged zst file ({str(error)[:100]})") from None
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def _zstd(file: BinaryIO):
    import pyarrow as pa

    return pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")
