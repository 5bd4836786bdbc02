"""What a model without a network makes of a study's texts: `baselines/<data>.json`, in about a second each.

Modified Kneser-Ney 5-grams of as many tokens as the longest run saw, at most MOST, on the validation windows
of the runs: the line that a network has to be worth.
"""

import time

import numpy as np

from lab import files
from lab.data import Dataset
from lab.errors import InputError
from sweeps.plan.cells import Plan
from sweeps.store.store import Store

FOLDER = "baselines"
ORDER, MOST = 5, 10_000_000
_HELD = 20  # bytes of an n-gram as it is held: its number, its probability, its context's share


def write(store: Store, plan: Plan) -> list[str]:
    """Count what is not there yet; returns a line for each text that cannot be counted."""
    problems = []
    for dataset, tokens in _texts(plan):
        path = store.root / FOLDER / f"{dataset.digest[:12]}.json"
        try:
            known = files.read_json(path, store.root)
        except files.Refused:
            known = None
        if isinstance(known, dict) and known.get("tokens", 0) >= tokens - dataset.context:
            continue
        about = {"source": dataset.config.label, "data_digest": dataset.digest}
        try:
            files.write_json(path, about | _counted(dataset, tokens), store.root)
        except InputError as error:
            problems.append(f"no n-grams of {dataset.config.label}: {error.problems[0]}")
    return problems


def _texts(plan: Plan) -> list[tuple[Dataset, int]]:
    """Each data set of text, with an end, that cells train on, and tokens to count."""
    most: dict[str, tuple[Dataset, int]] = {}
    for cell in plan.cells:
        dataset = plan.dataset(cell.config)
        if dataset.unique_tokens is None or dataset.config.tasks:
            continue
        tokens = min(cell.config.steps * cell.config.batch_tokens, dataset.unique_tokens, MOST)
        if dataset.digest not in most or most[dataset.digest][1] < tokens:
            most[dataset.digest] = dataset, tokens
    return list(most.values())


def _counted(dataset: Dataset, tokens: int) -> dict:
    from lab.evaluation.ngram import baseline

    order = min(ORDER, int(63 / np.log2(dataset.vocab_size + 1)))
    started = time.process_time()
    found = baseline(dataset, order, tokens)
    names = ("order", "tokens", "ngrams", "loss_nats", "bits_per_byte", "windows")
    took = {"bytes": _HELD * found["ngrams"], "cpu_seconds": time.process_time() - started}
    return {**{name: found[name] for name in names}, **took}
