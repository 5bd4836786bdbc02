"""Data of a run: sources, tokens in shards, batches as a pure function of (study order, step)."""

from lab.data.config import DataConfig
from lab.data.dataset import UNSCORED, Dataset, Validation
from lab.data.load import load, tokenizer_of
from lab.tokenizers import ByteTokenizer, SymbolTokenizer, Tokenizer

__all__ = [
    "UNSCORED",
    "ByteTokenizer",
    "DataConfig",
    "Dataset",
    "SymbolTokenizer",
    "Tokenizer",
    "Validation",
    "load",
    "tokenizer_of",
]
