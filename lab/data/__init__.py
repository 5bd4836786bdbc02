"""Data of a run: sources, byte and symbol tokens, batches as a pure function of (study order, step)."""

from lab.data.config import DataConfig
from lab.data.dataset import UNSCORED, Dataset, Validation
from lab.data.load import load
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
]
