"""A text as a data set: built-in or the user's own, in bytes or subwords, or ids that another tool made."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from functools import cache as remembered
from pathlib import Path

import numpy as np

from lab.data import cache as caches
from lab.data import files, packages, packed, parts, shards, token_files
from lab.data.config import PACKAGE_SOURCES, DataConfig
from lab.data.corpus import Corpus, hash64, split
from lab.data.dataset import Dataset
from lab.data.told import of_ids, preparation, some
from lab.errors import InputError
from lab.files import write_text
from lab.private import cache_folder
from lab.tokenizers import (
    ByteTokenizer,
    IdTokenizer,
    SubwordTokenizer,
    Tokenizer,
    read,
    size_of_ids,
    train_bpe,
)

BPE_BYTES = 1 << 28  # of text from which a vocabulary is learned
Digest = Callable[..., str]


def load(
    config: DataConfig, tokenizer: Tokenizer, digest_of: Digest, cache: Path | None, progress
) -> Dataset:
    """The data set of a configuration that names one text: of a package, of files, or of ids in files.

    Raises:
        InputError: for files that are missing or cannot be read so, and a tokenizer that does not suit them.
    """
    if config.kind in PACKAGE_SOURCES and isinstance(tokenizer, ByteTokenizer):
        return _in_memory(config, tokenizer, digest_of, cache, progress)
    if config.kind == "files" and _holds_ids(config):
        return _of_ids(config, tokenizer, digest_of, cache)
    if isinstance(tokenizer, IdTokenizer):
        if config.kind == "files":
            files.find(
                tuple(map(Path, config.places)), config.split, config.include
            )  # an unknown kind of file
        raise InputError(f"{config.label}: is a text; {config.tokenizer!r} is for ids in .bin and .npy")
    try:
        return _sharded(config, tokenizer, digest_of, cache, progress)
    except InputError as error:
        folders = [p for p in map(Path, config.places) if config.kind == "files" and p.is_dir()]
        if beside := [path.name for folder in folders for path in token_files.ids_in(folder)]:
            way = f'{config.label}: ids in {some(tuple(beside))} are read with data.tokenizer = "ids:N"'
            raise InputError(*error.problems, way) from None
        raise


def _in_memory(config, tokenizer: ByteTokenizer, digest_of: Digest, cache, progress) -> Dataset:
    """The built-in texts in bytes: ten million of them, packed in memory."""
    corpus, where = _package(config.source, cache, progress)
    held_D = split(corpus, config.val_fraction, config.source)
    tokens = packed.pack(corpus, ~held_D, tokenizer)
    held_tokens = packed.pack(corpus, held_D, tokenizer)
    facts = {
        "bytes": len(corpus.text),
        "documents": len(held_D),
        "documents_read": corpus.read,
        "duplicates_dropped": corpus.duplicates,
        **_of_corpus(corpus),
        "preparation": None,
        "groups": len(np.unique(corpus.group_D)),
        "validation_bytes": int(corpus.lengths_D[held_D].sum()),
        "validation_documents": int(held_D.sum()),
        "cache": str(where),
    }
    return _dataset(config, tokenizer, digest_of, corpus.digest, tokens, held_tokens, None, facts)


def _package(source: str, cache: Path | None, progress) -> tuple[Corpus, Path]:
    where = caches.path_of(cache or cache_folder(), source, packages.versions())
    told = progress and (lambda done, total: progress(done, total, "files"))
    return caches.cached(where, lambda: packages.build(source, told)), where


def _of_corpus(corpus: Corpus) -> dict:
    return {"near_duplicates_dropped": corpus.near_duplicates, "near_empty_dropped": corpus.near_empty}


def _dataset(config, tokenizer, digest_of, content, tokens, held_tokens, spans, facts) -> Dataset:
    """The two streams as a data set. `facts`: of the text, in the order in which they are shown."""
    rows = packed.windows(tokens, config.context, config.max_tokens, config.label)
    validation = packed.validation(
        held_tokens, config.context, config.val_windows, tokenizer.bytes_of_token, config.label, spans
    )
    train_bytes = facts["bytes"] - facts["validation_bytes"]
    shown = {name: facts[name] for name in facts if name not in ("validation_documents", "cache")}
    shown |= {
        "train_bytes": train_bytes,
        "validation_bytes": facts["validation_bytes"],
        "train_documents": facts["documents"] - facts["validation_documents"],
        "validation_documents": facts["validation_documents"],
        "train_tokens": len(tokens),
        "train_windows": rows.unique,
        "cache": facts["cache"],
    }
    return Dataset(
        config=config,
        digest=digest_of(config, content, tokenizer.digest, rows=rows.unique),
        tokenizer=tokenizer,
        bytes_per_token=train_bytes / len(tokens),
        entropy_rate=None,
        rows=rows,
        fixed_validation=validation,
        held_tokens=held_tokens,
        facts=shown,
    )


def _sharded(config: DataConfig, tokenizer, digest_of: Digest, cache, progress) -> Dataset:
    made, found, corpus = _shards(config, tokenizer, cache, progress)
    f = made.facts
    tokens = made.tokens("train")
    facts = {
        "bytes": f["bytes"],
        "documents": f["documents"],
        "documents_read": corpus.read if corpus else f["read"] + f["empty"],
        "duplicates_dropped": corpus.duplicates if corpus else f["duplicates"],
        **(
            _of_corpus(corpus) if corpus else {"near_duplicates_dropped": 0, "near_empty_dropped": f["empty"]}
        ),
        "preparation": preparation(config, found, made, len(tokens), tokenizer) if found else None,
        "groups": f["groups"],
        "validation_bytes": f["validation_bytes"],
        "validation_documents": f["validation_documents"],
        "cache": str(made.folder),
    }
    return _dataset(
        config, tokenizer, digest_of, f["digest"], tokens, made.tokens("validation"), made.spans(), facts
    )


def _shards(config: DataConfig, tokenizer, cache, progress):
    """Shards of a text, the files they are of, or the built-in corpus."""
    told = progress and (lambda done, total: progress(done, total, "bytes"))
    if config.kind in PACKAGE_SOURCES:
        corpus, _ = _package(config.source, cache, progress)
        plan = parts.Plan((), config.text_field, config.val_fraction, True)
        key = shards.key_of(corpus.digest, config.val_fraction, tokenizer.digest)
        pairs = zip(corpus.group_D.tolist(), documents_of(corpus), strict=True)
        made = shards.read(_named(cache) / key)
        made = made or shards.build(_root(cache) / key, plan, tokenizer, config.source, True, pairs, told)
        return made, None, corpus
    found = files.find(tuple(map(Path, config.places)), config.split, config.include)
    options = [config.text_field, config.val_fraction, config.dedupe]
    key = shards.key_of(found.stamps, found.hows, options, tokenizer.digest)
    subwords = isinstance(tokenizer, SubwordTokenizer)
    if (made := shards.read(_named(cache) / key)) is None:
        plan = parts.Plan(tuple(files.jobs(found)), config.text_field, config.val_fraction, subwords)
        made = shards.build(_root(cache) / key, plan, tokenizer, config.label, config.dedupe, None, told)
    return made, found, None


def documents_of(corpus: Corpus) -> Iterator[bytes]:
    for end, length in zip(corpus.ends_D.tolist(), corpus.lengths_D.tolist(), strict=True):
        yield corpus.text[end - length : end].tobytes()


@remembered
def _elsewhere() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="scaling-law-lab-")


def _named(cache: Path | None) -> Path:
    """Where shards are looked for, though nothing can be written there: `SCALING_LAB_DATA`, or the cache."""
    named = os.environ.get("SCALING_LAB_DATA")
    return Path(named) if named and cache is None else (cache or cache_folder()) / "corpora"


def _root(cache: Path | None) -> Path:
    """Where shards are built: there, or in a folder of this process alone."""
    folder = _named(cache)
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    return Path(_elsewhere().name)


def trained_bpe(configs: list[DataConfig], size: int, cache: Path | None, progress) -> SubwordTokenizer:
    """Byte-level BPE learned from the texts: from `BPE_BYTES` of them at most, chosen by hash.

    What may be held out is left out: documents whose hash lies among the first 1.5 `val_fraction`.
    """
    sources = [_documents(config, cache, progress) for config in configs]
    key = shards.key_of("bpe", size, [stamp for stamp, _, _ in sources], configs[0].val_fraction)
    kept = _named(cache) / f"bpe-{size}-{key}.json"
    if kept.is_file():
        return read(kept)
    kept = _root(cache) / kept.name
    limit = int(min(1.5 * configs[0].val_fraction, 0.99) * 2**64)
    total = sum(size_ for _, size_, _ in sources)
    share = min(1.0, BPE_BYTES / max(total, 1))

    def chosen(all_of_it: bool) -> Iterator[str]:
        for _, _, texts in sources:
            for text in texts():
                raw = text.encode("utf-8", "replace")
                if all_of_it:
                    yield raw.decode()
                    continue
                key = hashlib.sha256(raw)
                # another part of the hash than that which holds out
                is_in = int.from_bytes(key.digest()[8:12], "little") < share * 2**32
                if is_in and hash64(key.hexdigest()) >= limit:
                    yield raw.decode()

    made = train_bpe(chosen(False), size)
    if made.vocab_size == 258 and size > 256:  # few documents, all of them near the held-out ones
        made = train_bpe(chosen(True), size)
    if made.vocab_size < size + 2:
        raise InputError(
            f'tokenizer "bpe:{size}": the text gives only {made.vocab_size - 2:,} tokens of it '
            f'({total:,} bytes); "bpe:{made.vocab_size - 2}" is what it has'
        )
    with contextlib.suppress(OSError, InputError):
        write_text(kept, made.json)
        return read(kept)
    return made


def _documents(config: DataConfig, cache, progress):
    """Of a text: what tells whether it is the same, its bytes, and its documents."""
    if config.kind in PACKAGE_SOURCES:
        corpus, _ = _package(config.source, cache, progress)
        return corpus.digest, len(corpus.text), lambda: (raw.decode() for raw in documents_of(corpus))
    if _holds_ids(config):
        raise InputError(f"{config.label}: holds ids, no text from which a vocabulary could be learned")
    found = files.find(tuple(map(Path, config.places)), config.split, config.include)

    def documents() -> Iterator[str]:
        for job in files.jobs(found):
            said = files.documents(job, config.text_field, config.val_fraction)
            yield from (text for text, _ in said if text)

    stamp = [found.stamps, found.hows, config.text_field]
    return stamp, sum(path.stat().st_size for path in found.files), documents


def _holds_ids(config: DataConfig) -> bool:
    places = tuple(map(Path, config.places))
    return token_files.hold_ids(places, config.include, size_of_ids(config.tokenizer) is not None)


def _of_ids(config: DataConfig, tokenizer, digest_of: Digest, cache: Path | None) -> Dataset:
    """Ids as they lie in their files."""
    files_of = token_files.find(tuple(map(Path, config.places)), config.include)
    train, held = files_of.train, files_of.held
    label = config.label
    stamp = hashlib.sha256(json.dumps([str(s.path.resolve()) for s in (*train, *held)]).encode())
    name = f"ids-{stamp.hexdigest()[:16]}.json"
    known = _named(cache) / name
    found = token_files.survey([*train, *held], known if known.is_file() else _root(cache) / name)
    if config.tokenizer == "bytes":
        raise InputError(
            f"{label}: holds ids, the largest is {max(found['largest']):,}; say of which vocabulary: "
            'data.tokenizer = "ids:N", or the tokenizer.json that made them; '
            f'"ids:{max(found["largest"]) + 1}" has room for them'
        )
    size = tokenizer.vocab_size - 2
    token_files.check([*train, *held], found, size)
    if not train:
        raise InputError(f'{label}: every file has the word "val" in its name, so none is left to train on')
    arrays, held_arrays = [s.ids for s in train], [s.ids for s in held]
    if not held:
        at = token_files.cut(arrays[-1], config.val_fraction, config.mark)
        held_arrays = [arrays[-1][at:]]
        arrays[-1] = arrays[-1][:at]
    start = tokenizer.start
    rows = token_files.rows(arrays, config.context, config.max_tokens, config.mark, start, label)
    held_rows = token_files.rows(
        held_arrays, config.context, None, config.mark, start, f"{label} (the part held out for validation)"
    )
    marks = (
        f"the id {config.mark:,} stands between documents and is read as <start>"
        if config.mark is not None
        else "no id stands between documents (data.mark = N says which does)"
    )
    kinds = ", ".join(sorted({s.dtype.name for s in (*train, *held)}))
    tokens, total = sum(map(len, arrays)), sum(s.count for s in (*train, *held))
    facts = {
        "preparation": f"{label}: {total:,} ids ({kinds}), as they are; {of_ids(files_of)}; {marks}; "
        f"{tokens:,} tokens to train on",
        "largest_id": max(found["largest"]),
        "train_tokens": tokens,
        "validation_tokens": sum(map(len, held_arrays)),
        "train_windows": rows.unique,
    }
    sizes = tokenizer.bytes_of_token
    if isinstance(tokenizer, SubwordTokenizer) and sizes is not None:
        sizes = sizes.copy()
        sizes[tokenizer.special] = 0  # in ids they are marks, no text
    contents = (*found["digests"], json.dumps([config.mark, len(train), size]), tokenizer.digest)
    return Dataset(
        config=config,
        digest=digest_of(config, "ids", *contents, rows=rows.unique),
        tokenizer=tokenizer,
        bytes_per_token=_sampled_bytes(arrays[0], sizes),
        entropy_rate=None,
        rows=rows,
        fixed_validation=token_files.validation(held_rows, config.val_windows, sizes),
        facts=facts,
    )


def _sampled_bytes(ids: np.ndarray, sizes: np.ndarray | None) -> float:
    """Mean bytes of an id, over a million of them; 0 where their text is not known."""
    return 0.0 if sizes is None else float(sizes[np.asarray(ids[: 1 << 20])].mean())
