"""A mixture of ability tasks at stated rates, alone or with a text: one item or one window a row.

Of an item, the answer and its `<end>` are scored; of a window of text, every token.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lab.abilities import Items, Task, find
from lab.abilities.sets import TOKENIZER, ability_set, lay_out, training_items, validation_items
from lab.data.blocks import BLOCK, Blocks, fingerprint
from lab.data.config import TEXT, DataConfig
from lab.data.dataset import Dataset, Validation
from lab.data.order import Order
from lab.draws import Draws
from lab.tokenizers import Tokenizer

Rows = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Mixture:
    """Tasks in the order of their names, then the text if there is one, and the share of the rows of each."""

    tasks: tuple[Task, ...]
    rates: np.ndarray
    context: int
    seed: int
    text: Dataset | None = None

    @property
    def tokenizer(self) -> Tokenizer:
        return self.text.tokenizer if self.text else TOKENIZER

    def block(self, j: int) -> Rows:
        """Rows of block j, int16. Every task draws from a stream of its own."""
        kind_of_row = Draws("mixture", self.seed, j).choice(self.rates, BLOCK)
        counts = np.bincount(kind_of_row, minlength=len(self.rates))
        parts = [
            self._laid_out(
                task, training_items(task, Draws("training items", task.name, self.seed, j), int(count))
            )
            for task, count in zip(self.tasks, counts, strict=False)
        ]
        if self.text:
            # each row number has its window in the text's own order, so none comes twice in an epoch of rows
            order = Order(self.seed, self.text.rows.unique).rows(j * BLOCK, BLOCK)
            parts.append(self.text.rows.take(order[kind_of_row == len(self.tasks)]))
        return self._placed(kind_of_row, parts)

    def validation(self, at_most: int) -> Validation:
        """Held-out items and windows in the proportions of the mixture; fewer where a task has too few."""
        items = [validation_items(task, at_most) for task in self.tasks]
        held = self.text.validation() if self.text else None
        sizes = [len(drawn) for drawn in items] + ([len(held.bytes_W)] if held else [])
        available = np.array(sizes)
        total = min(at_most, int((available / self.rates).min()))
        counts = np.clip(np.rint(self.rates * total).astype(int), 1, available)
        parts = [
            self._laid_out(task, drawn.pick(slice(count)))
            for task, drawn, count in zip(self.tasks, items, counts, strict=False)
        ]
        end = self.tokenizer.end
        symbols = [((targets >= 0) & (targets != end)).sum(axis=1) for _, targets in parts]
        if held:
            chosen = np.linspace(0, len(held.bytes_W) - 1, counts[-1]).round().astype(np.int64)
            parts.append((held.inputs_WxT[chosen], held.targets_WxT[chosen]))
            symbols.append(held.bytes_W[chosen])
        inputs, targets = self._placed(np.repeat(np.arange(len(counts)), counts), parts)
        return Validation(inputs.astype(np.int32), targets.astype(np.int32), np.concatenate(symbols))

    @property
    def entropy_rate(self) -> float | None:
        """Nats a scored token: only an answer that the prompt leaves open has any. None with a text."""
        if self.text:
            return None
        entropies = np.array([task.answer_entropy for task in self.tasks])
        scored = np.array([task.answer_length - len(task.given) + 1 for task in self.tasks])
        return float(self.rates @ entropies / (self.rates @ scored))

    def _laid_out(self, task: Task, items: Items) -> Rows:
        return lay_out(task, items, self.context, self.tokenizer)

    def _placed(self, kind_of_row: np.ndarray, parts: list[Rows]) -> Rows:
        inputs = np.empty((len(kind_of_row), self.context), np.int16)
        targets = np.empty_like(inputs)
        for kind, (own_inputs, own_targets) in enumerate(parts):
            inputs[kind_of_row == kind], targets[kind_of_row == kind] = own_inputs, own_targets
        return inputs, targets


def load(config: DataConfig, digest_of: Callable[..., str], text: Dataset | None = None) -> Dataset:
    """The mixture of `config.tasks`. Rates count rows and are normalised, so any unit does.

    Args:
        text: the text whose rate is `config.tasks["text"]`, loaded alone.
    """
    names = sorted(name for name in config.tasks if name != TEXT)
    shared = [*names, TEXT] if text else names
    rates = np.array([config.tasks[name] for name in shared], np.float64)
    rates /= rates.sum()
    tasks = tuple(find(name) for name in names)
    mixture = Mixture(tasks, rates, config.context, config.order_seed, text)
    shares = dict(zip(shared, rates.tolist(), strict=True))
    rows = Blocks(mixture.block, None if config.max_tokens is None else config.max_tokens // config.context)
    validation = mixture.validation(config.val_windows)
    scored = {name: find(name) for name in (*names, *config.eval_tasks)}
    tests = {
        name: ability_set(task, config.eval_items, config.context, mixture.tokenizer)
        for name, task in scored.items()
    }
    held_out = [array for test in tests.values() for array in (test.inputs_NxT, test.targets_NxT)]
    content = fingerprint(*mixture.block(0), validation.inputs_WxT, validation.targets_WxT, *held_out)
    contents = (mixture.tokenizer.digest, json.dumps(shares), content)
    lengths = [task.row_length - 1 for task in tasks]
    bytes_a_row = [*lengths, text.bytes_per_token * config.context] if text else lengths
    return Dataset(
        config=config,
        digest=digest_of(config, *((text.digest, *contents) if text else contents)),
        tokenizer=mixture.tokenizer,
        bytes_per_token=float(rates @ bytes_a_row) / config.context,
        entropy_rate=mixture.entropy_rate,
        rows=rows,
        fixed_validation=validation,
        tests=tests,
        text_validation=text.validation() if text else None,
        facts={
            "preparation": text.facts.get("preparation") if text else None,
            "task_rates": shares,
            "test_items": {name: len(test.inputs_NxT) for name, test in tests.items()},
            "validation_rows": len(validation.bytes_W),
        },
    )
