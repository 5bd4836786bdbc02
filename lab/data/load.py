"""From a configuration to a data set."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from lab.data import packages, texts
from lab.data.config import MIXTURE, DataConfig
from lab.data.dataset import Dataset
from lab.data.order import MOST_KEPT
from lab.tokenizers import ByteTokenizer, IdTokenizer, Tokenizer, read, size_of_bpe, size_of_ids

# Raise it when the same configuration and text would give other batches or another validation set.
FORMAT = 1

# Fields of DataConfig that decide what a source gives; the rest of them does not enter its digest.
_ALWAYS = ("context", "order_seed", "max_tokens", "val_windows")
_BY_KIND = {
    "synthetic": ("contexts", "zipf"),
    "abilities": ("eval_items",),
    MIXTURE: ("rates",),
}
_OF_TEXT = ("val_fraction",)
Progress = packages.Progress


def load(config: DataConfig, cache: Path | None = None, progress: Progress | None = None) -> Dataset:
    """The data set of a configuration.

    Args:
        config: what to load.
        cache: folder of built corpora and token shards; None: `cache_folder()`.
        progress: called with (done, all, what is counted) while a corpus is built.

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
    if config.kind == MIXTURE:
        return _load_mixture(config, cache, progress)
    return _load_text(config, cache, progress)


def tokenizer_of(config: DataConfig) -> Tokenizer | None:
    """The tokenizer of a text if its name or file is all that decides it; None where the data do."""
    if config.kind in ("synthetic", "abilities") or size_of_bpe(config.tokenizer):
        return None
    if size := size_of_ids(config.tokenizer):
        return IdTokenizer(size)
    return ByteTokenizer() if config.tokenizer == "bytes" else read(Path(config.tokenizer))


def digest_of(config: DataConfig, *contents: str, rows: int | None = None) -> str:
    """SHA-256 (hex) over the format, the fields that matter for the source, and digests of its contents.

    Args:
        rows: of finite data: beyond some, their order is another function.
    """
    fields = asdict(config)
    names = (*_ALWAYS, *_BY_KIND.get(config.kind, _OF_TEXT))
    if config.tasks and config.kind != "abilities":
        names = (*names, *_BY_KIND["abilities"])
    facts = {"format": FORMAT, "fields": {name: fields[name] for name in names}, "contents": contents}
    if rows is not None and rows > MOST_KEPT:
        facts["order"] = "feistel"
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _load_text(config: DataConfig, cache: Path | None, progress: Progress | None) -> Dataset:
    return texts.load(config, _tokenizer(config, cache, progress), digest_of, cache, progress)


def _tokenizer(config: DataConfig, cache: Path | None, progress: Progress | None) -> Tokenizer:
    known = tokenizer_of(config)
    if known is not None:
        return known
    return texts.trained_bpe([config], size_of_bpe(config.tokenizer), cache, progress)


def _load_mixture(config: DataConfig, cache: Path | None, progress: Progress | None) -> Dataset:
    from lab.data import blend

    alone = {
        name: replace(config, source=place, sources={}, rates={}) for name, place in config.sources.items()
    }
    tokenizer = tokenizer_of(config)
    if tokenizer is None:  # one vocabulary for all, whatever the rates: their losses are to be compared
        size = size_of_bpe(config.tokenizer)
        tokenizer = texts.trained_bpe(list(alone.values()), size, cache, progress)
    load_one: Callable = lambda one: texts.load(one, tokenizer, digest_of, cache, progress)
    return blend.load(config, {name: load_one(one) for name, one in alone.items()}, digest_of)
