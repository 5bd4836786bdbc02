"""Built corpora on disk. A cache only: delete it and the next load builds it again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lab.data.corpus import Corpus
from lab.errors import InputError
from lab.files import writing

_COUNTS = ("read", "duplicates", "near_duplicates", "near_empty")


def path_of(folder: Path, name: str, versions: dict[str, str]) -> Path:
    """File of a corpus: its name and a hash of the versions that decide its text."""
    key = hashlib.sha256(json.dumps(versions, sort_keys=True).encode()).hexdigest()[:12]
    return folder / f"{name}-{key}.npz"


def cached(path: Path, build: Callable[[], Corpus]) -> Corpus:
    """The corpus in `path`, built and stored there if it is missing or damaged.

    A folder that cannot be written costs the time of a build at every load, nothing else.
    """
    corpus = _read(path)
    if corpus is None:
        corpus = build()
        _write(path, corpus)
    return corpus


def _read(path: Path) -> Corpus | None:
    """None if there is no such file, or it is not what was written (the digest is checked)."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            counts = dict(zip(_COUNTS, stored["counts"].tolist(), strict=True))
            corpus = Corpus(stored["text"], stored["ends"], stored["groups"], **counts)
            digest = stored["digest"].tobytes().decode("ascii")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return corpus if digest == corpus.digest else None


def _write(path: Path, corpus: Corpus) -> None:
    """Atomic: a reader sees the old file or the new one, also when several processes build at once."""
    with contextlib.suppress(OSError, InputError), writing(path) as file:
        np.savez(
            file,
            text=corpus.text,
            ends=corpus.ends_D,
            groups=corpus.group_D,
            counts=np.array([getattr(corpus, name) for name in _COUNTS]),
            digest=np.frombuffer(corpus.digest.encode("ascii"), np.uint8),
        )
