"""A mixture of ability tasks at stated rates: one item a row, scored on its answer and `<end>` only."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lab.abilities import TASKS, Items, Task
from lab.abilities.sets import TOKENIZER, ability_set, lay_out, test_items, training_items
from lab.data.blocks import BLOCK, Blocks, fingerprint
from lab.data.config import DataConfig
from lab.data.dataset import Dataset, Validation
from lab.data.draws import Draws


@dataclass(frozen=True)
class Mixture:
    """Tasks in the order of their names, and the share of the rows that each of them has."""

    tasks: tuple[Task, ...]
    rates: np.ndarray
    context: int
    seed: int

    def block(self, j: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of block j, int16. Every task draws from a stream of its own."""
        task_of_row = Draws("mixture", self.seed, j).choice(self.rates, BLOCK)
        counts = np.bincount(task_of_row, minlength=len(self.tasks))
        items = [
            training_items(task, Draws("training items", task.name, self.seed, j), int(count))
            for task, count in zip(self.tasks, counts, strict=True)
        ]
        return self.rows(task_of_row, items)

    def rows(self, task_of_row: np.ndarray, items: list[Items]) -> tuple[np.ndarray, np.ndarray]:
        """Items of all tasks put in the rows of their task."""
        inputs = np.empty((len(task_of_row), self.context), np.int16)
        targets = np.empty_like(inputs)
        for index, (task, drawn) in enumerate(zip(self.tasks, items, strict=True)):
            chosen = task_of_row == index
            inputs[chosen], targets[chosen] = lay_out(task, drawn, self.context)
        return inputs, targets

    def validation(self, at_most: int) -> Validation:
        """Held-out items in the proportions of the mixture; fewer rows where a task has too few items."""
        items = [test_items(task, at_most) for task in self.tasks]
        available = np.array([len(drawn) for drawn in items])
        total = min(at_most, int((available / self.rates).min()))
        counts = np.clip(np.rint(self.rates * total).astype(int), 1, available)
        chosen = [drawn.pick(slice(count)) for drawn, count in zip(items, counts, strict=True)]
        inputs, targets = self.rows(np.repeat(np.arange(len(self.tasks)), counts), chosen)
        symbols = ((targets >= 0) & (targets != TOKENIZER.end)).sum(axis=1)
        return Validation(inputs.astype(np.int32), targets.astype(np.int32), symbols)

    @property
    def entropy_rate(self) -> float:
        """Nats a scored token: only an answer that the prompt leaves open has any."""
        entropies = np.array([task.answer_entropy for task in self.tasks])
        scored = np.array([task.answer_length + 1 for task in self.tasks])
        return float(self.rates @ entropies / (self.rates @ scored))


def load(config: DataConfig, digest_of: Callable[..., str]) -> Dataset:
    """The mixture of `config.tasks`. Rates count rows and are normalised, so any unit does."""
    names = sorted(config.tasks)
    rates = np.array([config.tasks[name] for name in names], np.float64)
    rates /= rates.sum()
    mixture = Mixture(tuple(TASKS[name] for name in names), rates, config.context, config.order_seed)
    shares = dict(zip(names, rates.tolist(), strict=True))
    rows = Blocks(mixture.block, None if config.max_tokens is None else config.max_tokens // config.context)
    validation = mixture.validation(config.val_windows)
    tests = {task.name: ability_set(task, config.eval_items, config.context) for task in mixture.tasks}
    held_out = [array for test in tests.values() for array in (test.inputs_NxT, test.targets_NxT)]
    content = fingerprint(*mixture.block(0), validation.inputs_WxT, validation.targets_WxT, *held_out)
    return Dataset(
        config=config,
        digest=digest_of(config, TOKENIZER.digest, json.dumps(shares), content),
        tokenizer=TOKENIZER,
        bytes_per_token=float(rates @ [task.row_length - 1 for task in mixture.tasks]) / config.context,
        entropy_rate=mixture.entropy_rate,
        rows=rows,
        fixed_validation=validation,
        tests=tests,
        facts={
            "task_rates": shares,
            "test_items": {name: len(test.inputs_NxT) for name, test in tests.items()},
            "validation_rows": len(validation.bytes_W),
        },
    )
