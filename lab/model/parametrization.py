"""How initialisation, rates and multipliers follow width and depth: standard, muP, CompleteP.

m_w = width / base width and m_l = layers / base layers say how much larger a model is than the one whose
hyperparameters it takes over. A parameter is known by its key path alone. muP is table 8 of 2203.03466 with
Adam, CompleteP table 1 of 2505.01618 with alpha = 1:

=====================  ==================  ===========================  ================================
                       standard            mup                          completep
=====================  ==================  ===========================  ================================
matrices: std          fan_in^-1/2         fan_in^-1/2                  fan_in^-1/2
  into the residual    / (2 L)^1/2         / (2 L)^1/2                  / (2 L_base)^1/2
  rate, decay          eta, lambda         eta / m_w, lambda m_w        eta m_l^(alpha-1) / m_w, lambda m_w
embedding: std, rate   1, eta              1, eta                       1, eta
head: std, rate        1 / M, eta          1 / M_base, eta              1 / M_base, eta
logits                                     / m_w                        / m_w
norm scales: rate      eta                 eta                          eta m_l^(alpha-1)
Adam's eps             eps                 eps / m_w                    eps m_l^-alpha / m_w, in blocks
residual branches                                                       m_l^-alpha
attention scores       K^-1/2              K_base^1/2 / K               K_base^1/2 / K
=====================  ==================  ===========================  ================================

A tied table is an embedding; its logits are divided by M in all three, which is the head's 1 / M_base and
1 / m_w in one. At the base size all three are the same program.

Muon's update of a matrix has the RMS of Adam's (2502.16982), which is a spectral norm that grows as the root
of the width; what transfers is the spectral norm itself (2310.17813), so under muP its rate is divided by the
root of m_w instead.
"""

from dataclasses import dataclass

from lab.config import ModelConfig
from lab.model import layers

ALPHA = 1.0  # of CompleteP: the one at which each layer keeps learning non-linearly (2505.01618, section 5)


@dataclass(frozen=True)
class Scales:
    """Factors on what the optimiser uses for one parameter."""

    rate: float = 1.0
    decay: float = 1.0  # 0: not decayed
    eps: float = 1.0


@dataclass(frozen=True)
class Multipliers:
    """Factors in the forward pass; 1 is no operation at all."""

    residual: float = 1.0  # on the output of attention and MLP
    logits: float = 1.0
    attention: float = 1.0  # on scores that are already divided by the root of the head width


def ratios(config: ModelConfig) -> tuple[float, float]:
    """``(m_w, m_l)`` as far as the parametrisation knows them: 1 for what it does not scale."""
    wide = config.parametrization != "standard"
    deep = config.parametrization == "completep"
    return (
        config.width / config.base_width if wide else 1.0,
        config.layers / config.base_layers if deep else 1.0,
    )


def multipliers(config: ModelConfig) -> Multipliers:
    m_w, m_l = ratios(config)
    heads = config.base_head_width / config.head_width if config.parametrization != "standard" else 1.0
    # the tied table's logits are divided by the whole width already
    return Multipliers(m_l**-ALPHA, 1.0 if config.tied else 1 / m_w, heads**0.5)


def head_std(config: ModelConfig) -> float:
    return 1 / (config.width if config.parametrization == "standard" else config.base_width)


def matrix_std(config: ModelConfig, fan_in: int, into_residual: bool = False) -> float:
    """Standard deviation of an attention or MLP matrix; those that write into the residual stream get less.

    ``fan_in`` grows with m_w, so this is sigma / sqrt(m_w). Under CompleteP the multiplier knows the depth,
    and GPT-2's 1/sqrt(2 L) stays at its value for the base.
    """
    if not into_residual:
        return fan_in**-0.5
    layers = config.base_layers if config.parametrization == "completep" else config.layers
    return (2 * layers * fan_in) ** -0.5


def is_matrix(path: tuple[str, ...], ndim: int) -> bool:
    """Whether a parameter is an attention or MLP matrix (or a stack of one of each layer): hidden in both
    dimensions."""
    return ndim == 2 + is_stack(path) and path[0] not in ("embed", "head")


def is_stack(path: tuple[str, ...]) -> bool:
    """Whether a parameter has a first axis over the layers (:mod:`lab.model.layers`)."""
    return path[0] == layers.STACK


def scales(config: ModelConfig, path: tuple[str, ...], ndim: int, muon: bool = False) -> Scales:
    """Factors for the parameter at ``path``, such as ``("mlp_0", "up", "kernel")``."""
    m_w, m_l = ratios(config)
    in_block = path[0] not in ("embed", "head", "norm_final")
    eps = (m_l**-ALPHA if in_block else 1.0) / m_w
    if is_matrix(path, ndim):
        width = m_w**0.5 if muon else m_w
        return Scales(rate=m_l ** (ALPHA - 1) / width, decay=width, eps=eps)
    # vectors (norm scales) are not decayed: they have no reason to be near zero
    depth = m_l ** (ALPHA - 1) if in_block else 1.0
    return Scales(rate=depth, decay=float(ndim - is_stack(path) >= 2), eps=eps)
