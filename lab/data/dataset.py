"""A loaded data set: batches by step, one fixed validation set, test items of abilities."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lab.data.config import DataConfig
from lab.data.order import Order
from lab.tokenizers import Tokenizer

if TYPE_CHECKING:
    from lab.abilities.items import AbilitySet

UNSCORED = -1


class Rows(Protocol):
    """Training sequences by number. `unique` is how many there are, None for an endless stream."""

    unique: int | None

    def take(self, rows_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of shape (N, T), int32; targets of -1 are not scored."""
        ...


@dataclass(frozen=True)
class Validation:
    """The fixed validation set, the same for every run of a study.

    W windows of T tokens. `bytes_W` counts the bytes of text that the scored targets of a window stand for,
    so bits per byte are the summed nats / ln 2 / the summed bytes: of the raw UTF-8, without marks. A symbol
    of a made-up source counts as one byte; ids whose text is not known stand for none.
    """

    inputs_WxT: np.ndarray  # int32
    targets_WxT: np.ndarray  # int32, -1 is not scored
    bytes_W: np.ndarray  # int64

    def bits_per_byte(self, nats: float) -> float | None:
        """Of the summed nats of all scored targets; None where their text is not known."""
        total = int(self.bytes_W.sum())
        return float(nats / np.log(2) / total) if total else None

    @property
    def scored(self) -> int:
        """Number of scored targets."""
        return int((self.targets_WxT != UNSCORED).sum())


@dataclass(frozen=True)
class Dataset:
    """What `load` returns. The state of the data is the step number and nothing else.

    Attributes:
        config: what was asked for, with nothing left unset.
        digest: SHA-256 (hex) of all that defines the token stream and the validation set.
        tokenizer: encode, decode, start, end, digest.
        unique_tokens: tokens of one epoch; None: endless.
        bytes_per_token: bytes of text a training token, document marks included.
        entropy_rate: exact nats a scored token where the source is known, else None.
        source_validation: of a mixture of texts: its windows of each, by name.
        text_validation: windows of the text alone, where tasks are mixed with one.
        held_tokens: of a text: the whole stream that the validation windows are taken from.
        facts: counts for people (`lab data inspect`): documents, duplicates dropped, split, cache place,
        ...
    """

    config: DataConfig
    digest: str
    tokenizer: Tokenizer
    bytes_per_token: float
    entropy_rate: float | None
    rows: Rows = field(repr=False)
    fixed_validation: Validation = field(repr=False)
    tests: dict[str, AbilitySet] = field(default_factory=dict, repr=False)
    text_validation: Validation | None = field(default=None, repr=False)
    source_validation: dict[str, Validation] = field(default_factory=dict, repr=False)
    held_tokens: np.ndarray | None = field(default=None, repr=False)
    facts: dict[str, object] = field(default_factory=dict, repr=False)

    @property
    def vocab_size(self) -> int:
        return self.tokenizer.vocab_size

    @property
    def context(self) -> int:
        return self.config.context

    @property
    def unique_tokens(self) -> int | None:
        return None if self.rows.unique is None else self.rows.unique * self.context

    @cached_property
    def _order(self) -> Order:
        return Order(self.config.order_seed, self.rows.unique)

    def batches(self, first_step: int, steps: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of `steps` steps from `first_step` on, each (steps, batch, T) int32.

        A pure function: step s of batch size B is sequences s*B to (s+1)*B - 1 of the one order.
        """
        inputs, targets = self.rows.take(self._order.rows(first_step * batch, steps * batch))
        return inputs.reshape(steps, batch, -1), targets.reshape(steps, batch, -1)

    def validation(self) -> Validation:
        return self.fixed_validation

    def ability_sets(self) -> dict[str, AbilitySet]:
        """Test items by task, none of them ever trained on. Empty for text."""
        return self.tests
