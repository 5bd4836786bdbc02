"""From a configuration to a data set."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from lab.data import cache as caches
from lab.data import packages, packed
from lab.data.config import PACKAGE_SOURCES, DataConfig
from lab.data.corpus import Corpus, split
from lab.data.dataset import Dataset
from lab.data.packages import Progress
from lab.private import cache_folder
from lab.tokenizers import ByteTokenizer

# Raise it when the same configuration and text would give other batches or another validation set.
FORMAT = 1

# Fields of DataConfig that decide what a source gives; the rest of them does not enter its digest.
_ALWAYS = ("context", "order_seed", "max_tokens", "val_windows")
_BY_KIND = {
    "synthetic": ("contexts", "zipf"),
    "abilities": ("eval_items",),
}
_OF_TEXT = ("val_fraction",)


def load(config: DataConfig, cache: Path | None = None, progress: Progress | None = None) -> Dataset:
    """The data set of a configuration.

    Args:
        config: what to load.
        cache: folder of built corpora; None: `cache_folder()`.
        progress: called with (files read, files in all) while a corpus is built.

    Raises:
        InputError: the source is unreadable, empty, or too small for one sequence on each side of the
        split.
    """
    if config.kind == "synthetic":
        from lab.data import synthetic

        return synthetic.load(config, digest_of)
    if config.tasks:
        from lab.data import mixture

        alone = replace(config, tasks={}, eval_tasks=()) if config.kind != "abilities" else None
        return mixture.load(config, digest_of, alone and _load_text(alone, cache, progress))
    return _load_text(config, cache, progress)


def digest_of(config: DataConfig, *contents: str) -> str:
    """SHA-256 (hex) over the format, the fields that matter for the source, and digests of its contents."""
    fields = asdict(config)
    names = (*_ALWAYS, *_BY_KIND.get(config.kind, _OF_TEXT))
    if config.tasks and config.kind != "abilities":
        names = (*names, *_BY_KIND["abilities"])
    facts = {"format": FORMAT, "fields": {name: fields[name] for name in names}, "contents": contents}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _load_text(config: DataConfig, cache: Path | None, progress: Progress | None) -> Dataset:
    corpus, where = _corpus(config, cache, progress)
    tokenizer = ByteTokenizer()
    held_D = split(corpus, config.val_fraction, config.source)
    tokens = packed.pack(corpus, ~held_D, tokenizer)
    held_tokens = packed.pack(corpus, held_D, tokenizer)
    rows = packed.windows(tokens, config.context, config.max_tokens, config.source)
    validation = packed.validation(held_tokens, config.context, config.val_windows, tokenizer, config.source)
    train_bytes = int(corpus.lengths_D[~held_D].sum())
    facts = {
        "bytes": len(corpus.text),
        "documents": len(held_D),
        "documents_read": corpus.read,
        "duplicates_dropped": corpus.duplicates,
        "near_duplicates_dropped": corpus.near_duplicates,
        "near_empty_dropped": corpus.near_empty,
        "preparation": corpus.told or None,
        "groups": len(np.unique(corpus.group_D)),
        "train_bytes": train_bytes,
        "validation_bytes": len(corpus.text) - train_bytes,
        "train_documents": int((~held_D).sum()),
        "validation_documents": int(held_D.sum()),
        "train_tokens": len(tokens),
        "train_windows": rows.unique,
        "cache": None if where is None else str(where),
    }
    return Dataset(
        config=config,
        digest=digest_of(config, corpus.digest, tokenizer.digest),
        tokenizer=tokenizer,
        bytes_per_token=train_bytes / len(tokens),
        entropy_rate=None,
        rows=rows,
        fixed_validation=validation,
        facts=facts,
    )


def _corpus(config: DataConfig, cache: Path | None, progress: Progress | None) -> tuple[Corpus, Path | None]:
    if config.source in PACKAGE_SOURCES:
        where = caches.path_of(cache or cache_folder(), config.source, packages.versions())
        return caches.cached(where, lambda: packages.build(config.source, progress)), where
    from lab.data import files

    return files.read(Path(config.source), config.split, config.dedupe, config.val_fraction), None
