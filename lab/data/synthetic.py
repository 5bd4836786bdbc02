"""A source whose entropy rate is known exactly, and on which loss falls as a power of tokens.

A record is three symbols: a context, written as two digits, and a value. Contexts follow Zipf's law
p_k ~ k^-a, k = 1..K, and each context has its own fixed random distribution of values. Records are
independent and a sequence starts with one, so the entropy rate is the entropy of a record by three, borders
included:

    H = (H(p) + sum_k p_k H(q_k)) / 3  nats a token.

What has to be learned is a table of K distributions, met at Zipf-distributed rates. After D tokens the
contexts up to rank ~ D^(1/a) are known, so the excess of an ideal learner falls as D^-(1 - 1/a) until the
rarest context has been seen (`excess_loss` has the sum, no fit in it). A model that has room for n contexts
is left with n^-(a - 1) in the same way. Sources: Hutter 2021 (2102.04074), equation 9; Michaud et al. 2023
(2303.13506), section 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lab.data.blocks import BLOCK, Blocks, fingerprint
from lab.data.config import DataConfig
from lab.data.dataset import UNSCORED, Dataset, Validation
from lab.draws import Draws, thresholds
from lab.tokenizers import SymbolTokenizer

RECORD = 3  # symbols: two digits of the context, one value
VALUES = 16
# Values follow Dirichlet(1/2, ..., 1/2), under which the Bayes learner is the add-1/2 rule of Krichevsky and
# Trofimov (1981).
PRIOR = 0.5
# Probabilities of values are whole multiples of 1 / this: they are known exactly, and a value is drawn by
# one look-up.
LEVELS = 2**10


@dataclass(frozen=True)
class Source:
    """The law of the records.

    `context_thresholds` are in units of 2^-32, `value_counts_KxV` in units of 1 / LEVELS: whole numbers, so
    that the law is the same on every machine and its entropy has no error.
    """

    contexts: int
    side: int  # digits of a context are below this
    context_thresholds: np.ndarray
    value_counts_KxV: np.ndarray

    @property
    def tokenizer(self) -> SymbolTokenizer:
        """Digits first, then values: visible characters, one a symbol."""
        visible = (chr(code) for code in range(33, 0x2000))
        characters = [c for c in visible if c.isalnum()][: self.side + VALUES]
        return SymbolTokenizer("".join(characters))

    @property
    def context_probabilities(self) -> np.ndarray:
        """p_k, shape (K,)."""
        edges = np.concatenate([[0], self.context_thresholds, [2**32]]).astype(np.float64)
        return np.diff(edges) / 2.0**32

    @property
    def value_probabilities(self) -> np.ndarray:
        """q_kv, shape (K, VALUES)."""
        return self.value_counts_KxV / LEVELS

    @property
    def entropy_rate(self) -> float:
        """Nats a token, exact."""
        p = self.context_probabilities
        return float((_entropy(p) + p @ _entropy(self.value_probabilities)) / RECORD)

    @cached_property
    def _symbol_of_level(self) -> np.ndarray:
        """Symbol of the value at each of a context's LEVELS equally likely levels, flat: (K * LEVELS,)."""
        symbols = np.tile(np.arange(self.side, self.side + VALUES, dtype=np.uint8), self.contexts)
        return np.repeat(symbols, self.value_counts_KxV.ravel())

    def symbols(self, draws: Draws, sequences: int, records: int) -> np.ndarray:
        """Records of independent draws: uint8 of shape (sequences, RECORD * records)."""
        count = sequences * records
        context = np.searchsorted(self.context_thresholds, draws.uint32(count), side="right")
        record = np.empty((count, RECORD), np.uint8)
        record[:, 0], record[:, 1] = np.divmod(context.astype(np.uint16), np.uint16(self.side))
        record[:, 2] = self._symbol_of_level[context * LEVELS + draws.below(LEVELS, count)]
        return record.reshape(sequences, RECORD * records)


def source(contexts: int, zipf: float) -> Source:
    """The source of a number of contexts and an exponent; its tables of values are always the same."""
    draws = Draws("synthetic tables", contexts)
    # The square of a normal draw (Box and Muller) is Gamma(1/2); such draws over their sum are
    # Dirichlet(1/2).
    radius, angle = (draws.uint32(2, contexts, VALUES) + 0.5) / 2.0**32
    weights = -np.log(radius) * np.cos(2 * np.pi * angle) ** 2
    cumulative = np.cumsum(weights, axis=1)
    levels = np.rint(cumulative / cumulative[:, -1:] * LEVELS).astype(np.int64)
    return Source(
        contexts=contexts,
        side=math.isqrt(contexts - 1) + 1,
        context_thresholds=thresholds(np.arange(1, contexts + 1) ** -float(zipf)),
        value_counts_KxV=np.diff(levels, axis=1, prepend=0),
    )


def load(config: DataConfig, digest_of: Callable[..., str]) -> Dataset:
    """The stream as a data set: `<start>`, then as many whole records as fit; the rest is not scored."""
    law = source(config.contexts, config.zipf)
    tokenizer = law.tokenizer

    def rows(count: int, *key: str | int) -> tuple[np.ndarray, np.ndarray]:
        symbols = law.symbols(Draws("synthetic", *key), count, config.context // RECORD)
        return frame(symbols, config.context, tokenizer)

    stream = Blocks(
        lambda j: rows(BLOCK, "training", config.order_seed, j),
        None if config.max_tokens is None else config.max_tokens // config.context,
    )
    inputs, targets = rows(config.val_windows, "validation")
    validation = Validation(
        inputs.astype(np.int32), targets.astype(np.int32), (targets != UNSCORED).sum(axis=1)
    )
    content = fingerprint(law.context_thresholds, law.value_counts_KxV)
    return Dataset(
        config=config,
        digest=digest_of(config, tokenizer.digest, content),
        tokenizer=tokenizer,
        bytes_per_token=config.context // RECORD * RECORD / config.context,
        entropy_rate=law.entropy_rate,
        rows=stream,
        fixed_validation=validation,
        facts={
            "contexts": law.contexts,
            "records_a_sequence": config.context // RECORD,
            "exponent_in_tokens": 1 - 1 / config.zipf,
        },
    )


def frame(symbols: np.ndarray, context: int, tokenizer: SymbolTokenizer) -> tuple[np.ndarray, np.ndarray]:
    """Inputs `<start> s1 s2 ...` and targets `s1 s2 ...`, (N, T) int16, filled up with unscored `<end>`."""
    count, length = symbols.shape
    targets = np.full((count, context), UNSCORED, np.int16)
    targets[:, :length] = symbols
    inputs = np.full((count, context), tokenizer.end, np.int16)
    inputs[:, 0] = tokenizer.start
    inputs[:, 1:length] = symbols[:, :-1]
    return inputs, targets


def excess_loss(law: Source, tokens: float | np.ndarray) -> np.ndarray:
    """Expected loss above the entropy rate, in nats a token, of the ideal learner after D tokens (any shape).

    The learner knows the law of contexts and predicts values by the Bayes rule (m_kv + 1/2) / (c_k + V/2)
    from the counts of the D / 3 records seen. With E the expectation over Poisson counts,

        excess(D) = 1/3 sum_k p_k (E log(c_k + V/2) - sum_v q_kv E log(m_kv + 1/2) - H(q_k)),
        c_k ~ Poisson(p_k D/3),  m_kv ~ Poisson(p_k q_kv D/3).

    No learner without knowledge of the tables does better on average over tables drawn from the prior.
    """
    p, q = law.context_probabilities, law.value_probabilities
    return np.vectorize(lambda d: _excess(p, q, d / RECORD))(np.asarray(tokens, np.float64))


def _excess(p: np.ndarray, q: np.ndarray, records: float) -> float:
    seen_K = _mean_log_poisson(records * p, VALUES * PRIOR)
    seen_KxV = _mean_log_poisson(records * p[:, None] * q, PRIOR)
    return float(p @ (seen_K - (q * seen_KxV).sum(axis=1) - _entropy(q)) / RECORD)


def _mean_log_poisson(mean: np.ndarray, shift: float) -> np.ndarray:
    """E log(n + shift) for n ~ Poisson(mean): summed up to a mean of 400, expanded in 1/mean above.

    Between the nodes of a fine grid the sum is interpolated, relative to log(mean + shift), which has its
    shape.
    """
    nodes = np.concatenate([[0.0], np.geomspace(1e-6, 400, 2000)])
    counts = np.arange(700)
    log_factorial = np.array([math.lgamma(n + 1) for n in counts])
    safe = np.maximum(nodes, 1e-300)[:, None]
    pmf = np.exp(counts * np.log(safe) - safe - log_factorial)
    offsets = pmf @ np.log(counts + shift) - np.log(nodes + shift)
    near = np.interp(mean, nodes, offsets)
    total = mean + shift
    far = -mean / (2 * total**2) + mean / (3 * total**3) - (3 * mean**2 + mean) / (4 * total**4)
    return np.log(total) + np.where(mean < 400, near, far)


def _entropy(probabilities: np.ndarray) -> np.ndarray:
    """Nats, over the last axis."""
    safe = np.where(probabilities > 0, probabilities, 1.0)
    return -(safe * np.log(safe)).sum(axis=-1)
