"""Tokenizers that need no training: bytes, and the symbols of an alphabet.

Byte tokens make the loss comparable across everything (nats a byte) and leave no embedding table to
confound the parameter count of small models.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lab.errors import InputError


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
