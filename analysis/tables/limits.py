"""How much of a table is read: small files can be long, and a table may be anybody's.

A compressed file of a megabyte may hold gigabytes, and a line of JSON a column of its own. What is over a
limit is refused by one line that names the option to raise it.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.errors import InputError
from analysis.files import Refused, opened

COLUMNS = 10_000
CELLS_A_ROW = 20  # rows times columns may be so many times the rows that are allowed
NAME = 200  # characters of a column's name; longer ones are texts that got into a head
DEPTH = 32  # lists and objects in one another


@dataclass(frozen=True)
class ReadLimits:
    """How large a table may be."""

    max_bytes: int = 1 << 26
    """Most bytes of a table's file, decompressed."""
    max_rows: int = 1_000_000
    """Most rows of a table; rows times columns may be 20 times as many."""

    def check(self, path: Path, rows: int, columns: int) -> None:
        """Raises InputError for a table of more rows, columns or cells."""
        if rows > self.max_rows:
            raise self.rows(path)
        if columns > COLUMNS:
            raise InputError(f"{path}: {columns:,} columns; a table may have {COLUMNS:,}")
        if rows * columns > CELLS_A_ROW * self.max_rows:
            text = f"{path}: {rows:,} rows times {columns:,} columns are more than {CELLS_A_ROW} times"
            raise InputError(f"{text} --max-rows ({self.max_rows:,}); raise it to read them")

    def rows(self, path: Path) -> InputError:
        return InputError(f"{path}: more than {self.max_rows:,} rows; --max-rows reads more")

    def bytes(self, path: Path, of: str = "") -> InputError:
        return InputError(f"{path}: more than {self.max_bytes:,} bytes{of}; --max-bytes reads more")

    def counted(self, path: Path, rows: Iterable[Any]) -> list[Any]:
        """The rows as a list. Raises InputError where there are more than allowed."""
        found = []
        for row in rows:
            if len(found) == self.max_rows:
                raise self.rows(path)
            found.append(row)
        return found

    def text(self, path: Path, encoding: str = "utf-8", **options: Any) -> io.TextIOWrapper:
        """A regular file, decompressed where its name ends in .gz, as text. Raises InputError."""
        try:
            with opened(path, limit=self.max_bytes) as file:
                packed = path.suffix.lower() == ".gz"
                content = (gzip.GzipFile(fileobj=file) if packed else file).read(self.max_bytes + 1)
        except Refused as error:
            told = "; --max-bytes reads more" if "bytes" in str(error) else ""
            raise InputError(f"{error}{told}") from None
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
        if len(content) > self.max_bytes:
            raise self.bytes(path, " when decompressed" if packed else "")
        if content.startswith((b"\xff\xfe", b"\xfe\xff")):
            encoding = "utf-16"  # spreadsheets save it so as "Unicode text"
        elif content.startswith(b"\xef\xbb\xbf"):
            encoding = "utf-8-sig"
        return io.TextIOWrapper(io.BytesIO(content), encoding, **options)

    def parquet(self, path: Path, columns: list[str] | None = None, root: Path | None = None):
        """A pyarrow.Table. Raises InputError where it is too large, and for what is no Parquet.

        root: the store that the file lies in, below which no link is followed.

        What the file states of itself is checked first. Dictionaries may repeat one long text without end, so
        that the rows are then read in parts, each small enough whatever its chunk repeats, and added up.
        """
        import pyarrow
        from pyarrow import parquet

        try:
            with opened(path, root, limit=self.max_bytes) as source, parquet.ParquetFile(source) as file:
                stated = file.metadata
                names = set(file.schema_arrow.names if columns is None else columns)
                if missing := sorted(names.difference(file.schema_arrow.names)):
                    raise InputError(f"{path}: no column {missing[0]!r}")
                self.check(path, stated.num_rows, len(names))
                chunks = [
                    stated.row_group(i).column(j)
                    for i in range(stated.num_row_groups)
                    for j in range(stated.num_columns)
                    if stated.row_group(i).column(j).path_in_schema.split(".")[0] in names
                ]
                if sum(chunk.total_uncompressed_size for chunk in chunks) > self.max_bytes:
                    raise self.bytes(path, " when decompressed")
                if sum(chunk.num_values for chunk in chunks) > CELLS_A_ROW * self.max_rows:
                    raise self.rows(path)
                largest = max((c.total_uncompressed_size for c in chunks if _repeats(c)), default=1)
                step = max(1, min(1 << 16, self.max_bytes // max(largest, 1)))
                parts, size = [], 0
                for part in file.iter_batches(batch_size=step, columns=columns):
                    size += part.nbytes
                    if size > self.max_bytes:
                        raise self.bytes(path, " when decompressed")
                    parts.append(part)
                schema = parts[0].schema if parts else file.schema_arrow
                return pyarrow.Table.from_batches(parts, schema)
        except Refused as error:
            told = "; --max-bytes reads more" if "bytes" in str(error) else ""
            raise InputError(f"{error}{told}") from None
        except InputError:
            raise
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            said = str(error).splitlines() or ["no message"]
            raise InputError(f"{path}: not a Parquet file that can be read: {said[0]}") from None


LIMITS = ReadLimits()


def _repeats(chunk) -> bool:
    """Whether texts of a Parquet chunk are written as references to others, and so may be longer than it."""
    return "BYTE_ARRAY" in chunk.physical_type and not {"PLAIN", "RLE", "BIT_PACKED"}.issuperset(
        chunk.encodings
    )


def deeper(value: Any, than: int = DEPTH) -> bool:
    """Whether lists and objects stand in one another more than so many levels."""
    if not isinstance(value, Mapping | list | tuple):
        return False
    inside = value.values() if isinstance(value, Mapping) else value
    return than == 0 or any(deeper(item, than - 1) for item in inside)
