"""A mixture of texts at stated rates: each row is a window of one of them, and which is known by its number.

In every `BLOCK` rows a source has its share, to within one row, at random places; each goes through epochs of
its own, in an order of its own, as if it were trained on alone. The validation set has as many windows of
each source whatever the rates, so that the losses of runs of different rates compare; each source is scored
alone too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lab.data.config import DataConfig
from lab.data.dataset import Dataset, Validation
from lab.data.order import Order
from lab.draws import Draws

BLOCK = 1 << 14  # rows in which every source has its share


@dataclass(frozen=True)
class Blend:
    """Rows of several data sets of one tokenizer and context. Endless."""

    parts: tuple[Dataset, ...]
    shares: tuple[float, ...]
    seed: int
    unique: None = None

    def take(self, rows_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets (N, T), int32."""
        kind_N, place_N = self.places(rows_N)
        context = self.parts[0].context
        inputs = np.empty((len(rows_N), context), np.int32)
        targets = np.empty_like(inputs)
        for k in np.unique(kind_N):
            rows, chosen = self.parts[k].rows, kind_N == k
            order = _order(self.seed, rows.unique, int(k))
            inputs[chosen], targets[chosen] = rows.take(order.of(place_N[chosen]))
        return inputs, targets

    def places(self, rows_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of each row: its source, and how many rows of that source come before it."""
        kinds = np.empty(len(rows_N), np.int64)
        places = np.empty(len(rows_N), np.int64)
        blocks, at = np.divmod(rows_N, BLOCK)
        for block in np.unique(blocks):
            kind, place = _block(self.shares, self.seed, int(block))
            chosen = blocks == block
            kinds[chosen], places[chosen] = kind[at[chosen]], place[at[chosen]]
        return kinds, places


def _before(shares: tuple[float, ...], rows: int) -> np.ndarray:
    """Rows of each source among the first so many: each share, rounded so that they add up."""
    edges = np.round(np.cumsum((0.0, *shares)) / sum(shares) * rows).astype(np.int64)
    return np.diff(edges)


@lru_cache(maxsize=16)
def _block(shares: tuple[float, ...], seed: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    first, beyond = _before(shares, block * BLOCK), _before(shares, (block + 1) * BLOCK)
    kinds = np.repeat(np.arange(len(shares)), beyond - first)
    kinds = kinds[Draws("sources", seed, block).permutations(1, len(kinds))[0]]
    places = np.empty(len(kinds), np.int64)
    for k in range(len(shares)):
        places[kinds == k] = np.arange(first[k], beyond[k])
    return kinds, places


@lru_cache(maxsize=16)
def _order(seed: int, unique: int, source: int) -> Order:
    return Order(seed, unique)


def load(config: DataConfig, parts: Mapping[str, Dataset], digest_of: Callable[..., str]) -> Dataset:
    """The mixture of data sets that were loaded alone, by the names and rates of `config`."""
    names = list(config.sources)
    used = [name for name in names if config.shares[name] > 0]
    shares = tuple(config.shares[name] for name in used)
    each = max(1, config.val_windows // len(names))
    held = [_first(parts[name].validation(), each) for name in names]
    joined = Validation(
        *(np.concatenate([getattr(v, f) for v in held]) for f in ("inputs_WxT", "targets_WxT", "bytes_W"))
    )
    tokenizer = parts[names[0]].tokenizer
    said = json.dumps([[name, config.shares[name], parts[name].digest] for name in names])
    return Dataset(
        config=config,
        digest=digest_of(config, tokenizer.digest, "mixture", said),
        tokenizer=tokenizer,
        bytes_per_token=float(sum(s * parts[n].bytes_per_token for s, n in zip(shares, used, strict=True))),
        entropy_rate=None,
        rows=Blend(tuple(parts[name] for name in used), shares, config.order_seed),
        fixed_validation=joined,
        source_validation=dict(zip(names, held, strict=True)),
        facts={
            "preparation": "\n".join(
                told for name in names if (told := str(parts[name].facts.get("preparation") or ""))
            )
            or None,
            "rates": config.shares,
            "unique_tokens_of": {name: parts[name].unique_tokens for name in names},
            "validation_windows_of": {n: len(v.bytes_W) for n, v in zip(names, held, strict=True)},
        },
    )


def _first(held: Validation, count: int) -> Validation:
    """So many windows, spread evenly."""
    chosen = np.linspace(0, len(held.bytes_W) - 1, min(count, len(held.bytes_W))).round().astype(np.int64)
    return Validation(held.inputs_WxT[chosen], held.targets_WxT[chosen], held.bytes_W[chosen])
