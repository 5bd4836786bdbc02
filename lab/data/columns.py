"""Texts in a column of a table: Parquet files, and the Arrow files of a saved Hugging Face data set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lab.data import unpacked
from lab.errors import InputError
from lab.files import opened

_ROWS = 1024  # of a batch: texts may be long
_ANY = 1 << 50


def row_groups(path: Path, part_bytes: int) -> list[int]:
    """Where to cut the row groups of a Parquet file into parts of about so many bytes; [] if it is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with opened(path, limit=_ANY) as source, pq.ParquetFile(source) as file:
            sizes = [file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups)]
    except (pa.ArrowException, OSError, ValueError):
        return []  # said when it is read
    ends, size = [], 0
    for i, more in enumerate(sizes, 1):
        size += more
        if size >= part_bytes or i == len(sizes):
            ends.append(i)
            size = 0
    return ends


def of_parquet(path: Path, field: str, first: int = 0, beyond: int = -1) -> Iterator[str]:
    """Texts of the row groups `first` to `beyond`, in order; "" for one that is null or white space.

    Raises InputError for a file that is none, a column that is not there or holds no strings, and for one
    that holds far more text than its size.
    """
    import pyarrow as pa
    import pyarrow.compute
    import pyarrow.parquet as pq

    try:
        with opened(path, limit=_ANY) as source:
            _check_column(path, pq.read_schema(source), field)
        with opened(path, limit=_ANY) as source, pq.ParquetFile(source, read_dictionary=[field]) as file:
            most, size = unpacked.most(path), 0
            numbers = range(first, file.metadata.num_row_groups if beyond < 0 else beyond)
            groups = (file.metadata.row_group(i) for i in numbers)
            chunks = (group.column(j) for group in groups for j in range(group.num_columns))
            stated = sum(c.total_uncompressed_size for c in chunks if c.path_in_schema == field)
            if stated > most:
                raise unpacked.too_large(path, most, "write it without such repetition")
            for part in file.iter_batches(_ROWS, row_groups=list(numbers), columns=[field]):
                # as references to texts: one long text may stand in millions of rows
                column = part[field]
                if not pa.types.is_dictionary(column.type):
                    column = pa.compute.dictionary_encode(column)
                if pa.types.is_string_view(column.type.value_type):  # of which no lengths are computed
                    column = column.cast(pa.dictionary(column.type.index_type, pa.large_string()))
                lengths = pa.compute.binary_length(column.dictionary).take(column.indices)
                size += pa.compute.sum(lengths).as_py() or 0
                if size > most:
                    raise unpacked.too_large(path, most, "write it without such repetition")
                yield from map(_said, column.to_pylist())
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(
            f"{path}: not a readable Parquet file ({str(error).partition(chr(10))[0]})"
        ) from None


def of_arrow(path: Path, field: str) -> Iterator[str]:
    """Texts of an Arrow stream or file, as `Dataset.save_to_disk` writes them; "" for null or white space."""
    import pyarrow as pa

    try:
        with opened(path, limit=_ANY) as source:
            magic = source.read(6)
            source.seek(0)
            if magic == b"ARROW1":
                reader = pa.ipc.open_file(source)
                batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
            else:
                reader = batches = pa.ipc.open_stream(source)
            _check_column(path, reader.schema, field)
            for batch in batches:
                for at in range(0, batch.num_rows, _ROWS):
                    yield from map(_said, batch.column(field).slice(at, _ROWS).to_pylist())
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable Arrow file ({str(error).partition(chr(10))[0]})") from None


def _said(text: str | None) -> str:
    return text if text is not None and text.strip() else ""


def _check_column(path: Path, schema, field: str) -> None:
    import pyarrow as pa

    def of_strings(kind) -> bool:
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        return kind in (pa.string(), pa.large_string(), pa.string_view())

    texts = [one.name for one in schema if of_strings(one.type)]
    hint = f'; data.text_field = "{texts[0]}" reads another' if texts else ""
    if field not in schema.names:
        raise InputError(f"{path}: no column {field!r} (columns: {', '.join(schema.names)}{hint})")
    if not of_strings(schema.field(field).type):
        raise InputError(f"{path}: column {field!r} holds {schema.field(field).type}, not strings{hint}")
