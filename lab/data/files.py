"""Documents from the user's own files: text, JSONL, Parquet, saved Hugging Face data sets, or folders.

A `.txt` (`.md`, `.rst`) given alone is split into documents at blank lines; in a folder each such file is one
document, but for the README and its like beside `.jsonl` or `.parquet`, which describe the data. A line of
JSONL and a row of a table are one document each, the string under `field`. Text must be UTF-8; a byte-order
mark is dropped and line ends become "\\n".

Large files are cut into jobs at the ends of documents, so that several processes read one file, and all is
read as a stream: memory holds a document and a block, whatever the size of a file.
"""

from __future__ import annotations

import codecs
import fnmatch
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from lab.data import columns, jsonl
from lab.errors import InputError
from lab.files import missing, opened, read_json

TEXT = (".txt", ".md", ".rst")
# read where a folder holds no text or data; beside them, `include` asks for them
CODE = (
    *(".py", ".c", ".h", ".cc", ".cpp", ".hpp", ".cu", ".rs", ".go", ".java", ".kt", ".scala", ".swift"),
    *(".js", ".jsx", ".ts", ".tsx", ".rb", ".pl", ".php", ".r", ".jl", ".lua", ".hs", ".ml", ".sh", ".sql"),
    *(".html", ".css", ".tex", ".toml", ".yaml", ".yml", ".lean", ".f90", ".asm", ".cs", ".zig"),
)
LINES = (".jsonl", ".jsonl.gz", ".jsonl.zst")
TABLE = (".parquet",)
TOKENS = (".bin", ".npy")  # ids of a tokenizer: lab/data/token_files.py
KNOWN = (*TEXT, *LINES, *TABLE, *TOKENS)
_WAYS = {  # from what is not read to what is
    ".json": "an object a line is .jsonl: jq -c '.[]'",
    **dict.fromkeys((".csv", ".tsv", ".xlsx"), "save it as .parquet or .jsonl"),
    **dict.fromkeys((".gz", ".zst", ".zip", ".tar", ".bz2", ".xz", ".7z"), "unpack it first"),
    ".npz": "save its array as .npy",
}
ABOUT = ("readme", "license", "licence", "changelog", "citation", "notice", "dataset_card")
_ANY = 1 << 50  # what is not packed costs the memory that its size says
JOB_BYTES = 1 << 25  # a larger file is cut into jobs of about this
_BLOCK = 1 << 20
_BLANK = re.compile(r"\n\s*\n")


@dataclass(frozen=True)
class Job:
    """A file, or a part of it that holds whole documents.

    Attributes:
        how: blank_lines | file | cut (the end of it is held out) | lines | table | arrow.
        start, stop: bytes of the file; row groups of a table; stop -1: to its end.
        size: bytes to read, for progress.
    """

    path: str
    how: str
    start: int
    stop: int
    size: int


@dataclass(frozen=True)
class Found:
    """What is read of the places that were named, and what is not."""

    files: tuple[Path, ...]
    left_out: tuple[str, ...]  # they describe the data
    passed_over: tuple[str, ...]  # endings of files that nothing asked for, with counts
    hows: tuple[str, ...]  # of each file: as of a Job

    @property
    def stamps(self) -> list[list]:
        """What tells whether a file is the one that was read before."""
        stats = [(f, f.stat()) for f in self.files]
        return [[str(f.resolve()), s.st_size, s.st_mtime_ns, s.st_ctime_ns] for f, s in stats]


def find(places: tuple[Path, ...], split: str = "", include: tuple[str, ...] = ()) -> Found:
    """The files of the places. Raises InputError, with all problems at once.

    Args:
        split: "blank_lines" or "file": where documents of .txt, .md and .rst end; "": a file that was named
            at blank lines, those of a folder with the file.
        include: patterns of the names of files that are read in folders, `*.py`; none: by their endings.
    """
    files: list[Path] = []
    hows: list[str] = []
    left_out: list[str] = []
    others: Counter = Counter()
    problems: list[str] = []
    for place in places:
        try:
            if not place.exists():
                raise InputError(missing(place, "no such file or directory"))
            inside, about, passed = _files_of(place, include) if place.is_dir() else ([place], [], Counter())
            lone = not place.is_dir()
            for file in inside:
                hows.append(_how(file, split, lone, alone=lone and len(places) == 1))
                files.append(file)
            left_out += about
            others += passed
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*problems)
    endings = sorted(others.items(), key=lambda one: (-one[1], one[0]))
    passed_over = tuple(f"{n:,} {ending}" for ending, n in endings)
    return Found(tuple(files), tuple(left_out), passed_over, tuple(hows))


def _how(file: Path, split: str, lone: bool, alone: bool) -> str:
    name = file.name.lower()
    if name.endswith(LINES) or name.endswith(TABLE) or name.endswith(".arrow"):
        if split and lone:
            raise InputError(
                f"{file}: split: is for {', '.join(TEXT)}; a line or a row of this file is a document"
            )
        return "lines" if name.endswith(LINES) else "table" if name.endswith(TABLE) else "arrow"
    if lone and not name.endswith((*TEXT, *CODE)):
        way = next((f" ({way})" for ending, way in _WAYS.items() if name.endswith(ending)), "")
        known = f"known: {', '.join(KNOWN)}, code, a directory"
        raise InputError(f"{file}: unknown kind of file{way}; {known}")
    if split == "blank_lines" or (not split and lone):
        return "blank_lines"
    return "cut" if alone else "file"


def jobs(found: Found) -> list[Job]:
    """The files in parts of about `JOB_BYTES`; the same parts whatever machine reads them."""
    made = []
    for file, how in zip(found.files, found.hows, strict=True):
        size = file.stat().st_size
        cuts = [0, -1]
        if how == "table":
            ends = columns.row_groups(file, JOB_BYTES)
            cuts = [0, *ends] if ends else cuts
        elif size > JOB_BYTES and how in ("blank_lines", "lines") and not file.name.endswith((".gz", ".zst")):
            cuts = [0, *_ends_of_documents(file, how, size), -1]
        part = size // max(len(cuts) - 1, 1)
        made += [Job(str(file), how, a, b, part) for a, b in pairwise(cuts)]
    return made


def _ends_of_documents(file: Path, how: str, size: int) -> list[int]:
    """Places in a file, about every `JOB_BYTES`, at which a document ends."""
    borders = (b"\n\n", b"\n\r\n") if how == "blank_lines" else (b"\n",)
    ends: list[int] = []
    with opened(file, limit=_ANY) as source:
        place = JOB_BYTES
        while place < size:
            source.seek(place)
            kept = b""
            while block := source.read(_BLOCK):
                whole = kept + block
                at = min((i + len(b) for b in borders if (i := whole.find(b)) >= 0), default=0)
                if at:
                    ends.append(place - len(kept) + at)
                    break
                place, kept = place + len(block), whole[-2:]
            else:
                return ends
            place = ends[-1] + JOB_BYTES
    return [end for end in ends if end < size]


def documents(job: Job, field: str = "text", val_fraction: float = 0.05) -> Iterator[tuple[str, int]]:
    """The documents of a job, each with the white space around it; an empty one is "".

    Raises InputError for an unreadable or undecodable file, a JSONL line that is no object with a string
    under `field`, a table without that column.
    """
    path = Path(job.path)
    if job.how == "table":
        yield from ((text, 0) for text in columns.of_parquet(path, field, job.start, job.stop))
    elif job.how == "arrow":
        yield from ((text, 0) for text in columns.of_arrow(path, field))
    elif job.how == "lines":
        yield from ((text, 0) for text in jsonl.of_lines(path, field, job.start, job.stop))
    else:
        text = _decoded(path, _range(path, job.start, job.stop), job.start)
        if job.how == "cut":
            parts = _cut(text, val_fraction)
        else:
            parts = [text] if job.how == "file" else _BLANK.split(text)
            parts = [part.strip() for part in parts]
        if job.how == "file" and not parts[0]:
            yield "", len(text)
        parts = [part for part in parts if part]
        around = len(text) - sum(map(len, parts))
        for part in parts:
            yield part, around
            around = 0


def _range(path: Path, start: int, stop: int) -> bytes:
    try:
        with opened(path, limit=_ANY) as file:
            file.seek(start)
            return file.read() if stop < 0 else file.read(stop - start)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


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


def _files_of(folder: Path, include: tuple[str, ...]) -> tuple[list[Path], list[str], Counter]:
    """Files to read; names of those that describe a data set and are none of it; endings of others."""
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        return _saved(folder), [], Counter()
    relative = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    visible = sorted(path for path in relative if not any(part.startswith(".") for part in path.parts))
    if include:
        chosen = [p for p in visible if any(fnmatch.fnmatch(p.name, pattern) for pattern in include)]
        if not chosen:
            called = " or ".join(include)
            raise InputError(
                f"{folder}: none of its {len(visible):,} files is called {called} (data.include)"
            )
    else:
        chosen = [path for path in visible if path.name.lower().endswith((*TEXT, *LINES, *TABLE))]
        if all(map(_is_about, chosen)):  # with nothing else to describe, they describe the code
            code = [path for path in visible if path.name.lower().endswith(CODE)]
            chosen = sorted([*chosen, *code]) if code else chosen
    passed = Counter(path.suffix.lower() or "without ending" for path in set(visible) - set(chosen))
    files = [folder / path for path in chosen]
    if not files:
        there = ", ".join(f"{n:,} {ending}" for ending, n in passed.most_common(5)) or "nothing"
        raise InputError(
            f"{folder}: no file in it ends in {', '.join((*TEXT, *LINES, *TABLE))} or as code does; it holds "
            f'{there} (data.include = ["*.ending"] reads others)'
        )
    if include or all(path.name.lower().endswith(TEXT) for path in files):
        return files, [], passed  # a folder of texts, in which a README is one as good as any
    about = [f for f in files if _is_about(f)]
    return [f for f in files if f not in about], [str(f.relative_to(folder)) for f in about], passed


def _is_about(path: Path) -> bool:
    return path.name.lower().endswith(TEXT) and path.stem.lower() in ABOUT


def _saved(folder: Path) -> list[Path]:
    """Files of `Dataset.save_to_disk`: `state.json` names them; a `DatasetDict` has a folder a split."""
    if (folder / "dataset_dict.json").is_file():
        said = read_json(folder / "dataset_dict.json")
        splits = said.get("splits") if isinstance(said, dict) else None
        names = splits if isinstance(splits, list) else []
        raise InputError(
            f"{folder}: holds the splits {', '.join(map(str, names)) or '(none)'}; name one of them: "
            f"{folder / str(next(iter(names), 'train'))}"
        )
    said = read_json(folder / "state.json")
    listed = said.get("_data_files") if isinstance(said, dict) else None
    names = [entry.get("filename") for entry in listed or [] if isinstance(entry, dict)]
    bad = [name for name in names if not isinstance(name, str) or Path(name).name != name]
    if not names or bad:
        raise InputError(f"{folder / 'state.json'}: should list its .arrow files under _data_files")
    return [folder / name for name in names]


def _decoded(path: Path, raw: bytes, start: int = 0) -> str:
    if start == 0:
        raw = raw.removeprefix(codecs.BOM_UTF8)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = jsonl.lines_before(path, start) + raw.count(b"\n", 0, error.start) + 1
        raise jsonl.not_utf8(path, line, start + error.start, raw[error.start]) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
