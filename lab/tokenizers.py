"""Tokenizers: bytes, the symbols of an alphabet, and subwords by the `tokenizers` library.

Byte tokens make the loss comparable across everything (nats a byte) and leave no embedding table to
confound the parameter count of small models. Every tokenizer is followed by `<start>` and `<end>`, which
frame a document and have no text: they are the last two ids of the vocabulary.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from lab.errors import InputError
from lab.files import read_text

LEAST_BPE, MOST_BPE = 256, 65_536
_LARGEST = 1 << 28  # bytes of a tokenizer.json; those of 256,000 tokens have 40 million
INSTALL = 'pip install "scaling-law-lab[hf]"'


class Tokenizer(Protocol):
    """Text to token ids and back. `start` and `end` frame a document and have no text."""

    vocab_size: int
    start: int
    end: int
    digest: str

    def encode(self, text: str) -> np.ndarray: ...

    def decode(self, tokens) -> str: ...


@dataclass(frozen=True)
class ByteTokenizer:
    """Token = byte of the UTF-8 text; <start> is 256 and <end> is 257."""

    vocab_size: int = 258
    start: int = 256
    end: int = 257
    digest: str = hashlib.sha256(b"bytes/1").hexdigest()

    @property
    def bytes_of_token(self) -> np.ndarray:
        """Bytes of text that each id stands for, (vocab_size,): marks stand for none."""
        return (np.arange(self.vocab_size) < self.start).astype(np.int64)

    def encode(self, text: str) -> np.ndarray:
        """int32 ids, one a byte, without <start> and <end>."""
        return np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int32)

    def decode(self, tokens) -> str:
        """Text of the ids without <start> and <end>; broken UTF-8 shows as the replacement character."""
        ids = np.asarray(tokens)
        return ids[ids < 256].astype(np.uint8).tobytes().decode("utf-8", errors="replace")


@dataclass(frozen=True)
class SymbolTokenizer:
    """Token = place of the character in `alphabet`; <start> and <end> follow."""

    alphabet: str

    @property
    def start(self) -> int:
        return len(self.alphabet)

    @property
    def end(self) -> int:
        return len(self.alphabet) + 1

    @property
    def vocab_size(self) -> int:
        return len(self.alphabet) + 2

    @property
    def digest(self) -> str:
        return hashlib.sha256(f"symbols/1 {self.alphabet}".encode()).hexdigest()

    def encode(self, text: str) -> np.ndarray:
        """int32 ids. Raises ValueError for a character outside the alphabet."""
        if strange := sorted(set(text) - set(self.alphabet)):
            raise InputError(f"{''.join(strange)!r} cannot be written in these symbols: {self.alphabet}")
        return np.array([self.alphabet.index(character) for character in text], np.int32)

    def decode(self, tokens) -> str:
        """Text of the ids; <start>, <end> and anything beyond are left out."""
        return "".join(self.alphabet[i] for i in np.asarray(tokens).tolist() if 0 <= i < len(self.alphabet))


@dataclass(frozen=True)
class IdTokenizer:
    """Ids of a tokenizer that is not here: `size` of them, then <start> and <end>. They have no text."""

    size: int
    bytes_of_token: None = None

    @property
    def start(self) -> int:
        return self.size

    @property
    def end(self) -> int:
        return self.size + 1

    @property
    def vocab_size(self) -> int:
        return self.size + 2

    @property
    def digest(self) -> str:
        return hashlib.sha256(f"ids/1 {self.size}".encode()).hexdigest()

    def encode(self, text: str) -> np.ndarray:
        """Raises InputError: the ids alone do not say what text they stand for."""
        raise InputError(
            f'tokenizer "ids:{self.size}" has ids and no text; name the tokenizer.json that made them'
        )

    def decode(self, tokens) -> str:
        """The ids, as numbers."""
        return " ".join(str(i) for i in np.asarray(tokens).tolist() if 0 <= i < self.size)


@dataclass(frozen=True)
class SubwordTokenizer:
    """A `tokenizer.json` of the `tokenizers` library; <start> and <end> follow its ids.

    Truncation, padding and what a post-processor would add are off: a document is its text, and nothing of
    it is lost. `where` names the file in errors.
    """

    json: str
    where: str = "tokenizer.json"

    @cached_property
    def _made(self):
        try:
            from tokenizers import Tokenizer as Made
        except ImportError:
            raise InputError(f"{self.where}: the package `tokenizers` reads it; {INSTALL}") from None
        try:
            made = Made.from_str(self.json)
        except BaseException as error:  # it raises Exception, and pyo3's own for a panic
            if isinstance(error, KeyboardInterrupt | SystemExit | MemoryError):
                raise
            raise InputError(
                f"{self.where}: is no tokenizer.json that `tokenizers` reads ({str(error)[:200]})"
            ) from None
        made.no_truncation()
        made.no_padding()
        if getattr(made.model, "dropout", None):
            made.model.dropout = None  # the same text would give other tokens every time
        if not made.get_vocab_size():
            raise InputError(f"{self.where}: its vocabulary is empty")
        return made

    @cached_property
    def start(self) -> int:
        return max(self._made.get_vocab(with_added_tokens=True).values()) + 1

    @property
    def end(self) -> int:
        return self.start + 1

    @property
    def vocab_size(self) -> int:
        return self.start + 2

    @cached_property
    def digest(self) -> str:
        text = json.dumps(json.loads(self.json), sort_keys=True)  # not its white space
        return hashlib.sha256(f"subwords/1 {text}".encode()).hexdigest()

    @cached_property
    def bytes_of_token(self) -> np.ndarray | None:
        """Bytes of text that each id stands for, (vocab_size,); None where that depends on what is beside it.

        It is a fact of the id where the tokenizer works on the bytes as they are: byte-level, no normaliser,
        no space put before the text, no added token that swallows space around it.
        """
        said = json.loads(self.json)
        steps = said.get("pre_tokenizer") or {}
        steps = steps.get("pretokenizers", [steps])
        levels = [step for step in steps if step.get("type") == "ByteLevel"]
        split = all(
            step.get("type") in ("ByteLevel", "Digits")
            or (step.get("type") == "Split" and step.get("behavior") == "Isolated")
            for step in steps
        )
        added = said.get("added_tokens") or []
        plain = not any(token.get("lstrip") or token.get("rstrip") for token in added)
        model = said.get("model") or {}
        whole = model.get("type") == "BPE" and not any(
            model.get(key)
            for key in ("unk_token", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")
        )
        if (
            not (split and plain and whole and len(levels) == 1)
            or said.get("normalizer")
            or levels[0].get("add_prefix_space")
            or set(_byte_alphabet()) - self._made.get_vocab().keys()
        ):
            return None
        sizes = np.zeros(self.vocab_size, np.int64)
        of_added = {token["content"] for token in added}
        for token, i in self._made.get_vocab(with_added_tokens=True).items():
            sizes[i] = len(token.encode()) if token in of_added else len(token)
        return sizes

    @property
    def special(self) -> list[int]:
        """Ids of its own marks, as <|endoftext|>."""
        added = json.loads(self.json).get("added_tokens") or []
        return [token["id"] for token in added if token.get("special")]

    def encode(self, text: str) -> np.ndarray:
        """int32 ids, without <start> and <end>."""
        return np.array(self._made.encode(text, add_special_tokens=False).ids, np.int32)

    def encode_many(self, texts: list[str]) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
        """Ids of each text, and the bytes that each id stands for where `bytes_of_token` cannot say it.

        A token is given all bytes from the end of the one before it to its own end, the last one those up to
        the end of the text: what a normaliser drops is counted where it stood, and each text adds up to its
        bytes.
        """
        if self.bytes_of_token is not None:
            return [
                np.array(e.ids, np.int32)
                for e in self._made.encode_batch_fast(texts, add_special_tokens=False)
            ], None
        found = self._made.encode_batch(texts, add_special_tokens=False)
        ids = [np.array(e.ids, np.int32) for e in found]
        return ids, [_spans(text, e.offsets) for text, e in zip(texts, found, strict=True)]

    def decode(self, tokens) -> str:
        """Text of the ids; <start> and <end> are left out."""
        ids = np.asarray(tokens)
        ids = ids[(ids >= 0) & (ids < self.start)].tolist()
        return self._made.decode(ids, skip_special_tokens=False) if ids else ""


def _spans(text: str, offsets: list[tuple[int, int]]) -> np.ndarray:
    if not offsets:
        return np.zeros(0, np.int64)
    ends = np.maximum.accumulate(np.array([end for _, end in offsets], np.int64))
    ends[-1] = len(text)
    if not text.isascii():
        width = [len(character.encode("utf-8", "replace")) for character in text]
        ends = np.concatenate([[0], np.cumsum(width)])[ends]
    return np.diff(ends, prepend=0)


def _byte_alphabet() -> list[str]:
    from tokenizers.pre_tokenizers import ByteLevel

    return ByteLevel.alphabet()


def size_of_bpe(name: str) -> int | None:
    """N of the tokenizer "bpe:N", None where the name is another one. Raises InputError for a bad N."""
    return _number(name, "bpe", LEAST_BPE, MOST_BPE)


def size_of_ids(name: str) -> int | None:
    """N of the tokenizer "ids:N", None where the name is another one. Raises InputError for a bad N."""
    return _number(name, "ids", 1, 2**31 - 3)


def _number(name: str, kind: str, least: int, most: int) -> int | None:
    said, colon, number = name.partition(":")
    if said != kind or not colon:
        return None
    if not (number.isascii() and number.isdigit() and len(number) < 12 and least <= int(number) <= most):
        raise InputError(
            f'"{kind}:N" is a vocabulary of N, a whole number from {least:,} to {most:,}; is {name[:60]!r}'
        )
    return int(number)


def read(path: Path) -> SubwordTokenizer:
    """The tokenizer of a `tokenizer.json`. Raises InputError for a file that is none."""
    found = SubwordTokenizer(read_text(path, limit=_LARGEST), str(path))
    _ = found.start  # read it now: what is wrong is said where it is named
    return found


def train_bpe(texts: Iterable[str], size: int) -> SubwordTokenizer:
    """Byte-level BPE of `size` ids (256 bytes and merges), learned from `texts`; fewer where they end."""
    try:
        from tokenizers import Tokenizer as Made
        from tokenizers import decoders, models, pre_tokenizers, trainers
    except ImportError:
        raise InputError(f'tokenizer "bpe:{size}": the package `tokenizers` trains it; {INSTALL}') from None
    made = Made(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[],
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    return SubwordTokenizer(made.to_str(), f"bpe:{size}")
