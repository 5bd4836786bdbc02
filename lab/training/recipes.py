"""Published laws of the learning rate and the batch size, as pure functions of counted parameters.

They disagree by an order of magnitude and more at small sizes, since each was fitted far above them: a study
fits its own (``analysis.rates``), or uses a parametrisation under which rates transfer. N below is what each
source counted; D tokens, B batch tokens.

* ``step`` (2503.04715): peak rate 1.79 N^-0.713 D^0.307, B = 0.58 D^0.571; N without embeddings and head.
* ``porian`` (2406.19146, section 3 and table 4): rate 0.0047 (N / 108e6)^(-1/3), B = 160 (N / 108e6)^(2/3)
  sequences of 2048 tokens; N with the head, without the input table. It wants beta2 of 0.99 and more for
  small batches.
* ``deepseek`` (2401.02954, equation 1): rate 0.3118 C^-0.1250, B = 0.2920 C^0.3271, C = M D with
  M = 72 L d^2 + 12 L d T non-embedding FLOPs a token, where 12 L d^2 are the attention and MLP matrices.
* ``kaplan`` (2001.08361, appendix D.6): rate 0.003239 - 0.0001395 ln N; N without embeddings; no batch law in
  N and D, as its critical batch follows the loss.
"""

from dataclasses import dataclass, replace
from math import log
from typing import get_args

from lab.config import BatchLaw, RateLaw, RunConfig
from lab.errors import InputError
from lab.model import accounting
from lab.strict import nearest, problems_of

SOURCES = {
    "step": "2503.04715",
    "porian": "2406.19146",
    "deepseek": "2401.02954",
    "kaplan": "2001.08361",
}
_PORIAN_PARAMS, _PORIAN_CONTEXT = 108e6, 2048


@dataclass(frozen=True)
class Counts:
    """What the laws ask of a model; numbers of parameters."""

    matrices: float  # attention and MLP
    vectors: float
    head: float
    layers: int
    width: int
    context: int

    @property
    def without_embeddings(self) -> float:
        return self.matrices + self.vectors

    @property
    def with_head(self) -> float:
        return self.matrices + self.vectors + self.head

    @property
    def flops_per_token(self) -> float:
        """DeepSeek's M: 6 a matrix parameter, and attention over the full square, forward and backward."""
        return 6 * self.matrices + 12 * self.layers * self.width * self.context


def counts(config: RunConfig, vocab: int) -> Counts:
    """From the initialised shapes."""
    params = accounting.count_params(config.model, vocab)
    return Counts(
        params.matrices,
        params.vectors,
        params.head,
        config.model.layers,
        config.model.width,
        config.data.context,
    )


def learning_rate(law: RateLaw, params: Counts, tokens: float) -> float:
    """Peak learning rate of AdamW by a published law.

    Raises:
        InputError: for an unknown law, or a size at which the law gives none above 0.
    """
    match law:
        case "step":
            return 1.79 * params.without_embeddings**-0.713 * tokens**0.307
        case "porian":
            return 0.0047 * (params.with_head / _PORIAN_PARAMS) ** (-1 / 3)
        case "deepseek":
            return 0.3118 * (params.flops_per_token * tokens) ** -0.1250
        case "kaplan":
            N = params.without_embeddings
            rate = 0.003239 - 0.0001395 * log(N)
            if rate <= 0:
                raise InputError(f"learning_rate_law: kaplan gives no rate above 0 for {N:.3g} params")
            return rate
    raise InputError(f"learning_rate_law: no law {law!r}; {nearest(law, get_args(RateLaw))}")


def batch_tokens(law: BatchLaw, params: Counts, tokens: float) -> float:
    """Tokens a batch by a published law, not rounded.

    Raises:
        InputError: for an unknown law.
    """
    match law:
        case "step":
            return 0.58 * tokens**0.571
        case "porian":
            return 160 * (params.with_head / _PORIAN_PARAMS) ** (2 / 3) * _PORIAN_CONTEXT
        case "deepseek":
            return 0.2920 * (params.flops_per_token * tokens) ** 0.3271
    raise InputError(f"batch_law: no law {law!r}; {nearest(law, get_args(BatchLaw))}")


def resolve(config: RunConfig, vocab: int, where: str = "") -> RunConfig:
    """The same run with numbers where its laws stood; what is hashed into its id. Without laws, itself.

    The batch is rounded to whole sequences, at least one.

    Raises:
        InputError: where a law cannot be used; ``where`` is put before its key.
    """
    o = config.optimizer
    if o.learning_rate_law is None and o.batch_law is None:
        return config
    try:
        params = counts(config, vocab)
        batch, rate = config.batch, o.learning_rate
        if o.batch_law is not None:
            tokens = batch_tokens(o.batch_law, params, config.tokens)
            batch = max(1, round(tokens / config.data.context))
        if o.learning_rate_law is not None:
            rate = learning_rate(o.learning_rate_law, params, config.tokens)
    except InputError as error:
        raise InputError(*(f"{where}optimizer.{line}" for line in error.problems)) from None
    numbers = replace(o, learning_rate=rate, learning_rate_law=None, batch_law=None)
    resolved = replace(config, optimizer=numbers, batch=batch)
    if problems := [f"{where}{key}: {text}" for key, text in problems_of(resolved)]:
        raise InputError(*problems)
    return resolved
