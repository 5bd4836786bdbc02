"""`lab data inspect SOURCE`: what a source holds, before anything is trained on it; `lab data ngram
SOURCE`."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np
import tyro
from tyro.conf import FlagCreatePairsOff, Positional

from lab.data.config import DataConfig
from lab.data.dataset import Dataset
from lab.data.load import load
from lab.data.packed import Windows
from lab.errors import InputError
from lab.tokenizers import Tokenizer
from lab.verbs.common import Progress

SAMPLES = 3  # training sequences shown


@dataclass(frozen=True)
class Options:
    """What a data source holds (inspect), or what n-grams make of it (ngram)."""

    action: Positional[Literal["inspect", "ngram"]]
    """inspect: bytes, documents, duplicates, split, tokens, digest, samples; ngram: loss of a modified
    Kneser-Ney model of the training split on the validation windows"""
    source: Positional[tuple[str, ...]]
    """python-docs, python-code, synthetic, abilities, or files or folders of your own: .txt .md .rst, code,
    .jsonl (.gz .zst), .parquet, what `save_to_disk` wrote, ids in .bin or .npy"""
    tokenizer: str = ""
    """bytes, bpe:4096 (learned from the text), a tokenizer.json, ids:50257 for .bin and .npy"""
    text_field: str = "text"
    """key of .jsonl, column of .parquet"""
    include: tuple[str, ...] = ()
    """names of the files of a folder that are read: '*.py'"""
    mark: int | None = None
    """of .bin and .npy: the id between two documents"""
    mix: tuple[str, ...] = ()
    """a mixture in place of a source: name=path=rate, for example web=web.jsonl=3 code=src=1"""
    tokens: float | None = None
    """of a training run: how many epochs that is"""
    near: int = 2000
    """training documents among which near-duplicates of held-out ones are looked for (extra hf); 0: none"""
    picture: Path | None = None
    """draw lengths of documents and frequencies of tokens: a .svg, .png or .pdf"""
    context: int = 0
    """tokens a sequence; 0: what fits the source"""
    max_tokens: int | None = None
    """cap on the unique training tokens"""
    order_seed: int = 0
    """the data order of the study"""
    val_fraction: float = 0.05
    """part of the bytes held out for validation"""
    split: Literal["", "blank_lines", "file"] = ""
    """where documents of .txt .md .rst end; a lone file is split at blank lines unless this says file"""
    dedupe: bool = True
    """keep one of documents that are equal"""
    val_windows: int = 512
    """windows of the validation set, at most"""
    tasks: tuple[str, ...] = ()
    """abilities: task=rate, for example copy=1 coin=1; all tasks at rate 1 when none is given"""
    contexts: int = 2048
    """synthetic: number of contexts"""
    zipf: float = 1.75
    """synthetic: exponent of the law of contexts"""
    order: int = 5
    """ngram: tokens of an n-gram"""
    json: FlagCreatePairsOff[bool] = False
    """one JSON object on stdout and nothing else"""

    def config(self) -> DataConfig:
        """The data set asked for. Raises InputError."""
        from lab.abilities import TASKS

        rates: dict[str, float | str] = {}
        for entry in self.tasks:
            name, _, rate = entry.partition("=")
            try:
                rates[name] = float(rate or 1)
            except ValueError:
                rates[name] = rate  # DataConfig reports it, together with all other problems
        if self.source == ("abilities",) and not rates:
            rates = dict.fromkeys(TASKS, 1.0)
        named = {field.name for field in fields(self)} & {field.name for field in fields(DataConfig)}
        given = {name: getattr(self, name) for name in named - {"tasks", "source"}}
        if self.mix:
            given |= self._mixture()
        else:
            given["source"] = self.source[0] if len(self.source) == 1 else self.source
        return DataConfig(tasks=rates, **given)

    def _mixture(self) -> dict:
        if self.source:
            raise InputError(f"--mix: replaces the source, and {' '.join(self.source)} is given too")
        sources, rates = {}, {}
        for entry in self.mix:
            name, _, rest = entry.partition("=")
            place, _, rate = rest.rpartition("=") if "=" in rest else (rest, "", "1")
            try:
                sources[name], rates[name] = place, float(rate)
            except ValueError:
                raise InputError(f"--mix {entry}: should be name=path=rate, as in code=src=0.25") from None
        return {"sources": sources, "rates": rates}


def data(argv: list[str]) -> int:
    """The verb. Returns exit code 0; raises InputError for bad input."""
    options = tyro.cli(Options, args=argv, prog="lab data", description=Options.__doc__)
    if not options.source and not options.mix:
        raise InputError("lab data: name a source: python-docs, or a file or folder of your own")
    config = options.config()
    dataset = load(config, progress=Progress(config.label))
    if options.action == "ngram":
        from lab.evaluation.ngram import baseline

        facts = {
            **baseline(dataset, options.order, options.max_tokens),
            "entropy_rate_nats": dataset.entropy_rate,
        }
    else:
        facts = inspect(dataset)
        if options.tokens is not None:
            facts["epochs"] = epochs(dataset, options.tokens)
        if options.near > 0 and isinstance(dataset.rows, Windows):
            from lab.data.overlap import near_duplicates

            facts["near_duplicates"] = near_duplicates(dataset, options.near)
        if options.picture is not None:
            from lab.data.picture import draw

            draw(dataset, options.picture)
            facts["picture"] = str(options.picture)
    if options.json:
        print(json.dumps(facts, allow_nan=False))
        return 0
    for name, value in facts.items():
        if name == "samples":
            print("samples of training sequences, inputs:")
            for sample in value:
                print(f"  {sample!r}")
        elif value is not None:
            print(f"{name:24} {_shown(value)}")
    return 0


def epochs(dataset: Dataset, tokens: float) -> float | dict[str, float] | None:
    """Times that a run goes through the data, or each text of a mixture. None: they have no end."""
    if of := dataset.facts.get("unique_tokens_of"):
        return {name: tokens * dataset.config.shares[name] / unique for name, unique in of.items()}
    return tokens / dataset.unique_tokens if dataset.unique_tokens else None


def inspect(dataset: Dataset) -> dict:
    """Everything about a data set that a reader of the study wants to know, as plain JSON values."""
    held_out = dataset.validation()
    inputs_KxBxT, _ = dataset.batches(0, 1, SAMPLES)
    return {
        "source": dataset.config.label,
        "tokenizer": dataset.config.tokenizer,
        "vocab_size": dataset.vocab_size,
        "context": dataset.context,
        **dataset.facts,
        "unique_tokens": dataset.unique_tokens,
        "bytes_per_token": dataset.bytes_per_token,
        "entropy_rate_nats": dataset.entropy_rate,
        "validation_windows": len(held_out.bytes_W),
        "validation_tokens_scored": held_out.scored,
        "order_seed": dataset.config.order_seed,
        "digest": dataset.digest,
        "samples": [_with_marks(dataset.tokenizer, row) for row in inputs_KxBxT[0]],
    }


def _with_marks(tokenizer: Tokenizer, tokens_T: np.ndarray) -> str:
    """Text in which <start> and <end> are written out."""
    marks = {tokenizer.start: "<start>", tokenizer.end: "<end>"}
    places = np.flatnonzero(np.isin(tokens_T, list(marks)))
    text = [tokenizer.decode(part) for part in np.split(tokens_T, places)]  # decoding leaves the marks out
    return text[0] + "".join(
        marks[int(tokens_T[place])] + rest for place, rest in zip(places, text[1:], strict=True)
    )


def _shown(value) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{name} {_shown(part)}" for name, part in value.items())
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
