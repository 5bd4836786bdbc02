"""When a run counts as diverged: a pure rule over its record, the same however it was interrupted.

A run has diverged when its loss or gradient is not finite; when its training loss stays above that of a
uniform guess by more than ``MARGIN_NATS`` for ``PATIENCE_STEPS`` steps together; or when it ends with such a
loss on the validation set. An untrained model has a loss of ln V, so a spike below that is left alone:
the run may recover, and its loss is a result.
"""

from collections.abc import Iterable, Mapping
from math import log

import numpy as np

MARGIN_NATS = 1.0
PATIENCE_STEPS = 60


def limit(vocab: int) -> float:
    """The loss, nats a token, above which a model knows less than nothing."""
    return log(vocab) + MARGIN_NATS


def first_not_finite(*series: np.ndarray) -> int | None:
    """Index of the first step at which one of the series (n,) is not finite."""
    bad = np.flatnonzero(~np.isfinite(np.stack(series)).all(axis=0))
    return int(bad[0]) if bad.size else None


def last_fine(lines: Iterable[Mapping], vocab: int) -> int:
    """The last step whose record is not above the limit; 0 where there is none."""
    return max((line["step"] for line in lines if line.get("loss_nats", np.inf) <= limit(vocab)), default=0)


def blown_up(step: int, fine: int) -> str | None:
    """The reason, when the records since step ``fine`` were all above the limit and that is long enough."""
    if step - fine < PATIENCE_STEPS:
        return None
    return f"training loss more than {MARGIN_NATS:g} nats above ln V from step {fine + 1} to {step}"


def ends_above(loss_nats: float, vocab: int) -> str | None:
    """The reason, when a validation loss is above the limit or not finite."""
    if loss_nats <= limit(vocab):
        return None
    return f"validation loss {loss_nats:.3g}, more than {MARGIN_NATS:g} nats above ln V = {log(vocab):.3g}"
