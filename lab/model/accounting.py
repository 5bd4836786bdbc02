"""What a run is made of: parameters by group, FLOPs by convention.

Parameters are counted from the initialised shapes, never by a second formula.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod

from lab.config import ModelConfig, RunConfig


@dataclass(frozen=True)
class Params:
    """Numbers of parameters. With a tied head the one table is counted under ``head``: it works there."""

    embedding: int  # the input table
    head: int
    matrices: int  # attention and MLP
    vectors: int  # norm scales

    @property
    def total(self) -> int:
        return self.embedding + self.head + self.matrices + self.vectors


@lru_cache(maxsize=1024)
def count_params(config: ModelConfig, vocab: int) -> Params:
    """Parameters by group, from ``jax.eval_shape`` of the initialisation: of one layer, as all are alike."""
    import jax

    from lab.model import decoder

    shapes, _ = decoder.described(replace(config, layers=1), vocab)
    groups = {"embedding": 0, "head": 0, "matrices": 0, "vectors": 0}
    for path, leaf in jax.tree_util.tree_leaves_with_path(shapes):
        first = path[0].key
        if first == "embed":
            group = "head" if config.tied else "embedding"
        elif first == "head":
            group = "head"
        else:
            group = "matrices" if leaf.ndim >= 2 else "vectors"
        groups[group] += prod(leaf.shape) * (config.layers if first.endswith("_0") else 1)
    return Params(**groups)


def forward_flops(config: ModelConfig, vocab: int, context: int, causal: bool = True) -> float:
    """FLOPs of matrix products a token in the forward pass, averaged over the T positions.

    Linear layers 2 L (4 M H K + g M F), g = 2 or 3 (gated); attention 2 (T + 1) H K L over the positions
    seen (``causal``) or 4 T H K L over the full square, which is what is executed; head 2 M V.
    """
    c = config
    gates = 3 if c.mlp == "gated" else 2
    linear = 2 * c.layers * (4 * c.width * c.width + gates * c.width * c.hidden)
    attention = (2 * (context + 1) if causal else 4 * context) * c.width * c.layers
    return linear + attention + 2 * c.width * vocab


def orthogonalisation_flops(config: ModelConfig) -> float:
    """FLOPs a step of the matrix products with which Muon orthogonalises the momentum of attention and MLP.

    Of a matrix (m, n), m <= n, each of five Newton-Schulz iterations takes 4 m^2 n + 2 m^3 (X X', its
    square, and their product with X). Queries, keys and values are matrices of their own.
    """
    gates = 3 if config.mlp == "gated" else 2
    shapes = [(config.width, config.width)] * 4 + [(config.width, config.hidden)] * gates
    pairs = [(min(shape), max(shape)) for shape in shapes]
    return 5 * config.layers * sum(4.0 * m * m * n + 2.0 * m**3 for m, n in pairs)


def training_flops(config: RunConfig, vocab: int) -> dict[str, float]:
    """FLOPs of a whole run, by convention; training is three times the forward pass.

    * ``flops_6nd``: 6 N D with all parameters (2001.08361, 2203.15556).
    * ``flops_exact``: matrix products, attention over the positions seen.
    * ``flops_chinchilla``: 2203.15556 appendix F: embedding as a product, softmax, full square.
    * ``flops_palm``: 2204.02311 appendix B: 6 N D without the input table, plus 12 L H K T D.
    * ``flops_kaplan``: 2001.08361 table 1: 3 (2 N + 2 L T M) D, N the matrices.
    """
    c, T, V = config.model, config.data.context, vocab
    params = count_params(c, vocab)
    tokens = config.steps * config.batch_tokens
    gates = 3 if c.mlp == "gated" else 2
    block = 8 * c.width**2 + 4 * T * c.width + 3 * c.heads * T + 2 * gates * c.width * c.hidden
    chinchilla = 4 * c.width * V + c.layers * block
    working = params.total - params.embedding
    return {
        "flops_6nd": 6.0 * params.total * tokens,
        "flops_exact": 3.0 * forward_flops(c, V, T) * tokens,
        "flops_chinchilla": 3.0 * chinchilla * tokens,
        "flops_palm": (6.0 * working + 12.0 * c.layers * c.width * T) * tokens,
        "flops_kaplan": 3.0 * (2 * params.matrices + 2 * c.layers * T * c.width) * tokens,
    }
