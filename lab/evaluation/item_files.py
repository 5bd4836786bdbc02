"""`items.parquet` of a run folder: what the model gave on every item of every task, one row an item."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lab.evaluation.metrics import ItemScores
from lab.files import writing


def write(path: Path, scores: list[ItemScores], root: Path | None = None) -> None:
    """Replace the file, atomically. Columns:

    task, item (its number in the task's test set, the same for every run), difficulty, cluster, factors (as
    `name=value` joined by spaces), tokens, gold_nats (summed over the answer's tokens), tokens_right,
    correct, choice_log (list of log-probabilities, null without choices), gold_choice, text, parsed.
    """
    import pyarrow as pa
    from pyarrow import parquet

    def column(make, kind):
        return pa.concat_arrays([pa.array(make(s), kind) for s in scores])

    def missing(value, s):
        return [None] * len(s) if value is None else value

    columns = {
        "task": column(lambda s: [s.task] * len(s), pa.string()).dictionary_encode(),
        "item": column(lambda s: np.arange(len(s)), pa.int32()),
        "difficulty": column(lambda s: s.difficulty_N, pa.int32()),
        "cluster": column(lambda s: s.cluster_N, pa.int32()),
        "factors": column(_factors, pa.string()).dictionary_encode(),
        "tokens": column(lambda s: s.tokens_N, pa.int16()),
        "gold_nats": column(lambda s: np.asarray(s.nats_N, np.float32), pa.float32()),
        "tokens_right": column(lambda s: s.tokens_right_N, pa.int16()),
        "correct": column(lambda s: s.correct_N, pa.bool_()),
        "choice_log": column(_choices, pa.list_(pa.float16())),
        "gold_choice": column(lambda s: missing(s.gold_choice_N, s), pa.int16()),
        "text": column(lambda s: missing(s.texts, s), pa.string()),
        "parsed": column(lambda s: missing(s.parsed_N, s), pa.bool_()),
    }
    with writing(path, root) as file:
        parquet.write_table(pa.table(columns), file, compression="zstd")


def _factors(s: ItemScores) -> list[str]:
    names = sorted(s.factors)
    if not names:
        return [""] * len(s)
    values = zip(*(np.asarray(s.factors[name]).tolist() for name in names), strict=True)
    return [" ".join(f"{n}={v}" for n, v in zip(names, row, strict=True)) for row in values]


def _choices(s: ItemScores) -> list:
    if s.choice_log_NxC is None:
        return [None] * len(s)
    return list(np.asarray(s.choice_log_NxC, np.float16))
