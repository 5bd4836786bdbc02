"""Trained parameters under the names and in the shapes of a `transformers` architecture, and nothing lost.

The decoder is LLaMA's where it has no normalised queries and keys; where it has, Qwen3's with a gated MLP
and Apertus' with a plain one. Factors of the parametrisation are folded into the weights. A plain MLP without
query norms is LLaMA's gated one whose other half is the constant 1 (`mlp_bias`). All hold the same function:
logits agree to rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lab.config import ModelConfig
from lab.model import parametrization

EPS, THETA = 1e-6, 10_000.0  # of decoder.Norm and decoder.rotate


def architecture(config: ModelConfig) -> tuple[str, str]:
    """(class, model_type) of transformers."""
    if not config.qk_norm:
        return "LlamaForCausalLM", "llama"
    return ("Qwen3ForCausalLM", "qwen3") if config.mlp == "gated" else ("ApertusForCausalLM", "apertus")


def settings(config: ModelConfig, vocab: int, context: int, start: int, end: int) -> dict[str, Any]:
    """The content of config.json."""
    name, kind = architecture(config)
    plain = config.mlp != "gated"
    return {
        "architectures": [name],
        "model_type": kind,
        "vocab_size": vocab,
        "hidden_size": config.width,
        "intermediate_size": config.hidden,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.heads,
        "head_dim": config.head_width,
        "hidden_act": "gelu_pytorch_tanh" if plain else "silu",
        "max_position_embeddings": context,
        "rms_norm_eps": EPS,
        # Both spellings: releases before 5 read the first.
        "rope_theta": THETA,
        "rope_scaling": None,
        "rope_parameters": {"rope_type": "default", "rope_theta": THETA},
        "attention_bias": False,
        "mlp_bias": plain and kind == "llama",
        "tie_word_embeddings": False,
        "bos_token_id": start,
        "eos_token_id": end,
        "pad_token_id": None,
        "torch_dtype": "float32",
        "dtype": "float32",
    }


def tensors(params: dict, config: ModelConfig) -> dict[str, np.ndarray]:
    """Name -> float32 array, matrices as (out, in), from parameters with layers apart.

    The head is always written out: a tied one divides by the width, which no table shared with the input can.
    """
    _, kind = architecture(config)
    factor = parametrization.multipliers(config)
    table = _array(params["embed"]["embedding"])
    out = {
        "model.embed_tokens.weight": table,
        "model.norm.weight": _array(params["norm_final"]["scale"]),
        "lm_head.weight": table / config.width
        if config.tied
        else _array(params["head"]["kernel"]).T * np.float32(factor.logits),
    }
    for layer in range(config.layers):
        out |= {f"model.layers.{layer}.{name}": value for name, value in _layer(params, config, layer, kind)}
    return {name: np.ascontiguousarray(value, np.float32) for name, value in out.items()}


def _layer(params: dict, config: ModelConfig, layer: int, kind: str):
    factor = parametrization.multipliers(config)
    attention, mlp = params[f"attention_{layer}"], params[f"mlp_{layer}"]
    before = {"apertus": ("attention_layernorm", "feedforward_layernorm")}
    first, second = before.get(kind, ("input_layernorm", "post_attention_layernorm"))
    yield f"{first}.weight", _array(params[f"norm_a_{layer}"]["scale"])
    yield f"{second}.weight", _array(params[f"norm_m_{layer}"]["scale"])
    q, k, v = np.split(_array(attention["qkv"]["kernel"]).T, 3)
    if config.qk_norm:
        yield "self_attn.q_norm.weight", _array(attention["norm_q"]["scale"]) * np.float32(factor.attention)
        yield "self_attn.k_norm.weight", _array(attention["norm_k"]["scale"])
    else:
        q = q * np.float32(factor.attention)
    yield from (
        ("self_attn.q_proj.weight", q),
        ("self_attn.k_proj.weight", k),
        ("self_attn.v_proj.weight", v),
    )
    yield "self_attn.o_proj.weight", _array(attention["out"]["kernel"]).T * np.float32(factor.residual)
    up = _array(mlp["up"]["kernel"]).T
    if config.mlp == "gated":
        yield "mlp.gate_proj.weight", _array(mlp["gate"]["kernel"]).T
    elif kind == "llama":
        # act(gate x) (0 x + 1): the gate has our only matrix, and what it multiplies is 1.
        yield "mlp.gate_proj.weight", up
        yield "mlp.gate_proj.bias", np.zeros(config.hidden)
        yield "mlp.up_proj.bias", np.ones(config.hidden)
        yield "mlp.down_proj.bias", np.zeros(config.width)
        up = np.zeros_like(up)
    yield "mlp.up_proj.weight", up
    yield "mlp.down_proj.weight", _array(mlp["down"]["kernel"]).T * np.float32(factor.residual)


def _array(value) -> np.ndarray:
    return np.asarray(value, np.float32)
